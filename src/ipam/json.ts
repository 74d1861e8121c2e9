// Reading JSON of unknown shape.
import { Failure } from "../report/failure.ts";

/** Nothing that Berth reads has a tenth of it; what walks a value much deeper ends with the stack. */
const MAX_DEPTH = 500;

/** True where a text opens more lists and objects than may lie in one another. */
function isTooDeep(text: string): boolean {
  // the usual case: there are not so many, which is told without a look at each character
  if (text.split("[", MAX_DEPTH).length + text.split("{", MAX_DEPTH).length < MAX_DEPTH) return false;
  let depth = 0;
  for (let at = 0, quoted = false; at < text.length; at++) {
    const sign = text[at];
    if (quoted) {
      if (sign === "\\") at++;
      else if (sign === '"') quoted = false;
    } else if (sign === '"') quoted = true;
    else if (sign === "[" || sign === "{") {
      if (++depth > MAX_DEPTH) return true;
    } else if (sign === "]" || sign === "}") depth--;
  }
  return false;
}

/**
 * A text as JSON. Throws `Failure` (`decode`): what was being done, and the parser's sentence.
 * @param doing as `read /etc/x`
 */
export function parseJson(text: string, doing: string, advice?: string): unknown {
  const options = advice === undefined ? {} : { advice };
  if (isTooDeep(text))
    throw new Failure("decode", `${doing}: more than ${MAX_DEPTH} lists and objects lie in one another`, options);
  try {
    return JSON.parse(text);
  } catch (e) {
    throw new Failure("decode", `${doing}: ${e instanceof Error ? e.message : String(e)}`, { ...options, cause: e });
  }
}

/** A JSON object. */
export type Json = Readonly<Record<string, unknown>>;

/** True for a JSON object: no list, no null. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The objects of a list; none where it is no list. */
export function objectsOf(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** The strings of a list; none where it is no list. */
export function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}
