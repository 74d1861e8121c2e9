// Host access: which routes and neighbours let a host and an attachment on its own parent talk. Pure but for `gatherHost`.
import { type Cidr, contains, hostCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { listAddresses } from "../kernel/addresses.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import { findLink, type Link, listLinks } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { type Route, SCOPE_LINK } from "../kernel/routes.ts";
import { tapUsers } from "../kernel/taps.ts";
import type { AccessLinkStep, Step, UpStep } from "../plan/step.ts";
import { Failure } from "../report/failure.ts";
import type { NetworkConfig } from "./config.ts";
import { machineId } from "./machine.ts";

/** An address of the host, and the link it is on. */
interface HostAddress {
  readonly ip: string;
  readonly loopback: boolean;
}

/** What host access needs to know of the host. */
export interface HostFacts {
  /** The addresses that host access is for. */
  readonly addresses: readonly HostAddress[];
  /** The access link's name and MAC. */
  readonly link: string;
  readonly mac: string;
  /** The step that makes or sets up the access link; absent where it is the user's and up. */
  readonly prepare?: AccessLinkStep | UpStep;
}

const MAX_NAME = 15;

/** The name of the access link that Berth makes for a parent: within 15 characters, unique by a hash where it is cut. */
function accessLinkName(parent: string): string {
  const whole = `berth-${parent}`;
  if (whole.length <= MAX_NAME) return whole;
  const hash = Bun.hash.xxHash32(parent).toString(36).padStart(7, "0").slice(-5);
  return `${whole.slice(0, MAX_NAME - 1 - hash.length)}-${hash}`;
}

/** The MAC of the access link that Berth makes: the same on this machine for this parent, after a reboot too. */
function accessLinkMac(parent: Link): string {
  const hash = Bun.hash.xxHash64(`${machineId()} berth access link ${parent.name} ${parent.mac ?? ""}`);
  const octets = Array.from({ length: 6 }, (_, i) => Number((hash >> BigInt(8 * i)) & 0xffn));
  octets[0] = ((octets[0] ?? 0) & 0xfc) | 0x02; // locally administered, unicast
  return octets.map((o) => o.toString(16).padStart(2, "0")).join(":");
}

/**
 * What the host says about host access for an attachment of this sort. Throws `Failure` (`config`) where the access link
 * cannot carry it, `SysError`.
 */
export function gatherHost(
  nl: Netlink,
  config: NetworkConfig,
  detail: SubInterface,
  parent: Link,
): HostFacts | undefined {
  const name = config.hostrouteif;
  if (name === undefined) return undefined;
  requireTalking(detail);
  const addresses = hostAddresses(nl, config.hostrouteip);
  if (name === "auto") return { addresses, ...ownLink(detail, parent) };
  return { addresses, ...usersLink(nl, name, detail, parent) };
}

function requireTalking(detail: SubInterface): void {
  if (detail.kind === "vlan") {
    throw new Failure("config", "use hostrouteif with kind vlan: a VLAN's members reach the host through its router", {
      advice: 'Remove "hostrouteif".',
    });
  }
  if (detail.kind !== "ipvlan" && detail.mode !== "bridge") {
    throw new Failure(
      "config",
      `use hostrouteif with mode ${detail.mode}: only in mode bridge do two ${detail.kind}s of one parent talk`,
      {
        advice: 'Set "mode" to "bridge", or remove "hostrouteif".',
      },
    );
  }
}

function ownLink(detail: SubInterface, parent: Link): Omit<HostFacts, "addresses"> {
  const link = accessLinkName(parent.name);
  const shared = detail.kind === "ipvlan";
  const mac = shared ? (parent.mac ?? "") : accessLinkMac(parent);
  return {
    link,
    mac,
    prepare: {
      type: "access-link",
      where: "host",
      name: link,
      parent: { name: parent.name, where: "host" },
      detail: shared ? detail : { kind: "macvlan", mode: "bridge" },
      ...(shared ? {} : { mac }),
    },
  };
}

function usersLink(nl: Netlink, name: string, detail: SubInterface, parent: Link): Omit<HostFacts, "addresses"> {
  const bad = (why: string, advice: string): never => {
    throw new Failure("config", `use ${name} as the access link: ${why}`, { advice });
  };
  const making = `Make one with "ip link add link ${parent.name} name ${name} type ${detail.kind === "ipvlan" ? `ipvlan mode ${detail.mode}` : "macvlan mode bridge"}", or set "hostrouteif" to "auto".`;
  const link = findLink(nl, name) ?? bad("there is no such link", making);
  const fits = detail.kind === "ipvlan" ? ["ipvlan"] : ["macvlan", "macvtap"];
  if (link.detail === undefined || !fits.includes(link.detail.kind)) {
    return bad(`it is a ${link.kind ?? "NIC"}, and must be a ${fits.join(" or ")} of ${parent.name}`, making);
  }
  if (link.parentIndex !== parent.index || link.parentElsewhere) {
    const other = listLinks(nl).find((l) => l.index === link.parentIndex)?.name ?? "a link in another namespace";
    bad(`its parent is ${other}, the attachment's is ${parent.name}`, making);
  }
  if ("mode" in link.detail && link.detail.kind !== "ipvlan" && link.detail.mode !== "bridge") {
    bad(
      `its mode is ${link.detail.mode}, and must be bridge`,
      `Change it: ip link set dev ${name} type ${link.detail.kind} mode bridge`,
    );
  }
  const users = link.kind === "macvtap" ? tapUsers(name) : [];
  if (users.length > 0) {
    bad(
      `${users.map((u) => `${u.program} (pid ${u.pid})`).join(", ")} has its tap device open and takes all its frames`,
      'Use a spare macvtap or macvlan that no virtual machine uses, or set "hostrouteif" to "auto".',
    );
  }
  return {
    link: name,
    mac: link.mac ?? bad("it has no MAC", making),
    ...(link.up ? {} : { prepare: { type: "up", where: "host", link: name } as const }),
  };
}

/** The host's addresses that host access is for: those of `hostrouteip`, or every global one. */
function hostAddresses(nl: Netlink, wanted: NetworkConfig["hostrouteip"]): HostAddress[] {
  const links = new Map(listLinks(nl).map((l) => [l.index, l]));
  const own = listAddresses(nl)
    .filter((a) => !a.duplicate && !a.tentative)
    .map((a) => ({ ...a, loopback: links.get(a.linkIndex)?.loopback === true }));
  if (wanted === undefined) {
    const global = own.filter((a) => a.scope === 0 && !a.temporary && !a.deprecated);
    return global.map(({ cidr, loopback }) => ({ ip: cidr.ip, loopback }));
  }
  return (typeof wanted === "string" ? [wanted] : wanted).map((text) => {
    const ip = parseIp(text);
    const address = own.find((a) => a.cidr.ip === ip);
    if (address !== undefined) return { ip: address.cidr.ip, loopback: address.loopback };
    throw new Failure("config", `use ${text} as hostrouteip: the host has no such address`, {
      advice: `The host has ${own.map((a) => a.cidr.ip).join(", ")}. Leave hostrouteip out for all global ones.`,
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

/**
 * What host access needs beside {@link hostRoutes}, for every address of the attachment and both families alike. Routes
 * with a source and permanent neighbours on both sides make both directions independent of ARP, neighbour discovery and
 * their sysctls.
 */
export function hostAccessSteps(host: HostFacts, ifName: string, mac: string, addresses: readonly Cidr[]): Step[] {
  const inside = hostRoutes(host, addresses).map(({ dst }): Step => ({
    type: "neighbour",
    where: "container",
    link: ifName,
    ip: dst.ip,
    mac: host.mac,
  }));
  const outside = addresses.flatMap((address): Step[] => {
    const source = sourceFor(address, host.addresses);
    if (source === undefined) return [];
    const route: Route = { dst: hostCidr(address.ip), source, scope: SCOPE_LINK };
    return [
      { type: "route", where: "host", link: host.link, route },
      { type: "neighbour", where: "host", link: host.link, ip: address.ip, mac },
    ];
  });
  return [...inside, ...outside];
}
