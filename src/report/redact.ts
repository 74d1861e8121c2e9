// What may be shown to others of a configuration.

/** Keys whose values are secret, whatever they are: an IPAM plugin's configuration may hold what it likes. */
const SECRET = /pass(?:word|wd|phrase)?$|pwd$|secret|token|credential|private|api[-_]?key|auth$|cookie/iu;
const REMOVED = "(removed)";

/** A text without the users and passwords of the URLs in it. */
export function withoutUser(text: string): string {
  return text.replaceAll(/\/\/[^/@\s]*@/gu, `//${REMOVED}@`);
}

/** A value without its secrets: those of keys that are named like one, and users in URLs. */
export function redacted(value: unknown): unknown {
  if (typeof value === "string") return withoutUser(value);
  if (Array.isArray(value)) return value.map(redacted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, SECRET.test(key) ? REMOVED : redacted(v)]));
}
