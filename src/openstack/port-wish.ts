// What Neutron is asked for: the container's port, from the configuration, the request and where it is to be.
import { parseIp } from "../address/ip.ts";
import type { Holder, Seat } from "../ipam/provider.ts";
import { Failure } from "../report/failure.ts";
import { type Claim, marksMade } from "./mark.ts";
import type { NeutronConfig } from "./neutron-config.ts";
import type { Place } from "./place.ts";
import type { Port, PortWish } from "./ports.ts";
import { securityGroupIds } from "./security-groups.ts";
import type { Session } from "./session.ts";
import { subnetFor } from "./subnets.ts";

/** What tags a port as Berth's, for people. */
const TAG = "berth";

/** Who asks for a port, with which addresses, and how it will sit on its parent. */
export interface Ask {
  readonly holder: Holder;
  readonly ips: readonly string[];
  readonly seat: Seat;
}

/** A holder's claim to a port beside the VM's. */
export function claimOf(vm: Port, holder: Holder, { kind }: Seat): Claim {
  return { vmPort: vm.id, holder, byTrunk: kind === "vlan" };
}

function bareIp(text: string): string {
  const ip = parseIp(text.replace(/\/.*/u, ""));
  if (ip !== undefined) return ip;
  throw new Failure("request", `give the address ${JSON.stringify(text)}: it is no IP address`, {
    advice: "Write it as 192.168.0.7.",
  });
}

/** What is asked of Neutron for a port of a container's own. Throws `Failure`. */
export async function wishFor(
  session: Session,
  config: NeutronConfig,
  { holder, ips, seat }: Ask,
  { vm, network, subnets }: Place,
): Promise<PortWish> {
  const configured = config.ip === undefined ? [] : [config.ip].flat();
  const asked = (ips.length > 0 ? ips : configured).map(bareIp);
  const mac = seat.mac ?? config.mac;
  const fixed =
    asked.length > 0
      ? asked.map((ip) => ({ ip_address: ip, ...subnetFor(subnets, ip) }))
      : config.subnets === undefined
        ? undefined
        : subnets.map((s) => ({ subnet_id: s.id }));
  const { extensions } = await session.grant();
  const tagged = extensions.includes("tag-ports-during-bulk-creation");
  if (!tagged && (config.tags ?? []).length > 0) {
    throw new Failure("config", "tag the ports of containers: this cloud cannot tag a port that is being made", {
      advice: 'Remove "tags": ports are told by device_owner and device_id all the same.',
    });
  }
  const groups = await securityGroupIds(session, config.securityGroups);
  return {
    network_id: network.id,
    ...marksMade(claimOf(vm, holder, seat)),
    ...(mac === undefined || seat.kind === "ipvlan" ? {} : { mac_address: mac }),
    ...(fixed === undefined ? {} : { fixed_ips: fixed }),
    ...(groups === undefined ? {} : { security_groups: groups }),
    ...(config.dnsName === undefined ? {} : { dns_name: config.dnsName }),
    ...(tagged ? { tags: [TAG, ...(config.tags ?? [])] } : {}),
  };
}
