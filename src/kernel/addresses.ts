// IP addresses of links over rtnetlink: RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR (include/uapi/linux/if_addr.h).
import { type Cidr, formatCidr } from "../address/cidr.ts";
import { type Family, ipFamily, ipToBytes } from "../address/ip.ts";
import { Attributes, Writer } from "./attributes.ts";
import { addressFamily, familyOf, readIp } from "./families.ts";
import { type Netlink, NLM_F_CREATE, NLM_F_EXCL, type Request } from "./netlink.ts";
import { RTPROT_BERTH } from "./protocol.ts";

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
const IFA_RT_PRIORITY = 9;
const IFA_PROTO = 11;
const IFADDRMSG = 8;

const IFA_F_TEMPORARY = 0x01;
const IFA_F_NODAD = 0x02;
const IFA_F_OPTIMISTIC = 0x04;
const IFA_F_DADFAILED = 0x08;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;

/** Duplicate address detection (RFC 4862) of an IPv6 address: as the link is set, none, or usable meanwhile (RFC 4429). */
export type Dad = "link" | "off" | "optimistic";

/** What the kernel says of an address. */
export interface Address {
  readonly linkIndex: number;
  readonly cidr: Cidr;
  readonly family: Family;
  /** rt_scope: 0 global, 253 link, 254 host. */
  readonly scope: number;
  /** Duplicate address detection is under way: not usable yet. */
  readonly tentative: boolean;
  /** Another machine has it. */
  readonly duplicate: boolean;
  readonly temporary: boolean;
  readonly deprecated: boolean;
}

/**
 * Adds an address to a link; EEXIST where the link has it. IPv4 gets the subnet's broadcast address, as `ip` with `brd +`.
 * @param metric of the prefix route that the kernel makes with it (kernel 4.18); absent: the kernel's own
 */
export function newAddress(
  linkIndex: number,
  linkName: string,
  cidr: Cidr,
  dad: Dad = "link",
  metric?: number,
): Request {
  const family = ipFamily(cidr.ip);
  const bytes = ipToBytes(cidr.ip);
  const flags = dad === "off" ? IFA_F_NODAD : dad === "optimistic" ? IFA_F_OPTIMISTIC : 0;
  const w = new Writer().u8(addressFamily(family)).u8(cidr.prefix).u8(flags).u8(0).u32(linkIndex);
  w.attribute(IFA_LOCAL, bytes).attribute(IFA_ADDRESS, bytes);
  if (family === 4 && cidr.prefix < 31) w.attribute(IFA_BROADCAST, broadcast(bytes, cidr.prefix));
  if (flags !== 0) w.attributeU32(IFA_FLAGS, flags);
  if (metric !== undefined) w.attributeU32(IFA_RT_PRIORITY, metric);
  w.attributeU8(IFA_PROTO, RTPROT_BERTH);
  return {
    what: `add address ${formatCidr(cidr)} to ${linkName}`,
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: w.bytes(),
  };
}

/** Deletes an address from a link; EADDRNOTAVAIL where the link has it not. */
export function deleteAddress(linkIndex: number, linkName: string, cidr: Cidr): Request {
  const bytes = ipToBytes(cidr.ip);
  const w = new Writer()
    .u8(addressFamily(ipFamily(cidr.ip)))
    .u8(cidr.prefix)
    .u8(0)
    .u8(0)
    .u32(linkIndex);
  w.attribute(IFA_LOCAL, bytes).attribute(IFA_ADDRESS, bytes);
  return {
    what: `delete address ${formatCidr(cidr)} from ${linkName}`,
    type: RTM_DELADDR,
    flags: 0,
    body: w.bytes(),
  };
}

/** The addresses of the socket's namespace, of one link where its index is given. Throws `SysError`. */
export function listAddresses(nl: Netlink, linkIndex = 0): Address[] {
  const body = new Writer().u8(0).u8(0).u8(0).u8(0).u32(linkIndex).bytes();
  return nl
    .dump({ what: "list addresses", type: RTM_GETADDR, flags: 0, body })
    .map(parseAddress)
    .filter((a) => a !== undefined);
}

/** Reads an RTM_NEWADDR message's payload; undefined for a family other than IPv4 and IPv6. */
export function parseAddress(payload: Uint8Array): Address | undefined {
  const family = familyOf(payload[0] ?? 0);
  const a = new Attributes(payload, IFADDRMSG);
  // IPv4 has the peer in IFA_ADDRESS; IPv6 has IFA_LOCAL only where there is a peer
  const ip = readIp(a.bytes(IFA_LOCAL) ?? a.bytes(IFA_ADDRESS));
  if (family === undefined || ip === undefined || payload.length < IFADDRMSG) return undefined;
  const v = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const flags = a.u32(IFA_FLAGS) ?? payload[2] ?? 0;
  return {
    linkIndex: v.getUint32(4, true),
    cidr: { ip, prefix: payload[1] ?? 0 },
    family,
    scope: payload[3] ?? 0,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    duplicate: (flags & IFA_F_DADFAILED) !== 0,
    temporary: family === 6 && (flags & IFA_F_TEMPORARY) !== 0, // for IPv4 the same bit says "secondary"
    deprecated: (flags & IFA_F_DEPRECATED) !== 0,
  };
}

function broadcast(ip: Uint8Array, prefix: number): Uint8Array {
  const all = ip.slice();
  for (let i = 0; i < all.length; i++) all[i] = (all[i] ?? 0) | (0xff >>> Math.min(8, Math.max(0, prefix - 8 * i)));
  return all;
}
