// IPAM type static: the addresses that the configuration or the caller names, with no state (plugins/ipam/static of
// containernetworking-plugins).
import { contains, formatCidr, parseCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import type { DelegateCall } from "./delegated.ts";
import { isObject, parseJson, stringsOf } from "./json.ts";
import type { Allocation, Dns, Holder, IpamProvider, Lease, RouteSpec } from "./provider.ts";

/** Configuration of `ipam` with type static. */
export interface StaticConfig {
  readonly type: "static";
  readonly addresses?: readonly { readonly address: string; readonly gateway?: string }[];
  readonly routes?: readonly RouteSpec[];
  readonly dns?: Dns;
}

/** Where a CNI call names addresses. */
interface Sources {
  /** CNI_ARGS, `IP`: added to the configuration's. */
  readonly environment: readonly string[];
  /** CNI_ARGS, `GATEWAY`: each for those of these addresses whose subnet it lies in. */
  readonly gateways: readonly string[];
  /** `args.cni.ips`: instead of those. */
  readonly args: readonly string[];
  /** `runtimeConfig.ips`: instead of all others. */
  readonly runtime: readonly string[];
}

function sourcesOf(call: DelegateCall): Sources {
  const pairs = (call.env["CNI_ARGS"] ?? "").split(";").map((pair) => pair.split("=", 2));
  const named = (key: string): string[] => {
    const text = pairs.findLast(([k]) => k === key)?.[1] ?? "";
    return text
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== "");
  };
  const json: unknown = call.stdin.trim() === "" ? undefined : parseJson(call.stdin, "read the network configuration");
  const args = isObject(json) && isObject(json["args"]) ? json["args"]["cni"] : undefined;
  const runtime = isObject(json) ? json["runtimeConfig"] : undefined;
  return {
    environment: named("IP"),
    gateways: named("GATEWAY"),
    args: isObject(args) ? stringsOf(args["ips"]) : [],
    runtime: isObject(runtime) ? stringsOf(runtime["ips"]) : [],
  };
}

/** The provider of one configuration. */
export class Static implements IpamProvider {
  readonly type = "static";
  readonly #configured: readonly Lease[];
  readonly #config: StaticConfig;
  readonly #call: DelegateCall;

  /**
   * Throws `Failure` (`config`).
   * @param call the CNI call as it came: which address replaces which depends on where it was asked for
   */
  constructor(config: StaticConfig, call: DelegateCall) {
    this.#config = config;
    this.#configured = (config.addresses ?? []).map((entry) => {
      const cidr = parseCidr(entry.address);
      if (cidr === undefined) {
        throw new Failure("config", `use ${entry.address} as an address: it has no prefix length, or is none`, {
          advice: "Write it as 192.168.122.177/24.",
        });
      }
      return leaseOf(formatCidr(cidr), entry.gateway, "config");
    });
    this.#call = call;
  }

  /**
   * As the standard plugin has it: CNI_ARGS adds to the configuration's addresses, `args.cni.ips` replaces those, and
   * `runtimeConfig.ips` replaces all. What is asked for in none of these places (by a person) replaces them too, and may
   * leave its prefix length and gateway to the configuration.
   */
  async allocate(_holder: Holder, ips: readonly string[]): Promise<Allocation> {
    const leases = this.#leases(ips);
    if (leases.length === 0) {
      throw new Failure("config", "allocate addresses: ipam of type static names none, and none was asked for", {
        advice: 'Give "addresses": [{"address": "192.168.122.177/24"}], or ask for one.',
      });
    }
    return { ips: leases, routes: this.#config.routes ?? [], dns: this.#config.dns ?? {} };
  }

  #leases(ips: readonly string[]): readonly Lease[] {
    if (ips.length === 0) return this.#configured;
    const { environment, gateways, args, runtime } = sourcesOf(this.#call);
    const known = new Set([...environment, ...args, ...runtime]);
    const others = ips.filter((text) => !known.has(text.trim()));
    if (others.length > 0) return others.map((text) => this.#asked(text));
    const routers = gateways.map((text) => gatewayOf(text, "request"));
    const added = environment.map((text) => {
      const lease = exact(text);
      const cidr = parseCidr(lease.address);
      const via = routers.findLast((gateway) => cidr !== undefined && contains(cidr, gateway));
      return via === undefined ? lease : { ...lease, gateway: via };
    });
    // what is replaced is read all the same: a request that is no address is a mistake wherever it stands
    const [inArgs, inRuntime] = [args.map(exact), runtime.map(exact)];
    if (inRuntime.length > 0) return inRuntime;
    return inArgs.length > 0 ? inArgs : [...this.#configured, ...added];
  }

  #asked(text: string): Lease {
    const ip = parseIp(text);
    const cidr = ip === undefined ? parseCidr(text) : undefined;
    const asked = ip ?? cidr?.ip;
    const subnet = this.#configured.find((lease) => {
      const known = parseCidr(lease.address);
      if (known === undefined || asked === undefined) return false;
      return contains(known, asked) && (cidr === undefined || cidr.prefix === known.prefix);
    });
    const prefix = cidr?.prefix ?? parseCidr(subnet?.address ?? "")?.prefix;
    return leaseOf(
      ip === undefined || prefix === undefined ? cidrText(text) : formatCidr({ ip, prefix }),
      subnet?.gateway,
      "config",
    );
  }

  /** Here the same as {@link allocate}: nothing is reserved. */
  async preview(holder: Holder, ips: readonly string[]): Promise<Allocation> {
    return await this.allocate(holder, ips);
  }

  async release(): Promise<readonly string[]> {
    return [];
  }

  async quarantine(): Promise<boolean> {
    return false;
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

function exact(text: string): Lease {
  return { address: cidrText(text) };
}

/** An address that was asked for, canonical. Throws `Failure` (`request`) where it has no prefix length. */
function cidrText(text: string): string {
  const cidr = parseCidr(text);
  if (cidr !== undefined) return formatCidr(cidr);
  const what = parseIp(text) === undefined ? "it is no IP address" : "ipam of type static needs its prefix length";
  throw new Failure("request", `give the address ${JSON.stringify(text)}: ${what}`, {
    advice: "Write it as 192.168.122.177/24, with the prefix length of its subnet.",
  });
}

function gatewayOf(text: string, reason: "config" | "request"): string {
  const gateway = parseIp(text);
  if (gateway !== undefined) return gateway;
  throw new Failure(reason, `use ${JSON.stringify(text)} as a gateway: it is no IP address`, {
    advice: "Write it as 192.168.122.1.",
  });
}

function leaseOf(address: string, gateway: string | undefined, reason: "config" | "request"): Lease {
  if (gateway === undefined) return { address };
  const via = gatewayOf(gateway, reason);
  if (ipFamily(via) === ipFamily(address)) return { address, gateway: via };
  throw new Failure(reason, `use ${via} as the gateway of ${address}: they are of different families`, {
    advice: "Name one of the same family, or none.",
  });
}
