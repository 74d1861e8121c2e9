// CNI's results, in every version (spec 0.1.0 to 1.1.0, "Result"), and what a prevResult says.
import { formatCidr, parseCidr } from "../address/cidr.ts";
import { ipFamily } from "../address/ip.ts";
import type { Allocation, Dns, RouteSpec } from "../ipam/provider.ts";
import { type CniVersion, isAtLeast } from "./version.ts";

/** What ADD answers, in the newest version's words. */
export interface AddResult {
  readonly interfaceName: string;
  readonly mac: string | undefined;
  /** Bytes. */
  readonly mtu: number;
  /** Path of the container's namespace. */
  readonly sandbox: string;
  readonly allocation: Allocation;
  readonly dns: Dns;
  /** Path of the device node by which a virtual machine is connected; undefined where the link is a container's. */
  readonly tap?: string | undefined;
}

/** Routes with the keys that the version has. */
function routesIn(version: CniVersion, routes: readonly RouteSpec[]): readonly RouteSpec[] {
  if (isAtLeast(version, "1.1.0")) return routes;
  const all: RouteSpec[] = [];
  for (const { dst, gw } of routes) all.push(gw === undefined ? { dst } : { dst, gw });
  return all;
}

/** ADD's result as JSON in the wanted version. */
export function resultJson(result: AddResult, version: CniVersion): string {
  return JSON.stringify(isAtLeast(version, "0.3.0") ? listForm(result, version) : familyForm(result, version));
}

/** 0.3.0 and newer: interfaces and a list of addresses. Keys that are undefined are not written. */
function listForm({ interfaceName, mac, mtu, sandbox, allocation, dns, tap }: AddResult, version: CniVersion): object {
  const withVersion = !isAtLeast(version, "1.0.0"); // 1.0.0 dropped the key "version" of each address
  const ips: object[] = [];
  for (const { address, gateway } of allocation.ips) {
    ips.push({ version: withVersion ? String(ipFamily(address)) : undefined, address, gateway, interface: 0 });
  }
  const { routes } = allocation;
  return {
    cniVersion: version,
    // the specification has no key for a tap device
    interfaces: [{ name: interfaceName, mac, mtu: isAtLeast(version, "1.1.0") ? mtu : undefined, sandbox, tap }],
    ips: ips.length === 0 ? undefined : ips,
    routes: routes.length === 0 ? undefined : routesIn(version, routes),
    dns,
  };
}

/** 0.1.0 and 0.2.0: the first address of each family, with its family's routes. */
function familyForm({ allocation, dns }: AddResult, version: CniVersion): object {
  const of = (six: boolean): object | undefined => {
    const lease = allocation.ips.find((l) => isIpv6(l.address) === six);
    if (lease === undefined) return undefined;
    const routes = routesIn(
      version,
      allocation.routes.filter((r) => isIpv6(r.dst) === six),
    );
    return {
      ip: lease.address,
      ...(lease.gateway === undefined ? {} : { gateway: lease.gateway }),
      ...(routes.length === 0 ? {} : { routes }),
    };
  };
  const [ip4, ip6] = [of(false), of(true)];
  return {
    cniVersion: version,
    ...(ip4 === undefined ? {} : { ip4 }),
    ...(ip6 === undefined ? {} : { ip6 }),
    dns,
  };
}

function isIpv6(address: string): boolean {
  return ipFamily(address) === 6;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The addresses of a prevResult of any version, as canonical CIDRs; those of other interfaces than `ifName` are left out
 * where the result tells. What is malformed is left out too: a prevResult is another's word.
 */
export function prevResultAddresses(prevResult: unknown, ifName: string): string[] {
  if (!isObject(prevResult)) return [];
  const interfaces = Array.isArray(prevResult["interfaces"]) ? prevResult["interfaces"] : [];
  const texts: unknown[] = [];
  for (const entry of Array.isArray(prevResult["ips"]) ? prevResult["ips"] : []) {
    if (!isObject(entry)) continue;
    const owner: unknown = typeof entry["interface"] === "number" ? interfaces[entry["interface"]] : undefined;
    if (!isObject(owner) || owner["name"] === ifName) texts.push(entry["address"]);
  }
  for (const key of ["ip4", "ip6"]) {
    const entry = prevResult[key];
    if (isObject(entry)) texts.push(entry["ip"]);
  }
  const found: string[] = [];
  for (const text of texts) {
    const cidr = typeof text === "string" ? parseCidr(text) : undefined;
    if (cidr !== undefined) found.push(formatCidr(cidr));
  }
  return found;
}
