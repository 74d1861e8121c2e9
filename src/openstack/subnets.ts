// What a network's subnets say to an attachment: addresses, routes, name servers.
import { contains, parseCidr } from "../address/cidr.ts";
import { ipFamily } from "../address/ip.ts";
import type { Dns, RouteSpec } from "../ipam/provider.ts";
import { Failure } from "../report/failure.ts";
import type { Network, Subnet } from "./networks.ts";

/** The subnet that holds an address. */
export function subnetOf(subnets: readonly Subnet[], ip: string): Subnet | undefined {
  return subnets.find((s) => {
    const cidr = parseCidr(s.cidr);
    return cidr !== undefined && contains(cidr, ip);
  });
}

/** Which subnet a wish for an address names: none where none holds it, and the cloud says so. */
export function subnetFor(subnets: readonly Subnet[], ip: string): { subnet_id?: string } {
  const subnet = subnetOf(subnets, ip);
  return subnet === undefined ? {} : { subnet_id: subnet.id };
}

/** Of a network that can give no address. */
export function noSubnet({ name, id }: Network): Failure {
  return new Failure("config", `use the network ${name === "" ? id : name}: it has no subnet to give an address of`, {
    advice: "openstack subnet create --network NETWORK --subnet-range CIDR NAME",
  });
}

/** The first address of a subnet's pools that no port has which can be seen. */
export function firstFree(subnet: Subnet, used: ReadonlySet<string>): string {
  const free = subnet.allocation_pools.map((p) => p.start).find((ip) => !used.has(ip));
  return free ?? subnet.allocation_pools[0]?.start ?? subnet.cidr.replace(/\/.*/u, "");
}

/** A default route by the first gateway of each family, and what the subnets name. */
export function routesOf(subnets: readonly Subnet[]): RouteSpec[] {
  const routes: RouteSpec[] = [];
  for (const family of [4, 6] as const) {
    const gateway = subnets.map((s) => s.gateway_ip).find((g) => g !== null && ipFamily(g) === family);
    if (gateway !== undefined && gateway !== null)
      routes.push({ dst: family === 4 ? "0.0.0.0/0" : "::/0", gw: gateway });
  }
  for (const { destination: dst, nexthop: gw } of subnets.flatMap((s) => s.host_routes)) routes.push({ dst, gw });
  return routes;
}

/** The name servers that the subnets name. */
export function dnsOf(subnets: readonly Subnet[]): Dns {
  const nameservers = [...new Set(subnets.flatMap((s) => s.dns_nameservers))];
  return nameservers.length === 0 ? {} : { nameservers };
}
