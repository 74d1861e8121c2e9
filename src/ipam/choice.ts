// Which address of which set of ranges: the ones that were asked for, or the next free ones.
import { formatCidr, withoutPrefix } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import type { Lease } from "./provider.ts";
import {
  type Candidate,
  describeRange,
  findCandidate,
  isGateway,
  type Range,
  rangeOf,
  type RangeSet,
  sizeOf,
} from "./range.ts";
import { describeHolder, type Reservations } from "./reservations.ts";

/** After so many taken addresses in a row the directory is read once instead of trying each. */
const TRIES = 64;
/** What to do about a set without a free address. */
export const RELEASE_ADVICE = "Widen the range, or release what is no longer used (CNI GC, or berth gc).";

/** A set of ranges in words. */
export function describeSet(set: RangeSet): string {
  return set.map(describeRange).join(", ");
}

/** The address in text that may have a prefix length. Throws `Failure` (`request`). */
export function askedIp(text: string): string {
  const ip = parseIp(withoutPrefix(text));
  if (ip !== undefined) return ip;
  throw new Failure("request", `give the address ${JSON.stringify(text)}: it is no IP address`, {
    advice: "Write it as 192.168.122.177.",
  });
}

/** What a set is to give: an address that was asked for, or any. */
export type Wish = { readonly ip: string; readonly range: Range } | undefined;

/** Tries to have an address; false where it is somebody's. */
export type Take = (ip: string) => boolean;

function refuse(ip: string, why: string, advice: string): never {
  throw new Failure("address", `give the address ${ip}: ${why}`, { advice });
}

/** Which set shall give which of the addresses that were asked for. Throws `Failure` (`request`, `address`). */
export function wishesOf(sets: readonly RangeSet[], ips: readonly string[]): Wish[] {
  const wishes: Wish[] = [];
  for (const _ of sets) wishes.push(undefined);
  if (ips.length === 0) return wishes; // the usual case
  for (const ip of new Set(ips.map(askedIp))) {
    const index = sets.findIndex((set) => rangeOf(set, ip) !== undefined);
    const set = sets[index] ?? [];
    const range = rangeOf(set, ip);
    if (isGateway(sets.flat(), ip)) {
      refuse(ip, "it is the subnet's gateway", 'Ask for another, or name the real gateway as "gateway".');
    }
    if (range === undefined) {
      return refuse(ip, "it is in none of the ranges", `The ranges are ${sets.map(describeSet).join(", ")}.`);
    }
    const other = wishes[index];
    if (other !== undefined) {
      refuse(ip, `${other.ip} was asked for from the same set of ranges`, "Each set of ranges gives one address.");
    }
    wishes[index] = { ip, range };
  }
  return wishes;
}

function leaseOf(ip: string, range: Range): Lease {
  return { address: formatCidr({ ip, prefix: range.subnet.prefix }), gateway: range.gateway };
}

/** An address of a set: the one that is wished for, or the next free one. Throws `Failure` (`address`). */
export function choose(state: Reservations, set: RangeSet, index: number, wish: Wish, take: Take): Lease {
  if (wish !== undefined) {
    if (take(wish.ip)) return leaseOf(wish.ip, wish.range);
    const now = state.holderOf(wish.ip);
    throw new Failure(
      "address",
      `give the address ${wish.ip}: ${now === undefined ? "somebody" : describeHolder(now)} has it`,
      { advice: "Ask for another, or detach its holder first." },
    );
  }
  const free = nextFree(state, set, state.last(index), take);
  if (free !== undefined) return leaseOf(free.ip, free.range);
  throw new Failure("address", `find a free address in ${describeSet(set)}: all ${sizeOf(set)} are taken`, {
    advice: RELEASE_ADVICE,
  });
}

function nextFree(state: Reservations, set: RangeSet, last: string | undefined, take: Take): Candidate | undefined {
  let tries = 0;
  let names: ReadonlySet<string> | undefined;
  const free = findCandidate(set, last, ({ ip }) => {
    if (++tries > TRIES) names ??= state.names();
    return names?.has(ip) !== true && take(ip);
  });
  if (free !== undefined || names === undefined) return free;
  // only names were looked at: one of them may be a reservation without content, which is nobody's
  const seen: ReadonlySet<string> = names;
  return findCandidate(set, last, ({ ip }) => seen.has(ip) && state.isBlank(ip) && take(ip));
}
