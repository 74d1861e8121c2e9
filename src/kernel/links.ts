// Network devices over rtnetlink: RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK (include/uapi/linux/if_link.h, rtnetlink(7)).
import { macFromBytes, macToBytes } from "../address/mac.ts";
import { Attributes, Writer } from "./attributes.ts";
import { Errno, SysError } from "./errno.ts";
import { readKindData, type SubInterface, writeKindData } from "./link-kinds.ts";
import { type Netlink, NLM_F_CREATE, NLM_F_EXCL, type Request } from "./netlink.ts";

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_OPERSTATE = 16;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
/** What a link is to each protocol, nested by address family. */
export const IFLA_AF_SPEC = 26;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_CARRIER = 33;
const IFLA_LINK_NETNSID = 37;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
const VETH_INFO_PEER = 1;
const RTEXT_FILTER_SKIP_STATS = 8;
const AF_INET = 2;
const AF_INET6 = 10;
const IFLA_INET_CONF = 1;

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_NOARP = 0x80;
const IFF_ALLMULTI = 0x200;
const IFF_MULTICAST = 0x1000;

const IFINFOMSG = 16;
const operationalStates = ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"] as const;

/** RFC 2863's operational state, as the kernel names it. */
type OperationalState = (typeof operationalStates)[number];

/** What the kernel says of a link. */
export interface Link {
  /** Unique within its namespace only. */
  readonly index: number;
  readonly name: string;
  /** IFLA_INFO_KIND; a physical NIC has none. */
  readonly kind: string | undefined;
  /** What a sub-interface is, in detail; undefined for other kinds. */
  readonly detail: SubInterface | undefined;
  /** Bytes. */
  readonly mtu: number;
  readonly mac: string | undefined;
  readonly up: boolean;
  readonly loopback: boolean;
  readonly arp: boolean;
  readonly multicast: boolean;
  /** Lets all multicast in, whether the kernel has joined the group or not. */
  readonly allMulticast: boolean;
  readonly carrier: boolean;
  readonly state: OperationalState;
  /** Index of the parent, in the parent's namespace. */
  readonly parentIndex: number | undefined;
  /** True where the parent is in another namespace than the link. */
  readonly parentElsewhere: boolean;
  /** Index of the bridge or bond that the link is a port of. */
  readonly masterIndex: number | undefined;
  readonly group: number;
  readonly alias: string;
}

/** A sub-interface to be made. */
export interface NewSubInterface {
  readonly name: string;
  readonly parentIndex: number;
  /** For the error's sentence only. */
  readonly parentName: string;
  readonly detail: SubInterface;
  /** Bytes; absent: the parent's. */
  readonly mtu?: number;
  readonly mac?: string;
  readonly group?: number;
  /** Descriptor of the namespace it is made in; absent: the socket's own. */
  readonly namespaceFd?: number;
}

/** What may be changed of a link; absent keys stay as they are. */
export interface LinkChange {
  readonly up?: boolean;
  readonly arp?: boolean;
  readonly multicast?: boolean;
  readonly allMulticast?: boolean;
  /** Bytes. */
  readonly mtu?: number;
  readonly mac?: string;
  readonly alias?: string;
  readonly group?: number;
  readonly masterIndex?: number;
  /** False: no link-local address and no router advertisements from the moment the link goes up. */
  readonly ipv6Addresses?: false;
  /** A variable of IPv4, by its number: see link-variables.ts. */
  readonly ipv4?: { readonly number: number; readonly value: number };
}

function header(w: Writer, index: number, flags = 0, change = 0): Writer {
  return w.u8(0).u8(0).u16(0).u32(index).u32(flags).u32(change);
}

/**
 * Makes a sub-interface, in the wanted namespace and under its final name at once. The kernel answers EEXIST where the
 * name is taken there, EOPNOTSUPP where it lacks the kind, EBUSY where the parent already serves another kind or a bridge,
 * EINVAL for an MTU above the parent's (macvlan, ipvlan) or a bad value, ERANGE for one above its own limit.
 */
export function newSubInterface(link: NewSubInterface): Request {
  const w = header(new Writer(), 0);
  w.attributeString(IFLA_IFNAME, link.name).attributeU32(IFLA_LINK, link.parentIndex);
  if (link.mtu !== undefined) w.attributeU32(IFLA_MTU, link.mtu);
  if (link.mac !== undefined) w.attribute(IFLA_ADDRESS, macToBytes(link.mac));
  if (link.group !== undefined) w.attributeU32(IFLA_GROUP, link.group);
  if (link.namespaceFd !== undefined) w.attributeU32(IFLA_NET_NS_FD, link.namespaceFd);
  w.nest(IFLA_LINKINFO, (info) => {
    info.attributeString(IFLA_INFO_KIND, link.detail.kind);
    info.nest(IFLA_INFO_DATA, (data) => writeKindData(data, link.detail));
  });
  return {
    what: `create ${link.detail.kind} ${link.name} on ${link.parentName}`,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: w.bytes(),
  };
}

/** Makes a bridge (for LANs made of namespaces). */
export function newBridge(name: string): Request {
  const w = header(new Writer(), 0).attributeString(IFLA_IFNAME, name);
  w.nest(IFLA_LINKINFO, (info) => info.attributeString(IFLA_INFO_KIND, "bridge"));
  return { what: `create bridge ${name}`, type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, body: w.bytes() };
}

/** Makes a veth pair: `name` in the socket's namespace, `peer` in that of the descriptor. */
export function newVethPair(name: string, peer: string, peerNamespaceFd: number): Request {
  const w = header(new Writer(), 0).attributeString(IFLA_IFNAME, name);
  w.nest(IFLA_LINKINFO, (info) => {
    info.attributeString(IFLA_INFO_KIND, "veth");
    info.nest(IFLA_INFO_DATA, (data) =>
      data.nest(VETH_INFO_PEER, (p) =>
        header(p, 0).attributeString(IFLA_IFNAME, peer).attributeU32(IFLA_NET_NS_FD, peerNamespaceFd),
      ),
    );
  });
  return { what: `create veth ${name}`, type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, body: w.bytes() };
}

/** Gives a link, which must be down, another name. EEXIST where that is taken. */
export function renameLink(index: number, from: string, to: string): Request {
  const w = header(new Writer(), index).attributeString(IFLA_IFNAME, to);
  return { what: `rename link ${from} to ${to}`, type: RTM_SETLINK, flags: 0, body: w.bytes() };
}

/** What a link is given on its way to another namespace. */
export interface MovedLink {
  /** Its name there. */
  readonly name: string;
  readonly group?: number;
  readonly alias?: string;
}

/**
 * Moves a link to another namespace, where it is down and has no addresses. EEXIST where the name is taken there, EINVAL
 * where it is of a kind that stays where it is.
 */
export function moveLink(index: number, from: string, namespaceFd: number, { name, group, alias }: MovedLink): Request {
  const w = header(new Writer(), index).attributeU32(IFLA_NET_NS_FD, namespaceFd).attributeString(IFLA_IFNAME, name);
  if (group !== undefined) w.attributeU32(IFLA_GROUP, group);
  if (alias !== undefined) w.attributeString(IFLA_IFALIAS, alias);
  return { what: `move link ${from} to another namespace`, type: RTM_SETLINK, flags: 0, body: w.bytes() };
}

/** Changes a link, found by its name; up and down come before what protocols are told. ENODEV where it is not there. */
export function changeLink(name: string, change: LinkChange): Request {
  let [flags, mask] = [0, 0];
  const flag = (bit: number, on: boolean | undefined): void => {
    if (on === undefined) return;
    mask |= bit;
    if (on) flags |= bit;
  };
  flag(IFF_UP, change.up);
  flag(IFF_NOARP, change.arp === undefined ? undefined : !change.arp);
  flag(IFF_MULTICAST, change.multicast);
  flag(IFF_ALLMULTI, change.allMulticast);
  const w = header(new Writer(), 0, flags, mask).attributeString(IFLA_IFNAME, name);
  if (change.mtu !== undefined) w.attributeU32(IFLA_MTU, change.mtu);
  if (change.mac !== undefined) w.attribute(IFLA_ADDRESS, macToBytes(change.mac));
  if (change.alias !== undefined) w.attributeString(IFLA_IFALIAS, change.alias);
  if (change.group !== undefined) w.attributeU32(IFLA_GROUP, change.group);
  if (change.masterIndex !== undefined) w.attributeU32(IFLA_MASTER, change.masterIndex);
  if (change.ipv6Addresses === false) {
    w.nest(IFLA_AF_SPEC, (spec) =>
      spec.nest(AF_INET6, (inet6) => inet6.attributeU8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)),
    );
  }
  const { ipv4 } = change;
  if (ipv4 !== undefined) {
    w.nest(IFLA_AF_SPEC, (spec) =>
      spec.nest(AF_INET, (inet) => inet.nest(IFLA_INET_CONF, (conf) => conf.attributeU32(ipv4.number, ipv4.value))),
    );
  }
  return { what: `change link ${name}`, type: RTM_SETLINK, flags: 0, body: w.bytes() };
}

/** Deletes a link by its index. The kernel takes 14–20 ms for it: it waits until no packet can refer to the link. */
export function deleteLink(index: number, name: string): Request {
  return { what: `delete link ${name}`, type: RTM_DELLINK, flags: 0, body: header(new Writer(), index).bytes() };
}

function getRequest(index: number, name: string | undefined): Request {
  const w = header(new Writer(), index);
  if (name !== undefined) w.attributeString(IFLA_IFNAME, name);
  w.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return { what: `look up link ${name ?? `with index ${index}`}`, type: RTM_GETLINK, flags: 0, body: w.bytes() };
}

/** The link of that name in the socket's namespace; undefined where there is none. Throws `SysError`. */
export function findLink(nl: Netlink, name: string): Link | undefined {
  const payload = nl.find(getRequest(0, name));
  return payload === undefined ? undefined : parseLink(payload);
}

/** All that the kernel says of the link of that name; undefined where there is none. Throws `SysError`. */
export function findLinkAttributes(nl: Netlink, name: string): Attributes | undefined {
  const payload = nl.find(getRequest(0, name));
  return payload === undefined ? undefined : new Attributes(payload, IFINFOMSG);
}

/** The link of that index in the socket's namespace; undefined where there is none. Throws `SysError`. */
export function findLinkByIndex(nl: Netlink, index: number): Link | undefined {
  const payload = nl.find(getRequest(index, undefined));
  return payload === undefined ? undefined : parseLink(payload);
}

/** All links of the socket's namespace. Throws `SysError`. */
export function listLinks(nl: Netlink): Link[] {
  const body = header(new Writer(), 0).attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS).bytes();
  return nl.dump({ what: "list links", type: RTM_GETLINK, flags: 0, body }).map(parseLink);
}

/** The links of one kind in the socket's namespace: the kernel picks them, so that a host with many links is asked as fast. Throws `SysError`. */
export function listLinksOfKind(nl: Netlink, kind: string): Link[] {
  const w = header(new Writer(), 0).attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  w.nest(IFLA_LINKINFO, (info) => info.attributeString(IFLA_INFO_KIND, kind));
  const found = nl.dump({ what: `list ${kind} links`, type: RTM_GETLINK, flags: 0, body: w.bytes() }).map(parseLink);
  return found.filter((l) => l.kind === kind); // a kernel without the kind picks none, and answers with all
}

/** Reads an RTM_NEWLINK message's payload. Throws `SysError` (EPROTO) for one that is cut short. */
export function parseLink(payload: Uint8Array): Link {
  if (payload.length < IFINFOMSG) throw new SysError("read what the kernel says of a link", Errno.EPROTO);
  const v = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const flags = v.getUint32(8, true);
  const a = new Attributes(payload, IFINFOMSG);
  const info = a.nested(IFLA_LINKINFO);
  const kind = info.string(IFLA_INFO_KIND);
  const mac = a.bytes(IFLA_ADDRESS);
  return {
    index: v.getInt32(4, true),
    name: a.string(IFLA_IFNAME) ?? "",
    kind,
    detail: kind === undefined ? undefined : readKindData(kind, info.nested(IFLA_INFO_DATA)),
    mtu: a.u32(IFLA_MTU) ?? 0,
    mac: mac?.length === 6 ? macFromBytes(mac) : undefined,
    up: (flags & IFF_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    arp: (flags & IFF_NOARP) === 0,
    multicast: (flags & IFF_MULTICAST) !== 0,
    allMulticast: (flags & IFF_ALLMULTI) !== 0,
    carrier: a.u8(IFLA_CARRIER) === 1,
    state: operationalStates[a.u8(IFLA_OPERSTATE) ?? 0] ?? "unknown",
    parentIndex: a.u32(IFLA_LINK),
    parentElsewhere: a.bytes(IFLA_LINK_NETNSID) !== undefined,
    masterIndex: a.u32(IFLA_MASTER),
    group: a.u32(IFLA_GROUP) ?? 0,
    alias: a.string(IFLA_IFALIAS) ?? "",
  };
}

/**
 * Whether the kernel has a kind of link (a missing module is loaded): it is asked to make one on a parent that cannot
 * exist, and answers ENODEV where it knows the kind, EOPNOTSUPP where it does not. Throws `SysError` for other answers.
 */
export function supportsKind(nl: Netlink, detail: SubInterface): boolean {
  const request = newSubInterface({ name: "berth-probe", parentIndex: 0x7fffffff, parentName: "no parent", detail });
  const [error] = nl.batch([request]);
  if (error === undefined || error.errno === Errno.ENODEV) return true;
  if (error.errno === Errno.EOPNOTSUPP) return false;
  throw error;
}
