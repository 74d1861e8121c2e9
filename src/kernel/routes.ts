// Routes over rtnetlink: RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE (include/uapi/linux/rtnetlink.h).
import { type Cidr, formatCidr, hostCidr } from "../address/cidr.ts";
import { type Family, ipFamily, ipToBytes } from "../address/ip.ts";
import { Attributes, Writer } from "./attributes.ts";
import { addressFamily, familyOf, readIp } from "./families.ts";
import { Errno, SysError } from "./errno.ts";
import { type Netlink, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, type Request } from "./netlink.ts";
import { RTPROT_BERTH } from "./protocol.ts";

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const RTAX_ADVMSS = 8;
const RTN_UNICAST = 1;
const RTNH_F_ONLINK = 4;
const RTM_F_LOOKUP_TABLE = 0x1000;
const RTMSG = 12;

/** The kernel's main routing table. */
export const TABLE_MAIN = 254;
/** rt_scope "link": the destination is on the link itself. */
export const SCOPE_LINK = 253;
/** The kernel's metric of an IPv6 route that was given none. */
const IPV6_DEFAULT_METRIC = 1024;

/** A unicast route through one link. */
export interface Route {
  readonly dst: Cidr;
  /** Next hop; absent: the destination is on the link. */
  readonly gateway?: string;
  /** Preferred source address of packets that take this route. */
  readonly source?: string;
  readonly table?: number;
  /** Smaller is preferred; absent: 0 for IPv4, 1024 for IPv6. */
  readonly metric?: number;
  /** rt_scope; IPv6 ignores it. */
  readonly scope?: number;
  /** Bytes. */
  readonly mtu?: number;
  /** TCP's advertised maximum segment size, bytes. */
  readonly advmss?: number;
  /** The next hop is on the link even though no address says so. */
  readonly onlink?: boolean;
}

/** A route as the kernel has it. */
export interface InstalledRoute extends Route {
  readonly linkIndex: number | undefined;
  readonly table: number;
  readonly metric: number;
  readonly scope: number;
  readonly protocol: number;
  /** rtm_type; 1 is unicast. */
  readonly type: number;
}

function routeBody(route: Route, linkIndex: number | undefined, protocol: number): Uint8Array {
  const table = route.table ?? TABLE_MAIN;
  const w = new Writer()
    .u8(addressFamily(ipFamily(route.dst.ip)))
    .u8(route.dst.prefix)
    .u8(0)
    .u8(0)
    .u8(table < 256 ? table : 0)
    .u8(protocol)
    .u8(route.scope ?? 0)
    .u8(RTN_UNICAST)
    .u32(route.onlink === true ? RTNH_F_ONLINK : 0);
  if (route.dst.prefix > 0) w.attribute(RTA_DST, ipToBytes(route.dst.ip));
  if (linkIndex !== undefined) w.attributeU32(RTA_OIF, linkIndex);
  if (route.gateway !== undefined) w.attribute(RTA_GATEWAY, ipToBytes(route.gateway));
  if (route.source !== undefined) w.attribute(RTA_PREFSRC, ipToBytes(route.source));
  if (route.metric !== undefined) w.attributeU32(RTA_PRIORITY, route.metric);
  w.attributeU32(RTA_TABLE, table);
  const { mtu, advmss } = route;
  if (mtu !== undefined || advmss !== undefined) {
    w.nest(RTA_METRICS, (m) => {
      if (mtu !== undefined) m.attributeU32(RTAX_MTU, mtu);
      if (advmss !== undefined) m.attributeU32(RTAX_ADVMSS, advmss);
    });
  }
  return w.bytes();
}

/** A route in words, as `192.168.10.22/32 via 10.0.0.1 dev eth0`. */
export function describeRoute(route: Route, linkName: string): string {
  return [
    route.dst.prefix === 0 ? "default" : formatCidr(route.dst),
    ...(route.gateway === undefined ? [] : ["via", route.gateway]),
    "dev",
    linkName,
    ...(route.table === undefined || route.table === TABLE_MAIN ? [] : ["table", `${route.table}`]),
    ...(route.metric === undefined ? [] : ["metric", `${route.metric}`]),
  ].join(" ");
}

/**
 * Adds a route, with Berth's protocol number unless another is given. EEXIST where the table has one of the same destination and metric,
 * ENETUNREACH where the gateway is not on the link, EINVAL for a source address that is not (yet) the namespace's own.
 */
export function newRoute(
  route: Route,
  linkIndex: number,
  linkName: string,
  options: { readonly replace?: boolean; readonly protocol?: number } = {},
): Request {
  const replace = options.replace === true;
  return {
    get what() {
      return `${replace ? "replace" : "add"} route ${describeRoute(route, linkName)}`;
    },
    type: RTM_NEWROUTE,
    flags: NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL),
    body: routeBody(route, linkIndex, options.protocol ?? RTPROT_BERTH),
  };
}

/** Deletes a route if it carries Berth's protocol number; ESRCH where there is no such route of Berth's. */
export function deleteRoute(route: Route, linkIndex: number, linkName: string): Request {
  return {
    what: `delete route ${describeRoute(route, linkName)}`,
    type: RTM_DELROUTE,
    flags: 0,
    body: routeBody(route, linkIndex, RTPROT_BERTH),
  };
}

/** Which routes to list. The kernel filters by all of these at once. */
export interface RouteFilter {
  readonly family: Family;
  /** Absent: every table. */
  readonly table?: number;
  readonly linkIndex?: number;
  readonly protocol?: number;
}

/** The unicast routes of the socket's namespace that match. A table that does not exist yet has none. Throws `SysError`. */
export function listRoutes(nl: Netlink, filter: RouteFilter): InstalledRoute[] {
  const table = filter.table ?? 0;
  const w = new Writer()
    .u8(addressFamily(filter.family))
    .u8(0)
    .u8(0)
    .u8(0)
    .u8(table < 256 ? table : 0)
    .u8(filter.protocol ?? 0)
    .u8(0)
    .u8(filter.linkIndex === undefined ? 0 : RTN_UNICAST)
    .u32(0);
  if (filter.table !== undefined) w.attributeU32(RTA_TABLE, table);
  if (filter.linkIndex !== undefined) w.attributeU32(RTA_OIF, filter.linkIndex);
  let payloads;
  try {
    payloads = nl.dump({ what: "list routes", type: RTM_GETROUTE, flags: 0, body: w.bytes() });
  } catch (e) {
    if (e instanceof SysError && e.errno === Errno.ENOENT) return [];
    throw e;
  }
  return payloads.map(parseRoute).filter((r) => r !== undefined && r.type === RTN_UNICAST) as InstalledRoute[];
}

/**
 * The route that the socket's namespace would send a packet to this address by; undefined where there is none. Throws `SysError`.
 * @param source the packet's source address; absent: whatever the kernel chooses
 */
export function lookUpRoute(nl: Netlink, ip: string, source?: string): InstalledRoute | undefined {
  const { prefix } = hostCidr(ip);
  const w = new Writer()
    .u8(addressFamily(ipFamily(ip)))
    .u8(prefix)
    .u8(source === undefined ? 0 : prefix)
    .u8(0)
    .u8(0)
    .u8(0)
    .u8(0)
    .u8(0)
    .u32(ipFamily(ip) === 4 ? RTM_F_LOOKUP_TABLE : 0) // IPv6 tells the table unasked, and refuses the flag
    .attribute(RTA_DST, ipToBytes(ip));
  if (source !== undefined) w.attribute(RTA_SRC, ipToBytes(source));
  const request = {
    what: `look up the route to ${ip}`,
    type: RTM_GETROUTE,
    flags: 0,
    body: w.bytes(),
  };
  const none = [Errno.ENETUNREACH, Errno.EHOSTUNREACH, Errno.ESRCH, Errno.EINVAL]; // EINVAL: the source is not the namespace's own
  const payload = nl.find(request, none);
  return payload === undefined ? undefined : parseRoute(payload);
}

/** Reads an RTM_NEWROUTE message's payload; undefined for a family other than IPv4 and IPv6. */
export function parseRoute(payload: Uint8Array): InstalledRoute | undefined {
  const family = familyOf(payload[0] ?? 0);
  if (family === undefined || payload.length < RTMSG) return undefined;
  const a = new Attributes(payload, RTMSG);
  const dst = readIp(a.bytes(RTA_DST));
  const gateway = readIp(a.bytes(RTA_GATEWAY));
  const source = readIp(a.bytes(RTA_PREFSRC));
  const metrics = a.nested(RTA_METRICS);
  const [mtu, advmss] = [metrics.u32(RTAX_MTU), metrics.u32(RTAX_ADVMSS)];
  const flags = new DataView(payload.buffer, payload.byteOffset).getUint32(8, true);
  return {
    dst: { ip: dst ?? (family === 4 ? "0.0.0.0" : "::"), prefix: payload[1] ?? 0 },
    linkIndex: a.u32(RTA_OIF),
    table: a.u32(RTA_TABLE) ?? payload[4] ?? 0,
    metric: a.u32(RTA_PRIORITY) ?? 0,
    protocol: payload[5] ?? 0,
    scope: payload[6] ?? 0,
    type: payload[7] ?? 0,
    ...(gateway === undefined ? {} : { gateway }),
    ...(source === undefined ? {} : { source }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(advmss === undefined ? {} : { advmss }),
    ...((flags & RTNH_F_ONLINK) === 0 ? {} : { onlink: true }),
  };
}

/** The metric that the kernel gives a route. */
export function effectiveMetric(route: Route): number {
  return route.metric ?? (ipFamily(route.dst.ip) === 4 ? 0 : IPV6_DEFAULT_METRIC);
}
