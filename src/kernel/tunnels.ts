// Tunnel devices that carry Ethernet frames, for worlds made of namespaces: include/uapi/linux/if_tunnel.h, if_link.h.
import { ipToBytes } from "../address/ip.ts";
import { Writer } from "./attributes.ts";
import { NLM_F_CREATE, NLM_F_EXCL, type Request } from "./netlink.ts";

const RTM_NEWLINK = 16;
const IFLA_IFNAME = 3;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFINFOMSG = 16;

const IFLA_GRE_IFLAGS = 2;
const IFLA_GRE_OFLAGS = 3;
const IFLA_GRE_IKEY = 4;
const IFLA_GRE_OKEY = 5;
const IFLA_GRE_LOCAL = 6;
const IFLA_GRE_REMOTE = 7;
const GRE_KEY = 0x2000;

const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_GROUP = 2;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_PORT = 15;
/** IANA's port for VXLAN (RFC 7348). */
const VXLAN_PORT = 4789;

/** The kinds of tunnel. */
export const tunnelKinds = ["gretap", "vxlan"] as const;
/** A kind of tunnel. */
export type TunnelKind = (typeof tunnelKinds)[number];

/** A tunnel to be made, from one IPv4 address to another. */
export interface NewTunnel {
  readonly name: string;
  readonly kind: TunnelKind;
  /** GRE's key, VXLAN's network identifier: the same at both ends. */
  readonly id: number;
  readonly local: string;
  readonly remote: string;
  /** Index of the link that it runs over, by whose MTU a VXLAN's own is reckoned. */
  readonly overIndex: number;
}

function numberOf(id: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, id);
  return bytes;
}

function writeGretap(w: Writer, { id, local, remote }: NewTunnel): void {
  w.attributeU16BigEndian(IFLA_GRE_IFLAGS, GRE_KEY).attributeU16BigEndian(IFLA_GRE_OFLAGS, GRE_KEY);
  w.attribute(IFLA_GRE_IKEY, numberOf(id)).attribute(IFLA_GRE_OKEY, numberOf(id));
  w.attribute(IFLA_GRE_LOCAL, ipToBytes(local)).attribute(IFLA_GRE_REMOTE, ipToBytes(remote));
}

function writeVxlan(w: Writer, { id, local, remote, overIndex }: NewTunnel): void {
  w.attributeU32(IFLA_VXLAN_ID, id).attributeU32(IFLA_VXLAN_LINK, overIndex);
  w.attribute(IFLA_VXLAN_LOCAL, ipToBytes(local)).attribute(IFLA_VXLAN_GROUP, ipToBytes(remote));
  w.attributeU16BigEndian(IFLA_VXLAN_PORT, VXLAN_PORT);
}

/** Makes a tunnel's end. The kernel answers EOPNOTSUPP where it lacks the kind, EEXIST where this tunnel is there already. */
export function newTunnel(tunnel: NewTunnel): Request {
  const w = new Writer();
  for (let i = 0; i < IFINFOMSG; i++) w.u8(0);
  w.attributeString(IFLA_IFNAME, tunnel.name);
  w.nest(IFLA_LINKINFO, (info) => {
    info.attributeString(IFLA_INFO_KIND, tunnel.kind);
    info.nest(IFLA_INFO_DATA, (data) => (tunnel.kind === "gretap" ? writeGretap : writeVxlan)(data, tunnel));
  });
  return {
    what: `create ${tunnel.kind} ${tunnel.name} to ${tunnel.remote}`,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: w.bytes(),
  };
}
