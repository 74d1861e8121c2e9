// What Berth does, as it does it: one JSON object a line on standard error, for whoever sets BERTH_LOG. Without it nothing
// is said, and nothing is computed either: a CNI call does not pay for it.
import { plain } from "./plain.ts";

const levels = ["error", "warn", "info", "debug"] as const;
/** How much an event matters. */
export type Level = (typeof levels)[number];

const chosen = levels.indexOf((process.env["BERTH_LOG"] ?? "").toLowerCase() as Level);

/** True where events of this level are written. */
function logs(level: Level): boolean {
  return levels.indexOf(level) <= chosen;
}

/**
 * Writes an event, if BERTH_LOG asks for its level. No secret may be among its fields.
 * @param event what happened, as a word: `add`, `request`
 * @param fields what there is to know of it; only computed where it is written
 */
export function log(level: Level, event: string, fields: () => Readonly<Record<string, unknown>>): void {
  if (!logs(level)) return;
  const line = { time: new Date().toISOString(), level, event, id: callId(), pid: process.pid, ...fields() };
  console.error(JSON.stringify(line, (_, value: unknown) => (typeof value === "string" ? plain(value) : value)));
}

let trace: string | undefined;
let traceOf: (() => string | undefined) | undefined;

/** A server, which has several calls at once, tells by `of` to which of them what runs belongs; undefined: to none. */
export function callsAre(of: () => string | undefined): void {
  traceOf = of;
}

/** A trace of its own, as W3C Trace Context has them. */
export function newTrace(): string {
  return crypto.randomUUID().replaceAll("-", "");
}

/** W3C Trace Context, "traceparent": version, trace id, the caller's span, flags. */
const TRACEPARENT = /^[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})[\da-f]{16}-[\da-f]{2}(?:-.*)?$/u;

/** 32 hexadecimal digits: the caller's trace where it tells one (TRACEPARENT), else this call's own. */
function traceId(): string {
  const own = traceOf?.();
  if (own !== undefined) return own;
  trace ??= TRACEPARENT.exec(process.env["TRACEPARENT"] ?? "")?.[1] ?? newTrace();
  return trace;
}

/** One id for all that a call leads to, in the form that OpenStack's services take and log (`req-` and a UUID). */
export function callId(): string {
  return `req-${traceId().replace(/^(.{8})(.{4})(.{4})(.{4})/u, "$1-$2-$3-$4-")}`;
}

/**
 * The TRACEPARENT for a program that is started: where the caller gave one, or events are written, of the same trace as
 * everything else of this call; else undefined.
 */
export function traceparent(): string | undefined {
  if (chosen < 0 && process.env["TRACEPARENT"] === undefined) return undefined;
  return `00-${traceId()}-${newTrace().slice(0, 16)}-01`;
}
