// Changes of links, addresses, routes, rules and neighbours as the kernel announces them (rtnetlink(7), multicast groups),
// in this namespace and in others that it has an identity for (include/uapi/linux/net_namespace.h).
import { Writer } from "./attributes.ts";
import { Errno, SysError } from "./errno.ts";
import { bind, close, receive, setSocketInt, setSocketTimeout, socket } from "./libc.ts";
import type { Namespace } from "./namespaces.ts";
import type { Netlink } from "./netlink.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_LISTEN_ALL_NSID = 8;
const RTM_NEWNSID = 88;
const NETNSA_NSID = 1;
const NETNSA_FD = 3;
/** RTMGRP_LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE (include/uapi/linux/rtnetlink.h). */
const GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400;
/** Changes come in bursts: what follows within this many milliseconds belongs to the same one. */
const QUIET_MS = 30;

/**
 * Makes a namespace's changes audible to {@link Monitor}s of the socket's namespace: the kernel gives it an identity there,
 * if it has none. Throws `SysError`.
 */
export function introduce(nl: Netlink, namespace: Namespace): void {
  const body = new Writer().u32(0).attributeU32(NETNSA_NSID, 0xffffffff).attributeU32(NETNSA_FD, namespace.fd).bytes();
  const [error] = nl.batch([{ what: `name the namespace ${namespace.path}`, type: RTM_NEWNSID, flags: 0, body }]);
  if (error !== undefined && error.errno !== Errno.EEXIST) throw error;
}

/** A socket that hears of changes. Not for concurrent use. */
export class Monitor implements Disposable {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(65536);

  /** Hears of this thread's namespace, and of those that were {@link introduce}d to it. Throws `SysError`. */
  constructor() {
    this.#fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    setSocketInt(this.#fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1);
    const address = new Uint8Array(12);
    const v = new DataView(address.buffer);
    v.setUint16(0, AF_NETLINK, true);
    v.setUint32(8, GROUPS, true);
    bind(this.#fd, address);
  }

  /** One message, whatever it says; false where none came in time. A full buffer (ENOBUFS) means that something changed. */
  #hear(timeoutMs: number): boolean {
    setSocketTimeout(this.#fd, timeoutMs);
    try {
      receive(this.#fd, this.#buffer);
      return true;
    } catch (e) {
      if (!(e instanceof SysError)) throw e;
      if (e.errno === Errno.ENOBUFS) return true;
      if (e.errno === Errno.EAGAIN) return false;
      throw e;
    }
  }

  /**
   * Waits until something has changed and no more has for 30 ms; blocks the thread.
   * @returns false where nothing changed within `timeoutMs`
   */
  wait(timeoutMs: number): boolean {
    if (!this.#hear(timeoutMs)) return false;
    while (this.#hear(QUIET_MS)); // the rest of the burst
    return true;
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    close(this.#fd);
  }
}
