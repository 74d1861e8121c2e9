// Neutron's ports (Networking API v2.0, "Ports"), as far as Berth uses them.
import * as v from "valibot";
import { parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";
import { Failure } from "../report/failure.ts";
import { isRefusal } from "./errors.ts";
import { pause } from "./http.ts";
import type { Session } from "./session.ts";

/** What becomes part of a path, of a file's name, of a command: no cloud makes others. */
const identifier = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/u, "an id"));
const ip = v.pipe(
  v.string(),
  v.check((text) => parseIp(text) !== undefined, "an IP address"),
);
const mac = v.pipe(
  v.string(),
  v.check((text) => parseMac(text) !== undefined, "a MAC address"),
);
const Pair = v.object({ ip_address: v.string(), mac_address: v.exactOptional(v.string()) });
const SubPort = v.object({
  port_id: identifier,
  segmentation_id: v.number(),
  segmentation_type: v.string(),
});
const Port = v.object({
  id: identifier,
  name: v.optional(v.string(), ""),
  network_id: v.string(),
  mac_address: mac,
  fixed_ips: v.array(v.object({ subnet_id: v.string(), ip_address: ip })),
  description: v.optional(v.string(), ""),
  device_id: v.optional(v.string(), ""),
  device_owner: v.optional(v.string(), ""),
  status: v.optional(v.string(), ""),
  /** Absent where the cloud has no such extension. */
  security_groups: v.exactOptional(v.array(v.string())),
  allowed_address_pairs: v.optional(v.array(Pair), []),
  /** Absent where the cloud has no such extension: then there is security. */
  port_security_enabled: v.optional(v.boolean(), true),
  /** Absent where the cloud cannot compare revisions. */
  revision_number: v.exactOptional(v.number()),
  trunk_details: v.exactOptional(v.nullable(v.object({ trunk_id: identifier, sub_ports: v.array(SubPort) }))),
});
const OnePort = v.object({ port: Port });
const Ports = v.object({
  ports: v.array(Port),
  /** Where the cloud gives long lists in pieces (pagination_max_limit). */
  ports_links: v.optional(v.array(v.object({ rel: v.string(), href: v.string() })), []),
});

/** A port. */
export type Port = v.InferOutput<typeof Port>;
/** An entry of `allowed_address_pairs`, as it is stored. */
export type Pair = v.InferOutput<typeof Pair>;
/** A port that a trunk carries by a VLAN. */
export type SubPort = v.InferOutput<typeof SubPort>;

/** Asked for by name: a port has many more, and some are slow to make. */
const fields = Object.keys(Port.entries)
  .map((name) => `fields=${name}`)
  .join("&");

/** So often a port is made anew whose making was not answered. */
const TRIES = 3;
/** The first pause before that, milliseconds. */
const PAUSE_MS = 500;
/** More pieces of a list than this are not asked for: somebody answers in circles. */
const MAX_PIECES = 1000;

/** An address of a port that is wished for. */
interface FixedIp {
  readonly subnet_id?: string;
  readonly ip_address?: string;
}

/** What a port to be made, or changed, shall have. */
export interface PortWish {
  readonly network_id?: string;
  readonly name?: string;
  readonly device_owner?: string;
  readonly description?: string;
  readonly device_id?: string;
  readonly mac_address?: string;
  readonly fixed_ips?: readonly FixedIp[];
  readonly security_groups?: readonly string[];
  readonly dns_name?: string;
  readonly tags?: readonly string[];
  readonly allowed_address_pairs?: readonly Pair[];
}

/** An answer as it must look. Throws `Failure` (`decode`). */
export function expected<T extends v.GenericSchema>(schema: T, json: unknown, doing: string): v.InferOutput<T> {
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = issue.path?.map((p) => String((p as { key: unknown }).key)).join(".") ?? "";
  const wanted = issue.type === "check" || issue.type === "regex" ? issue.message : (issue.expected ?? "as expected");
  throw unexpected(doing, path, wanted);
}

function unexpected(doing: string, path: string, wanted: string): Failure {
  return new Failure("decode", `${doing}: the answer's ${path} is not ${wanted}`, {
    advice: "The cloud's API differs from what Berth knows: look at its version.",
  });
}

/** What a list is to have: of each field one of the values. */
export type Filters = Readonly<Record<string, string | readonly string[]>>;

/** A text as a part of a URL; half of a UTF-16 pair, which JSON can spell, becomes U+FFFD, as in all that is sent (Web IDL's USVString). */
function inUrl(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** A query string; a key with several values stands several times: any of them. */
export function query(filters: Filters): string {
  return Object.entries(filters)
    .flatMap(([key, values]) => [values].flat().map((value) => `${key}=${inUrl(value)}`))
    .join("&");
}

/** The ports that a filter names; without one, all that the user may see. Throws `Failure`. */
export async function listPorts(session: Session, filters: Filters, doing: string): Promise<Port[]> {
  const found: Port[] = [];
  let search = `?${[query(filters), fields].filter((q) => q !== "").join("&")}`;
  const asked = new Set<string>();
  for (let piece = 1; ; piece++) {
    const json = await session.call({ method: "GET", path: `/ports${search}`, doing });
    const { ports, ports_links: links } = expected(Ports, json, doing);
    found.push(...ports);
    const next = links.find((l) => l.rel === "next")?.href;
    if (next === undefined || piece === MAX_PIECES) return found;
    search = URL.parse(next)?.search ?? "";
    if (search === "" || asked.has(search)) throw unexpected(doing, "ports_links", "the URL of a further piece");
    asked.add(search);
  }
}

/** A port by its id; undefined where it is gone. Throws `Failure`. */
export async function getPort(session: Session, id: string): Promise<Port | undefined> {
  const doing = `look at the port ${id}`;
  try {
    const json = await session.call({ method: "GET", path: `/ports/${inUrl(id)}?${fields}`, doing });
    return expected(OnePort, json, doing).port;
  } catch (e) {
    if (isRefusal(e, 404)) return undefined;
    throw e;
  }
}

/**
 * Makes a port. Where the answer is lost, it is looked for by its `device_id`, or else its description, before it is made
 * again: one of them must be its own. Throws `Failure`, `incomplete` where the port may have been made all the same.
 */
export async function createPort(session: Session, wish: PortWish, doing: string): Promise<Port> {
  const { device_id: deviceId, description = "" } = wish;
  const told = deviceId === undefined ? { description } : { device_id: deviceId };
  for (let tried = 1; ; tried++) {
    try {
      const json = await session.call({ method: "POST", path: "/ports", body: { port: wish }, doing });
      const { port } = expected(OnePort, json, doing);
      if (tried > 1) await deleteTwins(session, port.id, told, doing);
      return port;
    } catch (e) {
      if (!(e instanceof Failure) || e.reason !== "busy") throw e;
      const [made] = await seenBy(session, told, e, doing);
      if (made !== undefined) return made;
      if (tried === TRIES) throw uncertain(e);
      await pause(tried - 1, PAUSE_MS);
    }
  }
}

/** The ports that may be the one whose answer was lost. Throws that failure where they cannot be listed either. */
async function seenBy(session: Session, told: Filters, lost: Failure, doing: string): Promise<Port[]> {
  try {
    return await listPorts(session, told, doing);
  } catch {
    throw uncertain(lost);
  }
}

/** Deletes what an earlier try made after all, after it had been looked for. */
async function deleteTwins(session: Session, id: string, told: Filters, doing: string): Promise<void> {
  for (const twin of await listPorts(session, told, doing)) if (twin.id !== id) await deletePort(session, twin.id);
}

/** A failure after which the port may be there. */
function uncertain({ reason, message, advice, cause }: Failure): Failure {
  return new Failure(reason, message, { ...(advice === undefined ? {} : { advice }), cause, incomplete: true });
}

/**
 * Changes a port. Throws `Failure`; a refusal with status 412 where it has another revision by now.
 * @param revision the one that the change is made to; absent: whichever it has
 */
export async function updatePort(
  session: Session,
  id: string,
  wish: PortWish,
  { doing, revision }: { readonly doing: string; readonly revision?: number | undefined },
): Promise<Port> {
  const json = await session.call({
    method: "PUT",
    path: `/ports/${inUrl(id)}`,
    body: { port: wish },
    doing,
    // without a revision a repeated PUT could undo what somebody did in between
    repeatable: revision === undefined,
    ...(revision === undefined ? {} : { headers: { "if-match": `revision_number=${revision}` } }),
  });
  return expected(OnePort, json, doing).port;
}

/** Deletes a port; one that is gone is success. Throws `Failure`. */
export async function deletePort(session: Session, id: string): Promise<void> {
  try {
    await session.call({ method: "DELETE", path: `/ports/${inUrl(id)}`, doing: `delete the port ${id}` });
  } catch (e) {
    if (!isRefusal(e, 404)) throw e;
  }
}
