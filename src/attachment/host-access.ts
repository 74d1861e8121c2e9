// Host access: which routes and neighbours let a host and an attachment on its own parent talk. Pure but for `gatherHost`.
import { type Cidr, contains, hostCidr } from "../address/cidr.ts";
import { type Family, ipFamily, parseIp } from "../address/ip.ts";
import { listAddresses } from "../kernel/addresses.ts";
import { findLinkByIndex, type Link } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { type Route, SCOPE_LINK } from "../kernel/routes.ts";
import { readSysctl } from "../kernel/sysctls.ts";
import type { Step, TableRuleStep } from "../plan/step.ts";
import { Failure } from "../report/failure.ts";
import { type AccessLink, ownAccessLink, usersAccessLink } from "./access-link.ts";
import type { NetworkConfig } from "./config.ts";
import type { Detail } from "./kinds.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";

/** An address of the host, and the link it is on. */
interface HostAddress {
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

/**
 * What the host says about host access for an attachment of this sort. Throws `Failure` (`config`) where the access link
 * cannot carry it, `SysError`.
 */
export function gatherHost(
  nl: Netlink,
  options: HostAccess | undefined,
  detail: Detail,
  parent: Link,
): HostFacts | undefined {
  if (options === undefined) return undefined;
  const talking = requireTalking(detail);
  const addresses = hostAddresses(nl, options.addresses);
  const access =
    options.link === "auto" ? ownAccessLink(talking, parent) : usersAccessLink(nl, options.link, talking, parent);
  const four = addresses.filter((a) => ipFamily(a.ip) === 4);
  // IPv4 works all the same
  return {
    addresses: four.length < addresses.length && ipv6Disabled(access.link) ? four : addresses,
    options,
    ...access,
  };
}

/** True where the host has IPv6 disabled for a link, or will have once the link is there. */
function ipv6Disabled(link: string): boolean {
  const [own, future] = [link, "default"].map((of) => readSysctl(`net/ipv6/conf/${of}/disable_ipv6`));
  return (own ?? future) === "1";
}

/** The sub-interface, where one of its sort can talk with another of its parent. */
function requireTalking(detail: Detail): SubInterface {
  if (detail.kind === "device") {
    throw new Failure(
      "config",
      "give a NIC of its own host access: it is on the LAN by itself, and meets the host there",
      {
        advice: 'Remove "hostrouteif" or "hostAccess".',
      },
    );
  }
  if (detail.kind === "vlan") {
    throw new Failure("config", "give a vlan host access: a VLAN's members reach the host through its router", {
      advice: 'Remove "hostrouteif" or "hostAccess".',
    });
  }
  if (detail.kind !== "ipvlan" && detail.mode !== "bridge") {
    throw new Failure(
      "config",
      `give ${detail.kind} in mode ${detail.mode} host access: only in mode bridge do two ${detail.kind}s of one parent talk`,
      {
        advice: 'Set "mode" to "bridge", or remove "hostrouteif" or "hostAccess".',
      },
    );
  }
  return detail;
}

/** The host's addresses that host access is for: those that are named, or every global one. */
function hostAddresses(nl: Netlink, wanted: HostAccess["addresses"]): HostAddress[] {
  const own = listAddresses(nl).filter((a) => !a.duplicate && !a.tentative);
  // the links that have an address, of which a host with thousands of links has few
  const loopbacks = new Map<number, boolean>();
  const onLoopback = (index: number): boolean => {
    const known = loopbacks.get(index) ?? findLinkByIndex(nl, index)?.loopback === true;
    loopbacks.set(index, known);
    return known;
  };
  if (wanted === undefined) {
    const global = own.filter((a) => a.scope === 0 && !a.temporary && !a.deprecated);
    return global.map(({ cidr, linkIndex }) => ({ ip: cidr.ip, loopback: onLoopback(linkIndex) }));
  }
  return wanted.map((text) => {
    const ip = parseIp(text);
    const address = own.find((a) => a.cidr.ip === ip);
    if (address !== undefined) return { ip: address.cidr.ip, loopback: onLoopback(address.linkIndex) };
    throw new Failure("config", `give host access to ${text}: the host has no such address`, {
      advice: `The host has ${own.map((a) => a.cidr.ip).join(", ")}. Name none for all global ones.`,
    });
  });
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
