// Neighbour (ARP and NDISC) entries over rtnetlink: RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH (include/uapi/linux/neighbour.h).
import { ipFamily, ipToBytes } from "../address/ip.ts";
import { macFromBytes, macToBytes } from "../address/mac.ts";
import { Attributes, Writer } from "./attributes.ts";
import { addressFamily, familyOf, readIp } from "./families.ts";
import { type Netlink, NLM_F_CREATE, NLM_F_REPLACE, type Request } from "./netlink.ts";
import { RTPROT_BERTH } from "./protocol.ts";

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_IFINDEX = 8;
const NDA_PROTOCOL = 12;
const NUD_PERMANENT = 0x80;
const NDMSG = 12;

/** A neighbour entry as the kernel has it. */
export interface Neighbour {
  readonly linkIndex: number;
  readonly ip: string;
  readonly mac: string | undefined;
  readonly permanent: boolean;
  /** Who made it; 0 where nobody said. */
  readonly protocol: number;
}

function header(ip: string, linkIndex: number, state: number): Writer {
  return new Writer()
    .u8(addressFamily(ipFamily(ip)))
    .u8(0)
    .u16(0)
    .u32(linkIndex)
    .u16(state)
    .u8(0)
    .u8(0);
}

/** Makes a permanent entry with Berth's protocol number; it replaces what is there for this address on this link. */
export function newNeighbour(ip: string, mac: string, linkIndex: number, linkName: string): Request {
  const w = header(ip, linkIndex, NUD_PERMANENT);
  w.attribute(NDA_DST, ipToBytes(ip)).attribute(NDA_LLADDR, macToBytes(mac)).attributeU8(NDA_PROTOCOL, RTPROT_BERTH);
  return {
    what: `add neighbour ${ip} dev ${linkName} lladdr ${mac}`,
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: w.bytes(),
  };
}

/** Deletes the entry of this address on this link, whoever made it; ENOENT where there is none. */
export function deleteNeighbour(ip: string, linkIndex: number, linkName: string): Request {
  const w = header(ip, linkIndex, 0).attribute(NDA_DST, ipToBytes(ip));
  return { what: `delete neighbour ${ip} dev ${linkName}`, type: RTM_DELNEIGH, flags: 0, body: w.bytes() };
}

/** The entry of this address on this link; undefined where there is none. Kernel 5.0. Throws `SysError`. */
export function findNeighbour(nl: Netlink, ip: string, linkIndex: number): Neighbour | undefined {
  const body = header(ip, linkIndex, 0).attribute(NDA_DST, ipToBytes(ip)).bytes();
  const payload = nl.find({ what: `look up neighbour ${ip}`, type: RTM_GETNEIGH, flags: 0, body });
  return payload === undefined ? undefined : parseNeighbour(payload);
}

/** The IP neighbour entries of one link. Throws `SysError`. */
export function listNeighbours(nl: Netlink, linkIndex: number): Neighbour[] {
  const body = new Writer().u8(0).u8(0).u16(0).u32(0).u16(0).u8(0).u8(0).attributeU32(NDA_IFINDEX, linkIndex).bytes();
  return nl
    .dump({ what: "list neighbours", type: RTM_GETNEIGH, flags: 0, body })
    .map(parseNeighbour)
    .filter((n) => n !== undefined);
}

/** Reads an RTM_NEWNEIGH message's payload; undefined for a family other than IPv4 and IPv6. */
export function parseNeighbour(payload: Uint8Array): Neighbour | undefined {
  if (familyOf(payload[0] ?? 0) === undefined || payload.length < NDMSG) return undefined;
  const v = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const a = new Attributes(payload, NDMSG);
  const ip = readIp(a.bytes(NDA_DST));
  const mac = a.bytes(NDA_LLADDR);
  if (ip === undefined) return undefined;
  return {
    linkIndex: v.getInt32(4, true),
    ip,
    mac: mac?.length === 6 ? macFromBytes(mac) : undefined,
    permanent: (v.getUint16(8, true) & NUD_PERMANENT) !== 0,
    protocol: a.u8(NDA_PROTOCOL) ?? 0,
  };
}
