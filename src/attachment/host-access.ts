// Host access: which routes and neighbours let a host and an attachment on its own parent talk. Pure; gather-host.ts
// asks the host.
import { type Cidr, contains, hostCidr } from "../address/cidr.ts";
import { type Family, ipFamily } from "../address/ip.ts";
import { type Route, SCOPE_LINK } from "../kernel/routes.ts";
import type { Step, TableRuleStep } from "../plan/step.ts";
import { Failure } from "../report/failure.ts";
import type { AccessLink } from "./access-link.ts";
import type { NetworkConfig } from "./config.ts";

/** An address of the host, and the link it is on. */
export interface HostAddress {
  readonly ip: string;
  readonly loopback: boolean;
}

/** What host access needs to know of the host. */
export interface HostFacts extends AccessLink {
  /** The addresses that host access is for. */
  readonly addresses: readonly HostAddress[];
  readonly options: HostAccess;
}

/** Host access in its one canonical form. */
export interface HostAccess {
  /** The access link's name, or "auto": Berth makes it. */
  readonly link: string;
  /** The host's addresses that it is for; absent: every global one. */
  readonly addresses?: readonly string[];
  /** Of the host's routes; smaller is preferred. */
  readonly metric?: number;
  /** Where the host's routes are; "own": a table of Berth's with a rule before the main table's. */
  readonly table?: number | "own";
  /** Whether the neighbour entries are permanent ones, or left to the kernel's ARP and neighbour discovery. */
  readonly neighbours: "static" | "kernel";
}

/** Berth's own table on the host, and its rule's place: after the local table's, before any that people usually make. */
const OWN_TABLE = 98;
const OWN_TABLE_PRIORITY = 980;

/** A configuration's host access, the short form `hostrouteif` included; undefined where it asks for none. Throws `Failure` (`config`). */
export function hostAccessOf(config: NetworkConfig): HostAccess | undefined {
  const { hostAccess, hostrouteif, hostrouteip } = config;
  if (hostAccess === undefined) {
    if (hostrouteif === undefined) return undefined;
    const addresses = typeof hostrouteip === "string" ? [hostrouteip] : hostrouteip;
    return { link: hostrouteif, neighbours: "static", ...(addresses === undefined ? {} : { addresses }) };
  }
  if (hostrouteif !== undefined || hostrouteip !== undefined) {
    throw new Failure("config", "use hostAccess together with its short form, hostrouteif and hostrouteip", {
      advice: "Keep one of the two forms.",
    });
  }
  if (hostAccess === false) return undefined;
  if (hostAccess === "auto") return { link: "auto", neighbours: "static" };
  const { link, addresses, metric, table, neighbours } = hostAccess;
  return {
    link: link ?? "auto",
    neighbours: neighbours === "kernel" ? "kernel" : "static",
    ...(addresses === undefined ? {} : { addresses }),
    ...(metric === undefined ? {} : { metric }),
    ...(table === undefined ? {} : { table }),
  };
}

/** The host's side of a pair of addresses: one within the task's subnet if there is one, else one on a NIC. */
function sourceFor(cidr: Cidr, addresses: readonly HostAddress[]): string | undefined {
  const same = addresses.filter((a) => ipFamily(a.ip) === ipFamily(cidr.ip));
  return (same.find((a) => contains(cidr, a.ip)) ?? same.find((a) => !a.loopback) ?? same[0])?.ip;
}

/** An attachment's routes to the host's addresses, of the families that it has itself. */
export function hostRoutes(host: HostFacts, addresses: readonly Cidr[]): Route[] {
  return host.addresses.flatMap(({ ip }) => {
    const source = addresses.find((a) => ipFamily(a.ip) === ipFamily(ip))?.ip;
    return source === undefined ? [] : [{ dst: hostCidr(ip), source, scope: SCOPE_LINK }];
  });
}

/** An attachment's permanent neighbours: the host's addresses are at the access link's MAC. */
export function containerNeighbours(host: HostFacts, ifName: string, addresses: readonly Cidr[]): Step[] {
  if (host.options.neighbours === "kernel") return [];
  return hostRoutes(host, addresses).map(({ dst }) => ({
    type: "neighbour",
    where: "container",
    link: ifName,
    ip: dst.ip,
    mac: host.mac,
  }));
}

/**
 * The host's side, for every address of the attachment and both families alike. Routes with a source and permanent
 * neighbours on both sides make both directions independent of ARP, neighbour discovery and their sysctls.
 * @param mac the attachment's
 */
export function hostSideSteps(host: HostFacts, mac: string, addresses: readonly Cidr[]): Step[] {
  const { metric, neighbours } = host.options;
  const own = host.options.table === "own";
  const table = own ? OWN_TABLE : host.options.table;
  const families = own ? [...new Set(addresses.map((a) => ipFamily(a.ip)))] : [];
  const routes = addresses.flatMap((address): Step[] => {
    const source = sourceFor(address, host.addresses);
    if (source === undefined) return [];
    const route: Route = {
      dst: hostCidr(address.ip),
      source,
      scope: SCOPE_LINK,
      ...(table === undefined ? {} : { table }),
      ...(metric === undefined ? {} : { metric }),
    };
    const neighbour = { type: "neighbour", where: "host", link: host.link, ip: address.ip, mac } as const;
    return [{ type: "route", where: "host", link: host.link, route }, ...(neighbours === "kernel" ? [] : [neighbour])];
  });
  return [...families.map(ownTableRule), ...routes];
}

/** The rule that leads to Berth's own table. */
export function ownTableRule(family: Family): TableRuleStep {
  return { type: "table-rule", where: "host", family, table: OWN_TABLE, priority: OWN_TABLE_PRIORITY };
}
