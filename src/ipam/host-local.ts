// IPAM type host-local: addresses from ranges, kept on this host's disk, in process and beside the standard plugin.
import { withoutPrefix } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import { askedIp, choose, describeSet, RELEASE_ADVICE, wishesOf } from "./choice.ts";
import type { Allocation, Holder, IpamProvider, Lease, RouteSpec } from "./provider.ts";
import { checkDisjoint, isGateway, type RangeConfig, rangeOf, type RangeSet, sizeOf, toRangeSet } from "./range.ts";
import { contentOf, describeHolder, isCallers, isQuarantine, Reservations } from "./reservations.ts";
import { readResolvConf } from "./resolv-conf.ts";

/** Where the standard plugin keeps its state too. */
export const DATA_DIR = "/var/lib/cni/networks";

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

/**
 * The range sets of a configuration: the capability's, then the short form, then `ranges` (LoadIPAMConfig of the standard
 * plugin's backend/allocator/config.go). Throws `Failure` (`config`).
 */
export function rangeSetsOf(config: HostLocalConfig, extra: readonly (readonly RangeConfig[])[]): RangeSet[] {
  const { subnet, rangeStart, rangeEnd, gateway } = config;
  const short: RangeConfig[] =
    subnet === undefined
      ? []
      : [
          {
            subnet,
            ...(rangeStart === undefined ? {} : { rangeStart }),
            ...(rangeEnd === undefined ? {} : { rangeEnd }),
            ...(gateway === undefined ? {} : { gateway }),
          },
        ];
  const sets: RangeSet[] = [];
  for (const set of extra) sets.push(toRangeSet(set));
  if (short.length > 0) sets.push(toRangeSet(short));
  for (const set of config.ranges ?? []) sets.push(toRangeSet(set));
  if (sets.length === 0) {
    throw new Failure("config", "allocate addresses: ipam has neither subnet nor ranges", {
      advice: 'Give "subnet", or "ranges": [[{"subnet": "192.168.122.0/24"}]].',
    });
  }
  checkDisjoint(sets);
  return sets;
}

/** The provider of one configuration. */
export class HostLocal implements IpamProvider {
  readonly type = "host-local";
  readonly #config: HostLocalConfig;
  readonly #sets: readonly RangeSet[];

  /**
   * Throws `Failure` (`config`).
   * @param extra range sets of the capability `ipRanges`
   */
  constructor(config: HostLocalConfig, extra: readonly (readonly RangeConfig[])[]) {
    this.#config = config;
    this.#sets = rangeSetsOf(config, extra);
  }

  /** Runs an operation on a network's state; what the system refuses becomes a `Failure` (`io`). */
  #with<T>(network: string, doing: string, operation: (state: Reservations) => T): T {
    const { dataDir = "" } = this.#config;
    const state = new Reservations(dataDir === "" ? DATA_DIR : dataDir, network);
    try {
      return operation(state);
    } catch (e) {
      if (e instanceof Failure) throw e;
      throw new Failure("io", `${doing} ${state.directory}: ${e instanceof Error ? e.message : String(e)}`, {
        advice:
          'The directory must be writable for root and on a file system with hard links (key "dataDir" of ipam names its parent).',
        cause: e,
      });
    }
  }

  #answer(leases: readonly Lease[]): Allocation {
    const { routes = [], resolvConf = "" } = this.#config;
    return { ips: leases, routes, dns: resolvConf === "" ? {} : readResolvConf(resolvConf) };
  }

  async allocate(holder: Holder, ips: readonly string[]): Promise<Allocation> {
    const wishes = wishesOf(this.#sets, ips);
    const content = contentOf(holder);
    // before anything is reserved, as it may fail
    const answer = this.#answer([]);
    return this.#with(holder.network, "reserve addresses in", (state) => {
      using _lock = state.lock();
      const done: string[] = [];
      const take = (ip: string): boolean => {
        if (!state.reserve(ip, content)) return false;
        done.push(ip);
        return true;
      };
      try {
        const leases: Lease[] = [];
        for (const [index, set] of this.#sets.entries()) {
          leases.push(choose(state, set, index, wishes[index], take));
          // noted for addresses that were asked for too: the standard plugin does
          state.remember(index, done.at(-1) ?? "");
        }
        return { ...answer, ips: leases };
      } catch (e) {
        for (const ip of done) state.release(ip);
        throw e;
      }
    });
  }

  async preview(holder: Holder, ips: readonly string[]): Promise<Allocation> {
    const wishes = wishesOf(this.#sets, ips);
    contentOf(holder);
    return this.#with(holder.network, "look for free addresses in", (state) => {
      const take = (ip: string): boolean => state.isFree(ip);
      return this.#answer(this.#sets.map((set, index) => choose(state, set, index, wishes[index], take)));
    });
  }

  async release(holder: Holder, ips: readonly string[] = []): Promise<readonly string[]> {
    contentOf(holder);
    const hint: string[] = [];
    for (const text of ips) {
      const ip = parseIp(withoutPrefix(text));
      if (ip !== undefined && !hint.includes(ip)) hint.push(ip);
    }
    return this.#with(holder.network, "release addresses in", (state) => {
      using lock = state.lockIfPresent();
      return lock === undefined ? [] : state.releaseHolder(holder, hint);
    });
  }

  async quarantine(holder: Holder, ip: string, by: string, seconds: number): Promise<boolean> {
    const content = contentOf(holder);
    return this.#with(holder.network, "set an address aside in", (state) => {
      using _lock = state.lock();
      if (state.holderOf(ip) !== content) return false;
      state.quarantine(ip, by, seconds);
      return true;
    });
  }

  async check(holder: Holder, ips: readonly string[]): Promise<void> {
    const content = contentOf(holder);
    this.#with(holder.network, "look for reservations in", (state) => {
      for (const text of ips) {
        const ip = askedIp(text);
        const now = state.holderOf(ip);
        if (now === content || now === holder.containerId.trim()) continue;
        const found = now === undefined ? "nobody has it" : `${describeHolder(now)} has it`;
        throw new Failure("differs", `find the reservation of ${ip} for ${describeHolder(content)}: ${found}`, {
          advice: "Detach it and attach it again.",
        });
      }
    });
  }

  async collect(network: string, valid: readonly Holder[]): Promise<readonly string[]> {
    // a reservation in the old form names no interface: any of the container's will do
    const kept = new Set(valid.flatMap((holder) => [contentOf(holder), holder.containerId.trim()]));
    return this.#with(network, "release addresses in", (state) => {
      using lock = state.lockIfPresent();
      if (lock === undefined) return [];
      state.tidy();
      const stale = state
        .list()
        .filter((r) => !kept.has(r.content) && !isQuarantine(r.content) && !isCallers(r.content));
      for (const { ip } of stale) state.release(ip);
      return stale.map((r) => r.ip);
    });
  }

  async status(network: string): Promise<void> {
    this.#with(network, "count the reservations in", (state) => {
      const names = state.names();
      for (const set of this.#sets) {
        const size = sizeOf(set);
        // so few files cannot fill it, whatever they are: no need to look which they are
        if (BigInt(names.size) < size) continue;
        const files = [...names].filter((ip) => parseIp(ip) === ip && rangeOf(set, ip) !== undefined);
        const used = files.filter((ip) => !isGateway(set, ip) && !state.isBlank(ip)).length;
        if (BigInt(used) < size) continue;
        throw new Failure(
          "unavailable",
          `find a free address in ${describeSet(set)}: of its ${size} addresses ${used} are used`,
          { advice: RELEASE_ADVICE },
        );
      }
    });
  }
}
