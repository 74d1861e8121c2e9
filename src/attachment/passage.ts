// What is outside of this machine may let frames to one MAC only come in: the macvtap in bridge mode by which a virtual
// machine is connected does so, a cloud's port and a wireless NIC too. Then a macvlan sends, and nobody's answer reaches it.
//
// It is told by evidence alone: a neighbour that answers the parent's own MAC is asked by another MAC.
import { contains, networkOf, parseCidr } from "../address/cidr.ts";
import { ipFamily, ipFromBytes, ipToBytes } from "../address/ip.ts";
import { macToBytes, randomMac } from "../address/mac.ts";
import { probeIpv4 } from "../kernel/arp.ts";
import { SysError } from "../kernel/errno.ts";
import { makeDirectory, readFileIfThere, renameFile, writeFile } from "../kernel/files.ts";
import { randomBytes } from "../kernel/libc.ts";
import { changeLink, deleteLink, findLink, type Link, newSubInterface } from "../kernel/links.ts";
import { type Namespace, temporaryNamespace } from "../kernel/namespaces.ts";
import { probeIpv6 } from "../kernel/ndisc.ts";
import { listNeighbours } from "../kernel/neighbours.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { listRoutes } from "../kernel/routes.ts";
import { readSysctl, writeSysctl } from "../kernel/sysctls.ts";
import type { NetworkConfig } from "./config.ts";
import type { Detail } from "./kinds.ts";

const DIRECTORY = "/run/berth/passage";
/** How often one MAC asks one neighbour, and how long it waits for each answer, milliseconds. */
const TRIES = 4;
const WAIT_MS = 250;
/** So many neighbours are asked at most, until one answers the parent. */
const MAX_ASKED = 8;

/** What was seen. */
interface Seen {
  /** The parent's MAC: another NIC of that name is not meant. */
  readonly mac: string;
  /** The neighbour that answered the parent. */
  readonly neighbour: string;
  /** Whether it answered another MAC as well. */
  readonly passes: boolean;
  /** ISO 8601. */
  readonly when: string;
}

/** Whether an attachment of this sort has a MAC of its own on the parent's wire. */
function needsPassage(detail: Detail): boolean {
  return (detail.kind === "macvlan" || detail.kind === "macvtap") && detail.mode !== "passthru";
}

function pathOf(parent: Link): string {
  return `${DIRECTORY}/${parent.name}.json`;
}

/** What the last probe of a parent saw, as a sentence; none where it was never probed, or all passes. */
export function knownPassage(detail: Detail, parent: Link): string[] {
  if (!needsPassage(detail)) return [];
  const text = readFileIfThere(pathOf(parent));
  if (text === undefined) return [];
  try {
    const seen = JSON.parse(text) as Seen;
    return seen.mac === parent.mac && !seen.passes ? [describe(seen, parent)] : [];
  } catch {
    return []; // half of a file, or another version's: a probe says more
  }
}

function describe({ neighbour, passes, when }: Seen, { name, mac }: Link): string {
  if (passes) return `frames to other MACs than ${name}'s come in: ${neighbour} answered one (${when})`;
  return [
    `frames to other MACs than ${name}'s (${mac}) do not come in: ${neighbour} answered that one, and no other (${when}).`,
    "So it is behind a virtual machine's macvtap in mode bridge, at a cloud's port without address pairs, or on a wireless NIC:",
    "attachments with a MAC of their own reach their host and each other, but not the LAN. What works there:",
    'kind ipvlan; a second NIC moved into the container (kind device); or, outside, the macvtap in mode "passthru", or a tap in a bridge.',
  ].join(" ");
}

/**
 * Asks a parent's LAN whether it lets frames to another MAC come in, and remembers the answer until the next boot. A link
 * is made for it, in a namespace of its own, and gone afterwards whatever happens.
 * @returns what was seen, or why it cannot be told, as sentences. Throws `SysError`.
 */
export function probePassage(nl: Netlink, config: NetworkConfig, detail: Detail, parent: Link): string[] {
  if (!needsPassage(detail)) return [];
  const untold = `whether frames to other MACs than ${parent.name}'s come in cannot be told`;
  if (config.ipam?.type === "neutron")
    return [`${untold} beforehand: the cloud lets each container's pass when it is attached`];
  const candidates = neighboursOf(nl, config, parent).slice(0, MAX_ASKED);
  const neighbour = candidates.find((ip) => answers(undefined, parent, ip));
  if (neighbour === undefined) {
    const asked =
      candidates.length === 0 ? "no neighbour is known" : `none of ${candidates.join(", ")} answers ${parent.name}`;
    return [`${untold}: ${asked}. Give the network a gateway, or ping a neighbour first.`];
  }
  let passes;
  try {
    passes = answersAnother(nl, parent, neighbour);
  } catch (e) {
    if (!(e instanceof SysError)) throw e;
    return [`${untold}: ${e.message}`];
  }
  if (!passes && !answers(undefined, parent, neighbour))
    return [`${untold}: ${neighbour} has ceased to answer ${parent.name}`];
  const seen: Seen = { mac: parent.mac ?? "", neighbour, passes, when: new Date().toISOString() };
  makeDirectory(DIRECTORY, 0o700);
  writeFile(`${pathOf(parent)}.new`, JSON.stringify(seen), { mode: 0o600 });
  renameFile(`${pathOf(parent)}.new`, pathOf(parent));
  return [describe(seen, parent)];
}

/** Who may be on the parent's LAN: gateways of its routes and of the network's subnets, and whom the host knows there. */
function neighboursOf(nl: Netlink, { ipam }: NetworkConfig, parent: Link): string[] {
  const routes = ([4, 6] as const).flatMap((family) => listRoutes(nl, { family, linkIndex: parent.index }));
  const gateways = routes.flatMap((r) => r.gateway ?? []);
  const known = listNeighbours(nl, parent.index).flatMap((n) => (n.mac === undefined ? [] : [n.ip]));
  const unicast = known.filter((ip) => !/^(ff|2(2[4-9]|3\d)\.|255\.)/u.test(ip));
  return [...new Set([...gateways, ...gatewaysOf(ipam), ...unicast])];
}

/** What of an IPAM configuration tells of gateways, whatever its type. */
interface Gateways {
  readonly subnet?: string;
  readonly gateway?: string;
  readonly ranges?: readonly (readonly { readonly subnet: string; readonly gateway?: string }[])[];
  readonly addresses?: readonly { readonly gateway?: string }[];
}

/** The gateways that a network's own configuration names, or that its subnets have where it names none. */
function gatewaysOf(ipam: NetworkConfig["ipam"]): string[] {
  if (ipam?.type !== "host-local" && ipam?.type !== "static") return [];
  const { subnet, gateway, ranges = [], addresses = [] } = ipam as Gateways;
  const own = subnet === undefined ? [] : [{ subnet, ...(gateway === undefined ? {} : { gateway }) }];
  const subnets = [...own, ...ranges.flat()];
  return [...addresses.flatMap((a) => a.gateway ?? []), ...subnets.flatMap((r) => r.gateway ?? firstOf(r.subnet))];
}

function firstOf(subnet: string): string[] {
  const cidr = parseCidr(subnet);
  if (cidr === undefined) return [];
  const bytes = ipToBytes(networkOf(cidr).ip);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 1;
  const first = ipFromBytes(bytes);
  return contains(cidr, first) ? [first] : [];
}

/** The link-local address that goes with a MAC (RFC 4291, appendix A). */
function linkLocalOf(mac: string): string {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macToBytes(mac);
  return ipFromBytes(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f));
}

/** Whether a neighbour answers a link by its MAC, to that MAC: an IPv6 one must be asked in an address's name, or it answers all. */
function answers(namespace: Namespace | undefined, link: Link, ip: string): boolean {
  for (let i = 0; i < TRIES; i++) {
    const mac =
      ipFamily(ip) === 4
        ? probeIpv4(namespace, link, ip, WAIT_MS)
        : probeIpv6(namespace, link, ip, WAIT_MS, linkLocalOf(link.mac ?? "00:00:00:00:00:00"));
    if (mac !== undefined) return true;
  }
  return false;
}

/** Whether a neighbour answers another MAC: a macvlan's, whose mode keeps answers of its own parent's others out. */
function answersAnother(nl: Netlink, parent: Link, neighbour: string): boolean {
  using namespace = temporaryNamespace();
  namespace.run(() => {
    // nobody shall hear of the link but whom it asks
    const key = "net/ipv6/conf/default/disable_ipv6";
    if (readSysctl(key) !== undefined) writeSysctl(key, "1");
  });
  using inside = namespace.netlink();
  const name = "probe";
  nl.do(
    newSubInterface({
      name,
      parentIndex: parent.index,
      parentName: parent.name,
      detail: { kind: "macvlan", mode: "private" },
      mac: randomMac(randomBytes(6)),
      namespaceFd: namespace.fd,
    }),
  );
  try {
    inside.do(changeLink(name, { up: true }));
    const link = findLink(inside, name);
    return link !== undefined && answers(namespace, link, neighbour);
  } finally {
    const link = findLink(inside, name);
    if (link !== undefined) inside.do(deleteLink(link.index, name));
  }
}
