// Proofs that a TCP connection works, between two namespaces by one thread (the kernel completes the handshake of a listening
// socket before anybody accepts), and between a namespace and something else that takes part.
import { Errno, errnoText, SysError } from "./errno.ts";
import {
  accept,
  bind,
  close,
  connect,
  listen,
  peerAddress,
  receive,
  send,
  setSocketInt,
  setSocketTimeout,
} from "./libc.ts";
import type { Namespace } from "./namespaces.ts";
import { ipOfSocketAddress, openIn, socketAddress, socketFamily } from "./sockets.ts";

const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;

/** What came of an exchange. `peer` is the client's address as the server saw it. */
export type Exchange =
  | { readonly ok: true; readonly milliseconds: number; readonly peer: string }
  | { readonly ok: false; readonly why: string };

/** How a connection is made. */
export interface ConnectOptions {
  /** Absent: the kernel's choice. */
  readonly source?: string;
  /** How long each step may take, milliseconds; absent: 2000. */
  readonly timeoutMs?: number;
}

function listenOn(namespace: Namespace | undefined, address: string, port: number, timeoutMs: number): number {
  const server = openIn(namespace, socketFamily(address), SOCK_STREAM, 0, timeoutMs);
  try {
    setSocketInt(server, SOL_SOCKET, SO_REUSEADDR, 1);
    bind(server, socketAddress(address, port));
    listen(server, 1);
    return server;
  } catch (e) {
    close(server);
    throw e;
  }
}

function connectTo(
  namespace: Namespace | undefined,
  address: string,
  port: number,
  { source, timeoutMs = 2000 }: ConnectOptions,
): number {
  const client = openIn(namespace, socketFamily(address), SOCK_STREAM, 0, timeoutMs);
  try {
    if (source !== undefined) bind(client, socketAddress(source, 0));
    connect(client, socketAddress(address, port));
    return client;
  } catch (e) {
    close(client);
    throw e;
  }
}

/** What a system call's failure makes of a proof. Throws what is none. */
function failed(e: unknown): Exchange {
  if (e instanceof SysError) return { ok: false, why: `${e.call}: ${errnoText(e.errno)}` };
  throw e;
}

/**
 * Listens in `to` on an address and port, connects from `from`, and passes some bytes each way. A namespace that is absent
 * is this thread's. Waits at most `timeoutMs` (default 2000) in each step. Never throws: what the kernel refuses becomes
 * `why`.
 */
export function exchange(
  from: Namespace | undefined,
  to: Namespace | undefined,
  address: string,
  port: number,
  options: ConnectOptions = {},
): Exchange {
  const open: number[] = [];
  const keep = (fd: number): number => {
    open.push(fd);
    return fd;
  };
  try {
    const server = keep(listenOn(to, address, port, options.timeoutMs ?? 2000));
    const start = performance.now();
    const client = keep(connectTo(from, address, port, options));
    const served = keep(accept(server));
    const peer = ipOfSocketAddress(peerAddress(served)) ?? "?";
    pass(client, served, "question");
    pass(served, client, "answer");
    return { ok: true, milliseconds: performance.now() - start, peer };
  } catch (e) {
    return failed(e);
  } finally {
    for (const fd of open) close(fd);
  }
}

/**
 * Connects from a namespace to a server that answers a line with another, which says from which address it was asked (as
 * {@link answering} does). Never throws: what the kernel refuses becomes `why`.
 */
export function ask(
  from: Namespace | undefined,
  address: string,
  port: number,
  options: ConnectOptions = {},
): Exchange {
  let client;
  try {
    const start = performance.now();
    client = connectTo(from, address, port, options);
    send(client, new TextEncoder().encode("question\n"));
    const said = new Uint8Array(64);
    const peer = new TextDecoder().decode(said.subarray(0, receive(client, said))).trim();
    if (peer === "") return { ok: false, why: "it was closed without an answer" };
    return { ok: true, milliseconds: performance.now() - start, peer };
  } catch (e) {
    return failed(e);
  } finally {
    if (client !== undefined) close(client);
  }
}

/** While `client` runs, the first who connects in a namespace is answered with the address that it comes from. Throws what `client` throws. */
export async function answering<T>(
  to: Namespace | undefined,
  address: string,
  port: number,
  client: () => Promise<T>,
): Promise<T> {
  const server = listenOn(to, address, port, 1);
  try {
    const over = new AbortController();
    const result = client().finally(() => over.abort());
    while (!over.signal.aborted) {
      const served = acceptIfAny(server);
      if (served !== undefined) {
        answer(served);
        break;
      }
      await Bun.sleep(5);
    }
    return await result;
  } finally {
    close(server);
  }
}

function acceptIfAny(server: number): number | undefined {
  try {
    return accept(server);
  } catch (e) {
    if (e instanceof SysError && e.errno === Errno.EAGAIN) return undefined;
    throw e;
  }
}

/** Reads a line, answers, and closes. Who has gone is not answered. */
function answer(served: number): void {
  try {
    setSocketTimeout(served, 2000);
    receive(served, new Uint8Array(64));
    send(served, new TextEncoder().encode(`${ipOfSocketAddress(peerAddress(served)) ?? "?"}\n`));
  } catch (e) {
    if (!(e instanceof SysError)) throw e;
  } finally {
    close(served);
  }
}

function pass(from: number, to: number, text: string): void {
  const sent = new TextEncoder().encode(text);
  send(from, sent);
  const got = new Uint8Array(64);
  const n = receive(to, got);
  if (new TextDecoder().decode(got.subarray(0, n)) !== text) throw new SysError("recv: other bytes than were sent", 71);
}
