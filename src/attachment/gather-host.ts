// What the host says about host access: its addresses, and the access link. Loaded where host access is asked for.
import { ipFamily, parseIp } from "../address/ip.ts";
import { listAddresses } from "../kernel/addresses.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import { findLinkByIndex, type Link } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { readSysctl } from "../kernel/sysctls.ts";
import { Failure } from "../report/failure.ts";
import { findOwnAccessLink, usersAccessLink } from "./access-link.ts";
import type { HostAccess, HostAddress, HostFacts } from "./host-access.ts";
import type { Detail } from "./kinds.ts";

/**
 * What the host says about host access for an attachment of this sort. Throws `Failure` (`config`) where the access link
 * cannot carry it, `SysError`.
 */
export function gatherHost(nl: Netlink, options: HostAccess, asked: Detail, parent: Link): HostFacts {
  const detail = requireTalking(asked);
  const addresses = hostAddresses(nl, options.addresses);
  const access =
    options.link === "auto" ? findOwnAccessLink(nl, detail, parent) : usersAccessLink(nl, options.link, detail, parent);
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
