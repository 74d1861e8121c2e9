// Ranges of addresses, as the standard host-local plugin has them: defaults, rules, and the order of handing out.
import { type Cidr, contains, formatCidr, lastOf, networkOf, parseCidr } from "../address/cidr.ts";
import { ipFamily, ipFromBigInt, ipToBigInt, isLinkLocal, parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";

/** A range as a configuration states it. */
export interface RangeConfig {
  readonly subnet: string;
  readonly rangeStart?: string;
  readonly rangeEnd?: string;
  readonly gateway?: string;
}

/** A range with its defaults filled in; `start` and `end` included. */
export interface Range {
  readonly subnet: Cidr;
  readonly start: bigint;
  readonly end: bigint;
  /** Never handed out. */
  readonly gateway: string;
}

/** Ranges of one family, of which an attachment gets one address. */
export type RangeSet = readonly Range[];

function refuse(sentence: string, advice: string): never {
  throw new Failure("config", sentence, { advice });
}

/** Fills in a range's defaults and checks it. Throws `Failure` (`config`) naming the value and what is allowed. */
export function toRange(config: RangeConfig): Range {
  const subnet = parseCidr(config.subnet);
  if (subnet === undefined)
    return refuse(
      `use ${config.subnet} as a subnet: it is no address with a prefix length`,
      "Write it as 192.168.122.0/24.",
    );
  const network = networkOf(subnet);
  if (network.ip !== subnet.ip) {
    refuse(`use ${config.subnet} as a subnet: it has host bits set`, `The network address is ${formatCidr(network)}.`);
  }
  const family = ipFamily(subnet.ip);
  const longest = family === 4 ? 30 : 126;
  if (subnet.prefix > longest) {
    refuse(`allocate from ${config.subnet}: it is too small`, `The prefix length must be ${longest} or less.`);
  }
  const first = ipToBigInt(subnet.ip) + 1n;
  const last = ipToBigInt(lastOf(subnet)) - (family === 4 ? 1n : 0n);
  const within = (key: string, text: string | undefined): bigint | undefined => {
    if (text === undefined) return undefined;
    const ip = parseIp(text);
    if (ip !== undefined && contains(subnet, ip)) return ipToBigInt(ip);
    return refuse(
      `use ${text} as ${key}: it is not in ${config.subnet}`,
      `Choose one from ${ipFromBigInt(first, family)} to ${ipFromBigInt(last, family)}.`,
    );
  };
  const start = within("rangeStart", config.rangeStart) ?? first;
  const end = within("rangeEnd", config.rangeEnd) ?? last;
  if (start > end) {
    refuse(
      `use the range ${config.rangeStart ?? ipFromBigInt(start, family)}–${config.rangeEnd ?? ipFromBigInt(end, family)}: its end is before its start`,
      `The range may go from ${ipFromBigInt(first, family)} to ${ipFromBigInt(last, family)}.`,
    );
  }
  return { subnet, start, end, gateway: gatewayOf(config, subnet, ipFromBigInt(first, family)) };
}

/** An IPv6 router is commonly known by its link-local address (RFC 4861 section 6.3.4): that one is in no subnet. */
function gatewayOf(config: RangeConfig, subnet: Cidr, first: string): string {
  if (config.gateway === undefined) return first;
  const gateway = parseIp(config.gateway);
  if (gateway !== undefined && contains(subnet, gateway)) return gateway;
  const six = ipFamily(subnet.ip) === 6;
  if (gateway !== undefined && six && ipFamily(gateway) === 6 && isLinkLocal(gateway)) return gateway;
  return refuse(
    `use ${config.gateway} as the gateway of ${config.subnet}: it is not in that subnet`,
    `Choose one in that subnet${six ? " or a link-local one (fe80::/10)" : ""}, or leave it out: then it is ${first}.`,
  );
}

/** Fills in and checks a set of ranges: not empty, one family, no overlaps. Throws `Failure` (`config`). */
export function toRangeSet(configs: readonly RangeConfig[]): RangeSet {
  const set: Range[] = [];
  for (const config of configs) set.push(toRange(config));
  const [first] = set;
  if (first === undefined) return refuse("use an empty set of ranges", "Remove it or give it a range.");
  for (const [i, a] of set.entries()) {
    if (ipFamily(a.subnet.ip) !== ipFamily(first.subnet.ip)) {
      refuse(
        `use ${formatCidr(first.subnet)} and ${formatCidr(a.subnet)} in one set: a set has one family`,
        "Put them into two sets: the attachment gets an address from each.",
      );
    }
    for (const b of set.slice(0, i)) refuseOverlap(a, b);
  }
  return set;
}

function refuseOverlap(a: Range, b: Range): void {
  const disjoint = ipFamily(a.subnet.ip) !== ipFamily(b.subnet.ip) || a.end < b.start || b.end < a.start;
  if (disjoint) return;
  refuse(`use ${describeRange(a)} and ${describeRange(b)}: they overlap`, "Give each address to one range only.");
}

/** Checks all sets of a network against each other. Throws `Failure` (`config`). */
export function checkDisjoint(sets: readonly RangeSet[]): void {
  for (const [i, set] of sets.entries()) {
    for (const other of sets.slice(0, i)) for (const a of set) for (const b of other) refuseOverlap(a, b);
  }
}

/** A range in words. */
export function describeRange(range: Range): string {
  const family = ipFamily(range.subnet.ip);
  return `${ipFromBigInt(range.start, family)}–${ipFromBigInt(range.end, family)}`;
}

/** The range of a set that holds an address. */
export function rangeOf(set: RangeSet, ip: string): Range | undefined {
  const family = ipFamily(ip);
  const value = ipToBigInt(ip);
  for (const r of set) if (ipFamily(r.subnet.ip) === family && value >= r.start && value <= r.end) return r;
  return undefined;
}

/** True where an address is the gateway of one of these ranges, whichever range it lies in. */
export function isGateway(set: RangeSet, ip: string): boolean {
  return set.some((r) => r.gateway === ip);
}

/** How many addresses a set can hand out. */
export function sizeOf(set: RangeSet): bigint {
  let size = 0n;
  for (const r of set) size += r.end - r.start + 1n;
  for (const gateway of new Set(set.map((r) => r.gateway))) if (rangeOf(set, gateway) !== undefined) size -= 1n;
  return size;
}

/** An address of a set, and its range. */
export interface Candidate {
  readonly ip: string;
  readonly range: Range;
}

/**
 * The first address of a set that is taken. They are tried in this order: the one after `last` first, then round to it
 * again; from the first where `last` is in none of the ranges. Gateways are left out. (RangeIter of the standard plugin's
 * backend/allocator/allocator.go.)
 */
export function findCandidate(
  set: RangeSet,
  last: string | undefined,
  take: (candidate: Candidate) => boolean,
): Candidate | undefined {
  const lastRange = last === undefined ? undefined : rangeOf(set, last);
  const at = lastRange === undefined ? -1 : set.indexOf(lastRange);
  const from = at < 0 || last === undefined ? undefined : ipToBigInt(last);
  const begin = Math.max(at, 0);
  const gateways: string[] = [];
  for (const r of set) gateways.push(r.gateway);
  for (let i = 0; i <= set.length; i++) {
    const range = set[(begin + i) % set.length];
    if (range === undefined) return undefined;
    const lowest = i === 0 && from !== undefined ? from + 1n : range.start;
    // the last turn comes back to the range it began in, for what lies before the beginning
    const highest = i < set.length ? range.end : (from ?? range.start - 1n);
    const family = ipFamily(range.subnet.ip);
    for (let value = lowest; value <= highest; value++) {
      const ip = ipFromBigInt(value, family);
      const candidate = { ip, range };
      if (!gateways.includes(ip) && take(candidate)) return candidate;
    }
  }
  return undefined;
}
