// From configuration, request, kernel and allocation to the plan: pure, no I/O.
import { type Cidr, formatCidr, hostCidr, networkOf, parseCidr, withoutPrefix } from "../address/cidr.ts";
import { type Family, ipFamily, isUnspecified, parseIp } from "../address/ip.ts";
import type { Allocation, RouteSpec } from "../ipam/provider.ts";
import type { Link } from "../kernel/links.ts";
import type { Route } from "../kernel/routes.ts";
import type { Plan } from "../plan/plan.ts";
import type { FormerLink, Step, Where, SysctlStep } from "../plan/step.ts";
import { AddressConflict } from "../plan/conflict.ts";
import { Failure } from "../report/failure.ts";
import { containerNeighbours, type HostFacts, hostRoutes, hostSideSteps } from "./host-access.ts";
import type { ConflictDetection } from "./conflict-detection.ts";
import { besideGuest, type GuestInput } from "./guest.ts";
import { describeKey, type Key } from "./key.ts";
import type { Detail } from "./kinds.ts";
import { aliasOf, deviceAlias } from "./marks.ts";
import { type RoutingPlace, routingPlace, type SourceRouting, sourceRoutingSteps } from "./source-routing.ts";

/** How long duplicate address detection may take, milliseconds: what the standard plugins wait. */
const SETTLE_MS = 10_000;

/** All that a plan is made of. */
export interface PlanInput {
  readonly key: Key;
  readonly detail: Detail;
  readonly parent: Link;
  readonly parentWhere: Where;
  /** Bytes; absent: the parent's. */
  readonly mtu?: number;
  /** Absent where the kind takes its parent's. */
  readonly mac?: string;
  readonly allocation: Allocation;
  /** Absent: no host access. */
  readonly host?: HostFacts;
  /** Addresses of the host that the attachment must not get. */
  readonly hostIps: readonly string[];
  /** The attachment gets a routing table of its own, and a rule for each of its addresses. */
  readonly sourceRouting: SourceRouting;
  /** Whether it owns the container's default route; "auto": the first by interface name does; absent: as IPAM says. */
  readonly defaultRoute?: boolean | "auto";
  /** Kind device: what the NIC was before. */
  readonly device?: FormerLink;
  /** Absent: the link is a container's, which has the addresses. */
  readonly guest?: GuestInput;
  /** Absent: the LAN is not asked whether it knows the addresses. */
  readonly conflictDetection?: ConflictDetection;
}

/** The step by which the attachment gets its link: made on a parent, or moved. */
function linkSteps({ key, detail, parent, parentWhere, mtu, mac, device }: PlanInput): Step[] {
  const asked = { ...(mtu === undefined ? {} : { mtu }), ...(mac === undefined ? {} : { mac }) };
  const place = { where: "container", name: key.ifName } as const;
  if (detail.kind !== "device") {
    const from = { name: parent.name, where: parentWhere };
    return [{ type: "link", ...place, parent: from, detail, ...asked, owner: aliasOf(key) }];
  }
  return device === undefined
    ? []
    : [{ type: "device", ...place, former: device, alias: deviceAlias(key, device.name), ...asked }];
}

/** A sysctl of the container. */
function setting(key: string, value: string): SysctlStep {
  return { type: "sysctl", where: "container", key, value };
}

/** The ordered steps of an attachment; of a virtual machine's, those of the host. Throws `Failure` as {@link wholePlan} does. */
export function planAttachment(input: PlanInput): Plan {
  const plan = wholePlan(input);
  return input.guest === undefined ? plan : besideGuest(plan, input.key, input.guest, aliasOf(input.key));
}

/** The ordered steps of an attachment, whoever takes them. Throws `Failure` (`config`, `address`) where the parts do not fit. */
export function wholePlan(input: PlanInput): Plan {
  const { key, parent, allocation, host } = input;
  const link = key.ifName;
  checkMtu(input);
  const addresses: Cidr[] = [];
  for (const { address } of allocation.ips) {
    const cidr = parseCidr(address);
    if (cidr === undefined)
      throw new Failure("delegate", `use ${address} from IPAM: it is no address with a prefix length`);
    addresses.push(cidr);
  }
  checkOwn(input, addresses);
  checkHostAccess(input);
  const has6 = hasFamily(6, addresses);
  // first, as a cloud takes its time to let them pass
  const admission = allocation.port?.admission;
  const steps: Step[] = admission === undefined ? [] : [{ type: "address-pairs", where: "cloud", ...admission }];
  const mac = input.mac ?? parent.mac;
  const hostPart: Step[] = [];
  if (host !== undefined) {
    if (mac === undefined)
      throw new Failure("config", `give ${link} host access: its parent ${parent.name} has no MAC`);
    if (host.prepare !== undefined) hostPart.push(host.prepare);
    hostPart.push(...hostSideSteps(host, mac, addresses));
  }
  // in one piece, as attachments of one parent take turns at it, and first, as it is short; but the host must not send an
  // address's packets here while another machine may have it
  const detection = addresses.length > 0 ? input.conflictDetection : undefined;
  if (detection === undefined) steps.push(...hostPart);
  steps.push(...linkSteps(input));
  if (addresses.length > 0) {
    if (has6) steps.push(setting(`net/ipv6/conf/${link}/disable_ipv6`, "0"));
    steps.push({ ...setting(`net/ipv4/conf/${link}/arp_notify`, "1"), ifThere: true });
    // not without need: the kernel hands what a link announces to every other macvlan of the parent, and the addresses that
    // it makes by itself are made from the MAC, so that no neighbour remembers another's
    if (has6) steps.push({ ...setting(`net/ipv6/conf/${link}/ndisc_notify`, "1"), ifThere: true });
    // or every link of the container on one LAN answers for the addresses of all, and neighbours may learn the wrong MAC
    if (input.sourceRouting !== false && hasFamily(4, addresses)) {
      steps.push(setting(`net/ipv4/conf/${link}/arp_ignore`, "1"));
    }
  }
  const alone = input.sourceRouting === "only";
  const place = input.sourceRouting === false ? undefined : routingPlace(link);
  const metric = place === undefined || alone ? {} : { metric: place.metric };
  const alias = input.device === undefined ? aliasOf(key) : deviceAlias(key, input.device.name);
  const up: Step = { type: "up", where: "container", link, alias };
  // the kernel announces addresses that are there when the link goes up
  if (detection !== undefined) steps.push(up, probeStep(input, detection, addresses));
  for (const cidr of addresses) steps.push({ type: "address", where: "container", link, address: cidr, ...metric });
  if (detection === undefined) steps.push(up);
  if (has6) steps.push({ type: "settle", where: "container", link, timeoutMs: SETTLE_MS });
  if (detection !== undefined) {
    steps.push({ type: "announce", where: "container", link, addresses: addresses.map((a) => a.ip) }, ...hostPart);
  }
  const routes = allocationRoutes(input);
  if (host !== undefined) routes.push(...hostRoutes(host, addresses));
  for (const route of routes) {
    if (alone || (route.dst.prefix === 0 && input.defaultRoute === false)) continue;
    const own = place === undefined ? {} : { metric: route.metric ?? metricOf(route, place, input.defaultRoute) };
    steps.push({ type: "route", where: "container", link, route: { ...route, ...own } });
  }
  if (place !== undefined) steps.push(...sourceRoutingSteps(link, place, addresses, routes, alone));
  if (host !== undefined) steps.push(...containerNeighbours(host, link, addresses));
  steps.push(...reachSteps(input));
  return steps;
}

/** Whether there is an address of a family. */
function hasFamily(family: Family, addresses: readonly Cidr[]): boolean {
  for (const { ip } of addresses) if (ipFamily(ip) === family) return true;
  return false;
}

/** Who has the addresses is asked on the link itself, but for an ipvlan: it does not hear answers to an address that it lacks. */
function probeStep(
  { detail, parent, parentWhere, key }: PlanInput,
  { probes, waitMs }: ConflictDetection,
  addresses: readonly Cidr[],
): Step {
  const on =
    detail.kind === "ipvlan"
      ? { where: parentWhere, link: parent.name }
      : ({ where: "container", link: key.ifName } as const);
  return { type: "probe", ...on, addresses: addresses.map((a) => a.ip), probes, waitMs };
}

/** Where a cloud has to let frames pass: until it does. Links without ARP (ipvlan in layer 3) cannot ask. */
function reachSteps({ allocation: { ips, port }, detail, key }: PlanInput): Step[] {
  if (port?.reach === undefined || (detail.kind === "ipvlan" && detail.mode !== "l2")) return [];
  const gateways = ips.flatMap(({ address, gateway }) =>
    gateway === undefined ? [] : [{ from: withoutPrefix(address), gateway }],
  );
  if (gateways.length === 0) return [];
  return [{ type: "reach", where: "container", link: key.ifName, gateways, ...port.reach }];
}

/** A route's metric in the main table, where several attachments may have one to the same destination. */
function metricOf(route: Route, place: RoutingPlace, defaultRoute: PlanInput["defaultRoute"]): number {
  return route.dst.prefix === 0 && defaultRoute === true ? place.owningMetric : place.metric;
}

function checkMtu({ mtu, parent, key, device }: PlanInput): void {
  if (mtu === undefined || mtu <= parent.mtu || device !== undefined) return;
  throw new Failure(
    "config",
    `give ${key.ifName} an MTU of ${mtu} bytes: its parent ${parent.name} has ${parent.mtu}`,
    {
      advice: `Leave "mtu" out or set it to ${parent.mtu} at most, or raise the parent's: ip link set dev ${parent.name} mtu ${mtu}`,
    },
  );
}

/** With host access, or where conflicts shall be detected, an attachment does not get an address of its host. */
function checkOwn({ hostIps, key }: PlanInput, addresses: readonly Cidr[]): void {
  for (const { ip } of addresses) if (hostIps.includes(ip)) throw AddressConflict.onHost(ip, describeKey(key));
}

function checkHostAccess({ host, allocation, key }: PlanInput): void {
  if (host === undefined || allocation.ips.length === 0) return;
  const families = new Set(host.addresses.map((a) => ipFamily(a.ip)));
  const tasks = allocation.ips.map((lease) => parseCidr(lease.address)?.ip ?? "");
  if (tasks.some((ip) => families.has(ipFamily(ip)))) return;
  throw new Failure(
    "config",
    `give ${describeKey(key)} host access: the host has no global address of the attachment's family`,
    {
      advice: "Give the host an address of that family, name one (hostrouteip), or ask for no host access.",
    },
  );
}

/** IPAM's routes as the kernel takes them; those to a host address are host access's own. */
function allocationRoutes({ allocation, host, defaultRoute }: PlanInput): Route[] {
  const hostDestinations: string[] = [];
  for (const { ip } of host?.addresses ?? []) hostDestinations.push(formatCidr(hostCidr(ip)));
  const gateways: string[] = [];
  for (const lease of allocation.ips) {
    const gateway = parseIp(lease.gateway ?? "");
    if (gateway !== undefined) gateways.push(gateway);
  }
  const routes: Route[] = [];
  for (const spec of allocation.routes) {
    const route = toRoute(spec, gateways);
    const plain = spec.table === undefined && spec.priority === undefined;
    if (plain && hostDestinations.includes(formatCidr(route.dst))) continue;
    routes.push(route);
  }
  if (defaultRoute === undefined || defaultRoute === false) return routes;
  // asked for, whether IPAM answers one or not
  for (const gateway of gateways) {
    const everything = { ip: ipFamily(gateway) === 4 ? "0.0.0.0" : "::", prefix: 0 };
    const has = routes.some((r) => r.dst.prefix === 0 && ipFamily(r.dst.ip) === ipFamily(gateway));
    if (!has) routes.push({ dst: everything, gateway });
  }
  return routes;
}

/** The first of the family. */
function ofFamily(family: Family, ips: readonly string[]): string | undefined {
  for (const ip of ips) if (ipFamily(ip) === family) return ip;
  return undefined;
}

function toRoute(spec: RouteSpec, gateways: readonly string[]): Route {
  const given = parseCidr(spec.dst);
  if (given === undefined)
    throw new Failure("delegate", `use the route to ${spec.dst} from IPAM: it is no address with a prefix length`);
  const dst = networkOf(given); // the kernel refuses host bits, IPAM plugins answer them
  const stated = spec.gw === undefined ? undefined : parseIp(spec.gw);
  const gateway = stated ?? ofFamily(ipFamily(dst.ip), gateways);
  return {
    dst,
    ...(gateway === undefined || isUnspecified(gateway) ? {} : { gateway }),
    ...(spec.table === undefined ? {} : { table: spec.table }),
    ...(spec.priority === undefined ? {} : { metric: spec.priority }),
    ...(spec.scope === undefined ? {} : { scope: spec.scope }),
    ...(spec.mtu === undefined ? {} : { mtu: spec.mtu }),
    ...(spec.advmss === undefined ? {} : { advmss: spec.advmss }),
  };
}
