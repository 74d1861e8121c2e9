// IPAM type static: the addresses that the configuration or the caller names, with no state (plugins/ipam/static of
// containernetworking-plugins).
import { formatCidr, parseCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import type { Allocation, Dns, Holder, IpamProvider, Lease, RouteSpec } from "./provider.ts";

/** Configuration of `ipam` with type static. */
export interface StaticConfig {
  readonly type: "static";
  readonly addresses?: readonly { readonly address: string; readonly gateway?: string }[];
  readonly routes?: readonly RouteSpec[];
  readonly dns?: Dns;
}

/** The provider of one configuration. */
export class Static implements IpamProvider {
  readonly type = "static";
  readonly #config: StaticConfig;

  constructor(config: StaticConfig) {
    this.#config = config;
  }

  async allocate(_holder: Holder, ips: readonly string[]): Promise<Allocation> {
    const leases = ips.length > 0 ? ips.map((text) => this.#asked(text)) : (this.#config.addresses ?? []).map(toLease);
    if (leases.length === 0) {
      throw new Failure("config", "allocate addresses: ipam of type static names none, and none was asked for", {
        advice: 'Give "addresses": [{"address": "192.168.122.177/24"}], or ask for one.',
      });
    }
    return { ips: leases, routes: this.#config.routes ?? [], dns: this.#config.dns ?? {} };
  }

  async preview(holder: Holder, ips: readonly string[]): Promise<Allocation> {
    return await this.allocate(holder, ips);
  }

  /** An address that was asked for; prefix length and gateway are taken from the configuration where it has the address. */
  #asked(text: string): Lease {
    const leases = (this.#config.addresses ?? []).map(toLease);
    const cidr = parseCidr(text);
    const ip = cidr?.ip ?? parseIp(text);
    if (ip === undefined) throw new Failure("request", `give the address ${JSON.stringify(text)}: it is no IP address`);
    const known = leases.find((l) => l.address.startsWith(`${ip}/`)) ?? leases.find((l) => family(l) === ipFamily(ip));
    if (cidr === undefined && known === undefined) {
      throw new Failure("request", `give the address ${text}: ipam of type static needs its prefix length`, {
        advice: `Ask for it as ${text}/24, with the prefix length of its subnet.`,
      });
    }
    const prefix = cidr?.prefix ?? parseCidr(known?.address ?? "")?.prefix ?? 0;
    const gateway = known?.gateway;
    return { address: formatCidr({ ip, prefix }), ...(gateway === undefined ? {} : { gateway }) };
  }

  async release(): Promise<readonly string[]> {
    return [];
  }

  async check(): Promise<void> {
    // there is no state that could differ
  }

  async collect(): Promise<readonly string[]> {
    return [];
  }

  async status(): Promise<void> {
    // an address that somebody else uses cannot be known here
  }
}

function family(lease: Lease): 4 | 6 {
  return ipFamily(lease.address);
}

function toLease(entry: { readonly address: string; readonly gateway?: string }): Lease {
  const cidr = parseCidr(entry.address);
  if (cidr === undefined) throw new Failure("config", `use ${entry.address}: it is no address with a prefix length`);
  const gateway = entry.gateway === undefined ? undefined : parseIp(entry.gateway);
  return { address: formatCidr(cidr), ...(gateway === undefined ? {} : { gateway }) };
}
