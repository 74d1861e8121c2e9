// What the engine has no code for, done by a process that is the runtime (src/openstack/carrier.ts): HTTP, YAML, URLs.
import { type Answered, type Asked, frame, FRAME_START, partsOf } from "../src/openstack/carrier.ts";
import { dlopen, FFIType, ptr } from "./ffi.ts";
import { host } from "./host.ts";
import { after, cancel, isReadable, waitFor } from "./waiting.ts";

const { symbols } = dlopen("libc.so.6", {
  sendto: { returns: FFIType.i64 },
  recvfrom: { returns: FFIType.i64 },
});
// include/linux/socket.h
const MSG_WAITALL = 0x100;
const MSG_NOSIGNAL = 0x4000;
/** How long an answer may take that is not the network's, milliseconds. */
const PATIENCE_MS = 30_000;

type Settle = (answered: Answered, body: Uint8Array) => void;
type Unsent<T> = T extends unknown ? Omit<T, "id"> : never;

/** The process's socket, from the first request on until it ends. */
let socket: number | undefined;
let asked = 0;
/** What the process knows of TLS from the request before: certificates are long. */
let tlsSent: { readonly tls: unknown } | undefined;
/** By the numbers of requests: what to do with their answers. */
const pending = new Map<number, Settle>();

/** Sends bytes whole. */
function put(descriptor: number, bytes: Uint8Array): boolean {
  for (let sent = 0; sent < bytes.length;) {
    const n =
      symbols["sendto"]?.(descriptor, ptr(bytes.subarray(sent)), bytes.length - sent, MSG_NOSIGNAL, null, 0) ?? -1;
    if (n < 0) return false;
    sent += n;
  }
  return true;
}

/** So many bytes; undefined where the process has ended. */
function get(descriptor: number, length: number): Uint8Array | undefined {
  const bytes = new Uint8Array(length);
  for (let got = 0; got < length;) {
    const n = symbols["recvfrom"]?.(descriptor, ptr(bytes.subarray(got)), length - got, MSG_WAITALL, null, null) ?? -1;
    if (n <= 0) return undefined;
    got += n;
  }
  return bytes;
}

/** The process has ended: nobody answers any more what was asked; the next request starts another one. */
function ended(): void {
  socket = undefined;
  tlsSent = undefined;
  const how = host.endCarrier();
  const message = `the process that carries requests to the cloud ${how}`;
  const settles = [...pending];
  pending.clear();
  for (const [id, settle] of settles) settle({ id, error: { name: "Error", message } }, new Uint8Array(0));
}

function receive(): void {
  if (socket === undefined) return;
  const start = get(socket, FRAME_START);
  const [json, length] = start === undefined ? [0, 0] : partsOf(start);
  const head = start === undefined ? undefined : get(socket, json);
  const body = head === undefined ? undefined : get(socket, length);
  if (head === undefined || body === undefined) return ended();
  const answered = JSON.parse(new TextDecoder().decode(head)) as Answered;
  const settle = pending.get(answered.id);
  pending.delete(answered.id);
  settle?.(answered, body);
}

waitFor({ descriptor: () => (pending.size === 0 ? undefined : socket), ready: receive });

/** Asks; `settle` is called with the answer, later. */
function ask(what: Unsent<Asked>, settle: Settle): number {
  const id = ++asked;
  socket ??= host.carrier();
  pending.set(id, settle);
  if (!put(socket, frame({ id, ...what }))) ended();
  return id;
}

/** An error as the runtime has it. */
function errorOf(answered: Answered): Error | undefined {
  if (!("error" in answered)) return undefined;
  const { message, ...more } = answered.error;
  return Object.assign(new Error(message), more);
}

/** Asks and waits. */
function askNow(what: Unsent<Asked>): unknown {
  const answers: Answered[] = [];
  const id = ask(what, (answered) => answers.push(answered));
  const end = host.now() + PATIENCE_MS;
  for (let left = PATIENCE_MS; pending.has(id) && left > 0; left = end - host.now())
    if (isReadable(socket ?? -1, left)) receive();
  pending.delete(id);
  const [answered = { id, error: { name: "TimeoutError", message: `no answer within ${PATIENCE_MS} ms` } }] = answers;
  const error = errorOf(answered);
  if (error !== undefined) throw error;
  return "value" in answered ? answered.value : undefined;
}

/** What the program tells fetch. */
interface Init extends Omit<BunFetchRequestInit, "signal"> {
  readonly signal: { readonly timeoutMs: number };
}

/** fetch, as far as the program uses it. */
async function fetch(url: string, { signal: { timeoutMs }, tls, ...init }: Init): Promise<object> {
  return await new Promise((resolve, reject) => {
    const same = tlsSent?.tls === tls;
    tlsSent = { tls };
    const what = { fetch: url, init: init as RequestInit, timeoutMs, ...(same ? {} : { tls }) };
    const timer = after(timeoutMs, () => {
      pending.delete(id);
      reject(Object.assign(new Error("The operation timed out."), { name: "TimeoutError" }));
    });
    const id = ask(what, (answered, body) => {
      cancel(timer);
      if (!("status" in answered)) return reject(errorOf(answered) ?? new Error("it was no request"));
      const { status, headers } = answered;
      resolve({ status, headers: { get: (name: string) => headers[name.toLowerCase()] ?? null }, body: [body] });
    });
  });
}

/** The part of a URL that is asked for; undefined where a text is no URL. */
function parseUrl(url: string): { readonly search: string } | null {
  const search = askNow({ url });
  return typeof search === "string" ? { search } : null;
}

/** What the program finds in the global object. */
export const carried = {
  fetch,
  AbortSignal: { timeout: (timeoutMs: number) => ({ timeoutMs }) },
  URL: { parse: parseUrl, canParse: (url: string): boolean => parseUrl(url) !== null },
};

/** Bun.YAML. */
export const YAML = { parse: (yaml: string): unknown => askNow({ yaml }) };
