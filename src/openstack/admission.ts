// What the VM's port has to let pass for a container's port.
import { type Cidr, contains, formatCidr, parseCidr } from "../address/cidr.ts";
import { parseMac } from "../address/mac.ts";
import type { Seat } from "../ipam/provider.ts";
import type { Admission } from "../plan/cloud.ts";
import { canonical } from "./address-pairs.ts";
import type { Port } from "./ports.ts";

/**
 * What the VM's port has to let pass. A trunk's sub-port has a filter of its own.
 * @param block what is let pass once for many
 */
export function admissionOf(vm: Port, port: Port, seat: Seat, block: Cidr | undefined): Admission | undefined {
  if (seat.kind === "vlan" || !vm.port_security_enabled) return undefined;
  const own = parseMac(vm.mac_address) ?? vm.mac_address;
  const mac = seat.kind === "ipvlan" ? own : (parseMac(port.mac_address) ?? port.mac_address);
  const wanted = new Set(
    port.fixed_ips.map(({ ip_address: ip }) => (block !== undefined && contains(block, ip) ? formatCidr(block) : ip)),
  );
  // a block that the administrator admitted needs nothing more
  const blocks = vm.allowed_address_pairs
    .map((p) => canonical(p, own))
    .filter((p) => p.mac === mac && p.ip.includes("/"));
  const covered = (ip: string): boolean =>
    blocks.some((b) => {
      const cidr = parseCidr(b.ip);
      return cidr !== undefined && !ip.includes("/") && contains(cidr, ip);
    });
  const pairs = [...wanted].filter((ip) => !covered(ip)).map((ip) => ({ mac, ip }));
  return pairs.length === 0 ? undefined : { port: vm.id, user: port.id, pairs };
}
