// What the host says about host access: its addresses, and the access link. Loaded where host access is asked for.
import { hostCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { listAddresses } from "../kernel/addresses.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import { findLinkByIndex, type Link } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { readSysctl } from "../kernel/sysctls.ts";
import { Failure } from "../report/failure.ts";
import { type AccessLink, findOwnAccessLink, usersAccessLink } from "./access-link.ts";
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
  const usable = four.length < addresses.length && ipv6Disabled(access.link) ? four : addresses;
  return { addresses: usable, options, ...access, ...withAddresses(access, detail, usable) };
}

/**
 * ipvlan in layer 2 gives the parent what is for none of its links; in layer 3 it routes that out of the parent, and so
 * does not find the host's addresses on other links (ipvlan_xmit_mode_l3 in drivers/net/ipvlan/ipvlan_core.c). The access
 * link has them too then.
 */
function withAddresses(
  { prepare }: AccessLink,
  detail: SubInterface,
  addresses: readonly HostAddress[],
): Pick<AccessLink, "prepare"> {
  if (prepare?.type !== "access-link" || detail.kind !== "ipvlan" || detail.mode === "l2") return {};
  return { prepare: { ...prepare, addresses: addresses.map((a) => hostCidr(a.ip)) } };
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
    // an access link may have those of other links too
    const first = global.filter((a, i) => global.findIndex((b) => b.cidr.ip === a.cidr.ip) === i);
    return first.map(({ cidr, linkIndex }) => ({ ip: cidr.ip, loopback: onLoopback(linkIndex) }));
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
