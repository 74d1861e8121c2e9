// What a namespace calls others by: an identity of its own for each (include/uapi/linux/net_namespace.h).
import { Attributes, Writer } from "./attributes.ts";
import { Errno } from "./errno.ts";
import type { Netlink, Request } from "./netlink.ts";

const RTM_NEWNSID = 88;
const RTM_GETNSID = 90;
const NETNSA_NSID = 1;
const NETNSA_FD = 3;
/** Size of struct rtgenmsg, padded. */
const RTGENMSG = 4;
/** As an identity: any, or none. */
const UNSET = 0xffffffff;

function request(type: number, what: string, fd: number): Request {
  const w = new Writer().u32(0);
  if (type === RTM_NEWNSID) w.attributeU32(NETNSA_NSID, UNSET);
  return { what, type, flags: 0, body: w.attributeU32(NETNSA_FD, fd).bytes() };
}

/**
 * Gives a namespace an identity in the socket's, if it has none: its changes can be heard of there, and it can be named.
 * Throws `SysError`.
 * @param fd the namespace's descriptor
 */
export function introduce(nl: Netlink, fd: number): void {
  const [error] = nl.batch([request(RTM_NEWNSID, "give a namespace an identity", fd)]);
  if (error !== undefined && error.errno !== Errno.EEXIST) throw error;
}

/** The identity of a namespace in the socket's; it is given one if it has none. Throws `SysError`. */
export function namespaceId(nl: Netlink, fd: number): number {
  introduce(nl, fd);
  const payload = nl.get(request(RTM_GETNSID, "look up a namespace's identity", fd));
  return new Attributes(payload, RTGENMSG).u32(NETNSA_NSID) ?? UNSET;
}
