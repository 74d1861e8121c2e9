// What all of Neutron's resources have in common: attributes and who may set them, filters, fields, revisions, tags.
import { objectOf, type Question, Refused, textOf } from "./answers.ts";

/** A stored resource. */
export interface Row {
  readonly id: string;
  name: string;
  readonly project_id: string;
  tags: string[];
  revision_number: number;
  readonly created_at: string;
  updated_at: string;
  [attribute: string]: unknown;
}

/** Who asks. */
export interface Caller {
  readonly projectId: string;
  readonly admin: boolean;
  /** Its user has not the role member. */
  readonly readOnly?: boolean;
}

/** An attribute in a request's body. */
interface Attribute {
  readonly post?: boolean;
  readonly put?: boolean;
  /** Only an administrator may set it by these methods. */
  readonly admin?: "post" | "put" | "both";
  /** What is wrong with a value; undefined for a good one. */
  readonly check?: (value: unknown) => string | undefined;
}

/** A kind of resource: `port`, with what can be in its bodies and what it can be filtered by. */
export interface Kind {
  readonly name: string;
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly filters: readonly string[];
}

const ALWAYS_FILTERS = new Set([
  "id",
  "name",
  "tenant_id",
  "project_id",
  "tags",
  "tags-any",
  "not-tags",
  "not-tags-any",
]);
const LISTING = new Set(["fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse"]);
/** The most characters of a tag. */
const TAG_LENGTH = 60;

/** A request that cannot be understood. */
export function badRequest(message: string): Refused {
  return new Refused(400, "HTTPBadRequest", message);
}

export function invalidInput(message: string): Refused {
  return new Refused(400, "InvalidInput", `Invalid input for operation: ${message}`);
}

export function notFound(kind: string, id: string): Refused {
  return new Refused(404, `${kind}NotFound`, `${kind} ${id} could not be found.`);
}

/** What no rule lets the caller do: `create_port`, and an attribute of it. */
export function forbidden(rule: string, attribute: string): Refused {
  return new Refused(
    403,
    "PolicyNotAuthorized",
    `(rule:${rule} and rule:${rule}:${attribute}) is disallowed by policy`,
  );
}

/** Refuses who may only read. */
export function checkWriter({ readOnly = false }: Caller, rule: string): void {
  if (readOnly) throw new Refused(403, "PolicyNotAuthorized", `rule:${rule} is disallowed by policy`);
}

/** The present, to the second, as Neutron writes it. */
function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/u, "Z");
}

/** What every new resource has. */
export function newRow(caller: Caller, values: Record<string, unknown>): Row {
  const time = now();
  const { name = "" } = values;
  return {
    id: crypto.randomUUID(),
    name: String(name),
    project_id: caller.projectId,
    tenant_id: caller.projectId,
    tags: tagsOf(values["tags"]),
    revision_number: 1,
    created_at: time,
    updated_at: time,
  };
}

/** Tags as they are stored: each once, sorted, and cut. */
export function tagsOf(tags: unknown): string[] {
  const list = Array.isArray(tags) ? tags.map((t) => String(t).slice(0, TAG_LENGTH)) : [];
  return [...new Set(list)].toSorted();
}

/** The row has changed. */
export function touch(row: Row): void {
  row.revision_number++;
  row.updated_at = now();
}

/** Refuses a change of another revision than the one that the caller knows, if it says which. */
export function checkRevision({ headers }: Pick<Question, "headers">, row: Row): void {
  const [, text] = /^revision_number=(.*)$/u.exec(headers["if-match"] ?? "") ?? [];
  if (text === undefined) return;
  if (!/^\d+$/u.test(text)) {
    const form = "Revision number etag must be in the format of revision_number=<int>.";
    throw new Refused(400, "BadRequest", `Bad if-match request: ${form}`);
  }
  if (Number(text) === row.revision_number) return;
  const message = `Constrained to ${text}, but current revision is ${row.revision_number}`;
  throw new Refused(412, "RevisionNumberConstraintFailed", message);
}

/** The values in a body, each looked at. */
export function valuesOf(
  { name, attributes }: Kind,
  { method, text }: Pick<Question, "method" | "text">,
  caller: Caller,
): Record<string, unknown> {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw badRequest("Body contains invalid data");
  }
  const values = objectOf(objectOf(body)?.[name]);
  if (values === undefined) throw badRequest(`Unable to find '${name}' in request body`);
  const unknown = Object.keys(values).filter((key) => attributes[key] === undefined);
  if (unknown.length > 0) throw badRequest(`Unrecognized attribute(s) '${unknown.join(", ")}'`);
  const verb = method === "POST" ? "post" : "put";
  const rule = `${verb === "post" ? "create" : "update"}_${name}`;
  for (const [key, value] of Object.entries(values)) {
    const { [verb]: may, admin, check } = attributes[key] ?? {};
    if (may !== true) {
      throw badRequest(
        verb === "put" ? `Cannot update read-only attribute ${key}` : `Attribute '${key}' not allowed in POST`,
      );
    }
    const wrong = check?.(value);
    if (wrong !== undefined) throw badRequest(`Invalid input for ${key}. Reason: ${wrong}.`);
    if ((admin === verb || admin === "both") && !caller.admin) throw forbidden(rule, key);
  }
  return values;
}

/** Letters are compared without case, as the database does. */
export function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function pick(view: Record<string, unknown>, fields: readonly string[]): Record<string, unknown> {
  if (fields.length === 0) return view;
  return Object.fromEntries(Object.entries(view).filter(([key]) => fields.includes(key)));
}

/** One resource as it is answered: the fields that were asked for. */
export function shown(view: Record<string, unknown>, query: URLSearchParams): Record<string, unknown> {
  return pick(view, query.getAll("fields"));
}

function matches(view: Record<string, unknown>, key: string, wanted: readonly string[]): boolean {
  const tags = (view["tags"] as string[] | undefined) ?? [];
  const has = (tag: string): boolean => tags.some((t) => same(t, tag));
  const words = wanted.flatMap((w) => w.split(","));
  if (key === "tags") return words.every(has);
  if (key === "tags-any") return words.some(has);
  if (key === "not-tags") return !words.every(has);
  if (key === "not-tags-any") return !words.some(has);
  if (key === "fixed_ips") return hasAddress(view, wanted);
  return wanted.some((w) => same(String(view[key]), w));
}

/** Of each of a fixed address's keys, one value must be a port's. */
function hasAddress(view: Record<string, unknown>, wanted: readonly string[]): boolean {
  const fixed = (view["fixed_ips"] as Record<string, string>[] | undefined) ?? [];
  const pairs = wanted.map((w) => /^(\w+)=(.*)$/u.exec(w)?.slice(1) ?? [w]);
  const keys = new Set(pairs.map(([key = ""]) => key));
  for (const [key, value] of pairs) {
    if (value === undefined) throw invalidInput(`'${key}' is not of the form <key>=[value].`);
  }
  return [...keys].every((key) => pairs.some(([k, value]) => k === key && fixed.some((f) => f[key] === value)));
}

/** A piece of a list. */
interface Piece {
  readonly views: Record<string, unknown>[];
  /** The marker that the next piece begins after. */
  readonly next: string | undefined;
}

/** The resources that a query is about, as they are answered. */
export function listed({ filters }: Kind, views: readonly Record<string, unknown>[], query: URLSearchParams): Piece {
  const keys = [...new Set(query.keys())].filter((key) => !LISTING.has(key));
  const invalid = keys.filter((key) => !ALWAYS_FILTERS.has(key) && !filters.includes(key));
  if (invalid.length > 0) {
    throw badRequest(`[${invalid.map((k) => `'${k}'`).join(", ")}] is invalid attribute for filtering`);
  }
  for (const wanted of query.getAll("fixed_ips")) hasAddress({}, [wanted]);
  if (query.getAll("sort_key").length !== query.getAll("sort_dir").length) {
    throw badRequest("The number of sort_keys and sort_dirs must be same");
  }
  const [sortKey, descending] = [query.get("sort_key") ?? "id", query.get("sort_dir") === "desc"];
  const found = views
    .filter((view) => keys.every((key) => matches(view, key, query.getAll(key))))
    .toSorted((a, b) => {
      const [x, y] = [String(a[sortKey]), String(b[sortKey])];
      return (x < y ? -1 : x > y ? 1 : 0) * (descending ? -1 : 1);
    });
  const start = found.findIndex((view) => view["id"] === query.get("marker")) + 1;
  const limit = Number(query.get("limit") ?? found.length);
  const piece = found.slice(start, start + limit);
  // a full piece is followed by another, which may be empty
  const full = query.has("limit") && piece.length === limit;
  return { views: piece.map((view) => shown(view, query)), next: full ? textOf(piece.at(-1)?.["id"]) : undefined };
}

// ---- values ----

export function isText(most = 255): (value: unknown) => string | undefined {
  return (value) => {
    if (typeof value !== "string") return `'${String(value)}' is not a valid string`;
    return value.length > most ? `'${value}' exceeds maximum length of ${most}` : undefined;
  };
}

export function isFlag(value: unknown): string | undefined {
  return typeof value === "boolean" ? undefined : `'${String(value)}' cannot be converted to boolean`;
}

const uuid = /^[\da-f]{8}-?([\da-f]{4}-?){3}[\da-f]{12}$/iu;

export function isUuid(value: unknown): string | undefined {
  return typeof value === "string" && uuid.test(value) ? undefined : `'${String(value)}' is not a valid UUID`;
}

/** As Neutron takes MACs: with colons or hyphens, in any case, not all zero. */
export function isMac(value: unknown): string | undefined {
  const good = typeof value === "string" && /^([\da-f]{2}[:-]){5}[\da-f]{2}$/iu.test(value);
  return good && !/^[0:-]+$/u.test(value) ? undefined : `'${String(value)}' is not a valid MAC address`;
}
