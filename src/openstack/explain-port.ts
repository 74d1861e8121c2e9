// A port that is not made: what a dry run shows of it, and the commands that would make it.
import { quote } from "../plan/shell.ts";
import type { Place } from "./place.ts";
import type { Port, PortWish } from "./ports.ts";
import { firstFree, noSubnet, subnetOf } from "./subnets.ts";
import { trunkOf } from "./trunks.ts";

/**
 * The port that Neutron would make, as far as that can be told; its MAC is an example where none was asked for. Throws
 * `Failure` (`config`).
 * @param used addresses that the network's ports have
 */
export function imagined(wish: PortWish, { network, subnets }: Place, used: ReadonlySet<string>): Port {
  const [subnet] = subnets;
  if (subnet === undefined) throw noSubnet(network);
  const asked = wish.fixed_ips?.flatMap((f) => f.ip_address ?? []) ?? [];
  const addresses = asked.length > 0 ? asked : [firstFree(subnet, used)];
  return {
    id: "PORT",
    name: wish.name ?? "",
    network_id: network.id,
    mac_address: wish.mac_address ?? "fa:16:3e:00:00:01",
    fixed_ips: addresses.map((ip) => ({ ip_address: ip, subnet_id: subnetOf(subnets, ip)?.id ?? subnet.id })),
    description: wish.description ?? "",
    device_id: wish.device_id ?? "",
    device_owner: wish.device_owner ?? "",
    status: "",
    allowed_address_pairs: [],
    port_security_enabled: true,
  };
}

/** The commands that would make the port. */
export function explainPort(wish: PortWish, vm: Port, vlanId: number | undefined): string[] {
  const options = [
    `--network ${quote(wish.network_id ?? "")}`,
    `--device-owner ${quote(wish.device_owner ?? "")}`,
    wish.device_id === undefined
      ? `--description ${quote(wish.description ?? "")}`
      : `--device ${quote(wish.device_id)}`,
    ...(wish.mac_address === undefined ? [] : [`--mac-address ${wish.mac_address}`]),
    ...(wish.fixed_ips ?? []).map(
      (f) =>
        `--fixed-ip ${[f.subnet_id === undefined ? [] : `subnet=${f.subnet_id}`, f.ip_address === undefined ? [] : `ip-address=${f.ip_address}`].flat().join(",")}`,
    ),
    ...(wish.security_groups ?? []).map((g) => `--security-group ${quote(g)}`),
    ...(wish.dns_name === undefined ? [] : [`--dns-name ${quote(wish.dns_name)}`]),
  ];
  return [
    `openstack port create ${options.join(" ")} ${quote(wish.name ?? "")} # its MAC and address below are examples where none was asked for`,
    ...(vlanId === undefined
      ? []
      : [
          `openstack network trunk set --subport port=${quote(wish.name ?? "")},segmentation-type=vlan,segmentation-id=${vlanId} ${quote(trunkOf(vm).trunk_id)}`,
        ]),
  ];
}
