// IPAM type host-local: addresses from ranges, kept on this host's disk, in process and beside the standard plugin.
import { readFileSync } from "node:fs";
import { type Cidr, formatCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import type { Allocation, Dns, Holder, IpamProvider, Lease, RouteSpec } from "./provider.ts";
import {
  candidates,
  checkDisjoint,
  describeRange,
  type Range,
  type RangeConfig,
  rangeOf,
  type RangeSet,
  sizeOf,
  toRangeSet,
} from "./range.ts";
import { describeHolder, Reservations } from "./reservations.ts";

const DATA_DIR = "/var/lib/cni/networks";
/** After so many taken addresses in a row the directory is read once instead of trying each. */
const TRIES = 32;

/** Configuration of `ipam` with type host-local. */
export interface HostLocalConfig {
  readonly type: "host-local";
  readonly subnet?: string;
  readonly rangeStart?: string;
  readonly rangeEnd?: string;
  readonly gateway?: string;
  readonly ranges?: readonly (readonly RangeConfig[])[];
  readonly routes?: readonly RouteSpec[];
  readonly dataDir?: string;
  readonly resolvConf?: string;
}

/** The range sets of a configuration: the capability's, then the short form, then `ranges`. Throws `Failure` (`config`). */
export function rangeSetsOf(config: HostLocalConfig, extra: readonly (readonly RangeConfig[])[]): RangeSet[] {
  const { subnet, rangeStart, rangeEnd, gateway } = config;
  const short =
    subnet === undefined
      ? []
      : [
          [
            {
              subnet,
              ...(rangeStart === undefined ? {} : { rangeStart }),
              ...(rangeEnd === undefined ? {} : { rangeEnd }),
              ...(gateway === undefined ? {} : { gateway }),
            },
          ],
        ];
  const sets = [...extra, ...short, ...(config.ranges ?? [])].map(toRangeSet);
  if (sets.length === 0) {
    throw new Failure("config", "allocate addresses: ipam has neither subnet nor ranges", {
      advice: 'Give "subnet", or "ranges": [[{"subnet": "192.168.122.0/24"}]].',
    });
  }
  checkDisjoint(sets);
  return sets;
}

/** Settings of a resolv.conf(5). Throws `Failure` (`io`). */
export function readResolvConf(path: string): Dns {
  let text;
  try {
    text = readFileSync(path, "utf8");
  } catch (e) {
    throw new Failure("io", `read ${path}: ${e instanceof Error ? e.message : String(e)}`, {
      advice: 'Key "resolvConf" of ipam must name a readable file.',
      cause: e,
    });
  }
  const nameservers: string[] = [];
  const search: string[] = [];
  const options: string[] = [];
  let domain: string | undefined;
  for (const line of text.split("\n")) {
    const [key, ...values] = line
      .replace(/[#;].*/u, "")
      .trim()
      .split(/\s+/u);
    if (key === "nameserver") nameservers.push(...values.slice(0, 1));
    else if (key === "domain") domain = values[0];
    else if (key === "search") search.push(...values);
    else if (key === "options") options.push(...values);
  }
  return { nameservers, ...(domain === undefined ? {} : { domain }), search, options };
}

/** The provider of one configuration. */
export class HostLocal implements IpamProvider {
  readonly type = "host-local";
  readonly #config: HostLocalConfig;
  readonly #sets: readonly RangeSet[];

  /** @param extra range sets of the capability `ipRanges` */
  constructor(config: HostLocalConfig, extra: readonly (readonly RangeConfig[])[]) {
    this.#config = config;
    this.#sets = rangeSetsOf(config, extra);
  }

  #open(network: string): Reservations {
    return new Reservations(this.#config.dataDir ?? DATA_DIR, network);
  }

  #allocation(leases: readonly Lease[]): Allocation {
    const { routes, resolvConf } = this.#config;
    return { ips: leases, routes: routes ?? [], dns: resolvConf === undefined ? {} : readResolvConf(resolvConf) };
  }

  async allocate(holder: Holder, ips: readonly string[]): Promise<Allocation> {
    const state = this.#open(holder.network);
    const allocation = (leases: readonly Lease[]): Allocation => this.#allocation(leases);
    using _lock = state.lock();
    const done: string[] = [];
    try {
      const leases = this.#choose(state, ips, (ip) => {
        if (!state.reserve(ip, holder)) return false;
        done.push(ip);
        return true;
      });
      return allocation(leases);
    } catch (e) {
      state.releaseHolder(holder, done);
      throw e;
    }
  }

  async preview(holder: Holder, ips: readonly string[]): Promise<Allocation> {
    const state = this.#open(holder.network);
    return this.#allocation(this.#choose(state, ips, (ip) => state.holderOf(ip) === undefined, false));
  }

  /** One address from each set; `take` says whether it could be had. */
  #choose(state: Reservations, ips: readonly string[], take: (ip: string) => boolean, remember = true): Lease[] {
    const wanted = new Set(ips.map((text) => wantedIp(text)));
    const leases = this.#sets.map((set, index): Lease => {
      const asked = [...wanted].find((ip) => rangeOf(set, ip) !== undefined);
      if (asked === undefined) {
        const { ip, range } = next(state, set, index, take);
        if (remember) state.remember(index, ip);
        return leaseOf(ip, range);
      }
      wanted.delete(asked);
      return leaseOf(asked, this.#takeAsked(state, set, asked, take));
    });
    const [left] = wanted;
    if (left === undefined) return leases;
    const ranges = this.#sets.flatMap((set) => set.map(describeRange)).join(", ");
    throw new Failure("address", `give the address ${left}: it is in none of the ranges, or a second one of its set`, {
      advice: `Each set of ranges gives one address; the ranges are ${ranges}.`,
    });
  }

  #takeAsked(state: Reservations, set: RangeSet, ip: string, take: (ip: string) => boolean): Range {
    const range = rangeOf(set, ip);
    if (range === undefined || range.gateway === ip) {
      throw new Failure("address", `give the address ${ip}: it is the subnet's gateway`, {
        advice: 'Ask for another, or name the real gateway as "gateway".',
      });
    }
    if (take(ip)) return range;
    throw new Failure("address", `give the address ${ip}: ${describeHolder(state.holderOf(ip) ?? "")} has it`, {
      advice: "Ask for another, or detach its holder first.",
    });
  }

  async release(holder: Holder, ips: readonly string[] = []): Promise<readonly string[]> {
    const state = this.#open(holder.network);
    using lock = state.lockIfPresent();
    return lock === undefined ? [] : state.releaseHolder(holder, ips);
  }

  async check(holder: Holder, ips: readonly string[]): Promise<void> {
    const state = this.#open(holder.network);
    for (const ip of ips) {
      const content = state.holderOf(ip);
      if (content !== undefined && state.isHeldBy(content, holder)) continue;
      const now = content === undefined ? "nobody has it" : `${describeHolder(content)} has it`;
      throw new Failure(
        "differs",
        `find the reservation of ${ip} for ${holder.containerId} (${holder.ifName}): ${now}`,
        {
          advice: "Detach it and attach it again.",
        },
      );
    }
  }

  async collect(network: string, valid: readonly Holder[]): Promise<readonly string[]> {
    const state = this.#open(network);
    using lock = state.lockIfPresent();
    if (lock === undefined) return [];
    const stale = state.list().filter((r) => !valid.some((holder) => state.isHeldBy(r.content, holder)));
    return stale.filter((r) => state.release(r.ip, r.content)).map((r) => r.ip);
  }

  async status(network: string): Promise<void> {
    const taken = this.#open(network).taken();
    for (const set of this.#sets) {
      const used = [...taken].filter((ip) => rangeOf(set, ip) !== undefined).length;
      if (BigInt(used) < sizeOf(set)) continue;
      throw new Failure(
        "unavailable",
        `find a free address in ${set.map(describeRange).join(", ")}: all ${used} are taken`,
        {
          advice: "Widen the range, or release what is no longer used (CNI GC, or berth gc).",
        },
      );
    }
  }
}

function wantedIp(text: string): string {
  const ip = parseIp(text.replace(/\/.*/u, ""));
  if (ip !== undefined) return ip;
  throw new Failure("request", `give the address ${JSON.stringify(text)}: it is no IP address`);
}

function leaseOf(ip: string, range: Range): Lease {
  const cidr: Cidr = { ip, prefix: range.subnet.prefix };
  return { address: formatCidr(cidr), gateway: range.gateway };
}

/** The next free address of a set. */
function next(
  state: Reservations,
  set: RangeSet,
  index: number,
  take: (ip: string) => boolean,
): { ip: string; range: Range } {
  let tries = 0;
  let taken: Set<string> | undefined;
  for (const candidate of candidates(set, state.last(index))) {
    if (++tries > TRIES) taken ??= state.taken();
    if (taken?.has(candidate.ip) === true) continue;
    if (take(candidate.ip)) return candidate;
  }
  // only names were looked at: one of them may be a reservation without content, which is nobody's
  for (const candidate of candidates(set, undefined)) {
    if (taken?.has(candidate.ip) === true && state.holderOf(candidate.ip) === undefined && take(candidate.ip))
      return candidate;
  }
  throw new Failure(
    "address",
    `find a free address in ${set.map(describeRange).join(", ")}: all ${sizeOf(set)} are taken`,
    {
      advice: "Widen the range, or release what is no longer used (CNI GC, or berth gc).",
    },
  );
}
