// A proof that a TCP connection works between two namespaces, made by one thread: the kernel completes the handshake of a
// listening socket before anybody accepts.
import { errnoText, SysError } from "./errno.ts";
import { accept, bind, close, connect, listen, peerAddress, receive, send, setSocketInt } from "./libc.ts";
import type { Namespace } from "./namespaces.ts";
import { ipOfSocketAddress, openIn, socketAddress, socketFamily } from "./sockets.ts";

const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;

/** What came of an exchange. `peer` is the client's address as the server saw it. */
export type Exchange =
  | { readonly ok: true; readonly milliseconds: number; readonly peer: string }
  | { readonly ok: false; readonly why: string };

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
  options: { readonly source?: string; readonly timeoutMs?: number } = {},
): Exchange {
  const timeoutMs = options.timeoutMs ?? 2000;
  const open: number[] = [];
  const keep = (fd: number): number => {
    open.push(fd);
    return fd;
  };
  try {
    const server = keep(openIn(to, socketFamily(address), SOCK_STREAM, 0, timeoutMs));
    setSocketInt(server, SOL_SOCKET, SO_REUSEADDR, 1);
    bind(server, socketAddress(address, port));
    listen(server, 1);
    const client = keep(openIn(from, socketFamily(address), SOCK_STREAM, 0, timeoutMs));
    if (options.source !== undefined) bind(client, socketAddress(options.source, 0));
    const start = performance.now();
    connect(client, socketAddress(address, port));
    const served = keep(accept(server));
    const peer = ipOfSocketAddress(peerAddress(served)) ?? "?";
    pass(client, served, "question");
    pass(served, client, "answer");
    return { ok: true, milliseconds: performance.now() - start, peer };
  } catch (e) {
    if (e instanceof SysError) return { ok: false, why: `${e.call}: ${errnoText(e.errno)}` };
    throw e;
  } finally {
    for (const fd of open) close(fd);
  }
}

function pass(from: number, to: number, text: string): void {
  const sent = new TextEncoder().encode(text);
  send(from, sent);
  const got = new Uint8Array(64);
  const n = receive(to, got);
  if (new TextDecoder().decode(got.subarray(0, n)) !== text) throw new SysError("recv: other bytes than were sent", 71);
}
