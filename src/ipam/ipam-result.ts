// What a delegated IPAM plugin answers (CNI spec 1.1.0, section 5 "Delegated plugins (IPAM)"), of any version.
import { formatCidr, parseCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import { isObject, type Json, objectsOf, stringsOf } from "./json.ts";
import type { Allocation, Dns, Lease, RouteSpec } from "./provider.ts";

function refuse(what: string, value: unknown, why: string): never {
  throw new Failure("delegate", `use ${what} ${JSON.stringify(value)} of the IPAM plugin's answer: ${why}`);
}

/**
 * An IPAM result of version 0.1.0 to 1.1.0: `ips` from 0.3.0 on, before that `ip4` and `ip6` with their routes. Throws
 * `Failure` (`delegate`) for a value that is none, and where there is no address.
 */
export function readResult(json: Json): Allocation {
  const families = [json["ip4"], json["ip6"]].filter(isObject);
  const ips: Lease[] = [
    ...objectsOf(json["ips"]).map((entry) => readLease(entry["address"], entry["gateway"])),
    ...families.map((entry) => readLease(entry["ip"], entry["gateway"])),
  ];
  if (ips.length === 0) throw new Failure("delegate", "use the IPAM plugin's answer: it has no address");
  const routes = [...objectsOf(json["routes"]), ...families.flatMap((entry) => objectsOf(entry["routes"]))];
  return { ips, routes: routes.map(readRoute), dns: readDns(json["dns"]) };
}

/** An address where there may be none: absent, null and empty are the same to the standard library's types. */
function readIp(what: string, value: unknown): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  return (typeof value === "string" ? parseIp(value) : undefined) ?? refuse(what, value, "it is no IP address");
}

function readCidr(what: string, value: unknown): { readonly ip: string; readonly prefix: number } {
  const cidr = typeof value === "string" ? parseCidr(value) : undefined;
  return cidr ?? refuse(what, value, "it is no address with a prefix length");
}

function readLease(address: unknown, gateway: unknown): Lease {
  const via = readIp("the gateway", gateway);
  return { address: formatCidr(readCidr("the address", address)), ...(via === undefined ? {} : { gateway: via }) };
}

/** The kernel's numbers have 32 bits. */
function readNumber(what: string, value: number): number {
  return Number.isInteger(value) && value >= 0 && value <= 0xffffffff
    ? value
    : refuse(what, value, "it is no number of 32 bits");
}

function readRoute(entry: Json): RouteSpec {
  const dst = readCidr("the route to", entry["dst"]);
  const gw = readIp("the next hop", entry["gw"]);
  if (gw !== undefined && ipFamily(gw) !== ipFamily(dst.ip)) {
    refuse("the next hop", gw, `it is of another family than the route's destination, ${formatCidr(dst)}`);
  }
  const numbers = Object.fromEntries(
    ["mtu", "advmss", "priority", "table", "scope"].flatMap((key) =>
      typeof entry[key] === "number" ? [[key, readNumber(`the route's ${key}`, entry[key])]] : [],
    ),
  ) as Omit<RouteSpec, "dst" | "gw">;
  return { dst: formatCidr(dst), ...(gw === undefined ? {} : { gw }), ...numbers };
}

function readDns(value: unknown): Dns {
  if (!isObject(value)) return {};
  const list = (key: "nameservers" | "search" | "options"): Dns => {
    const strings = stringsOf(value[key]);
    return strings.length === 0 ? {} : { [key]: strings };
  };
  const { domain } = value;
  return {
    ...list("nameservers"),
    ...(typeof domain === "string" && domain !== "" ? { domain } : {}),
    ...list("search"),
    ...list("options"),
  };
}
