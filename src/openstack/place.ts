// Where a container's port is to be: beside which port of the VM, on which network, in which of its subnets.
import type { Seat } from "../ipam/provider.ts";
import { Failure } from "../report/failure.ts";
import { findNetwork, isId, type Network, type Subnet, subnetsOf, theOne } from "./networks.ts";
import type { NeutronConfig } from "./neutron-config.ts";
import type { Port } from "./ports.ts";
import type { Session } from "./session.ts";
import { findVmPort, instanceId } from "./virtual-machine.ts";

/** What is known before a port is made. */
export interface Place {
  readonly vm: Port;
  readonly network: Network;
  readonly subnets: readonly Subnet[];
}

/** Which VM's port, network and subnets: three questions, of which two are asked at once. Throws `Failure`. */
export async function findPlace(
  session: Session,
  { network: wanted, subnets: wantedSubnets, vmPort }: NeutronConfig,
  seat: Seat,
): Promise<Place> {
  const vm = await findVmPort(session, {
    ...(vmPort === undefined ? {} : { vmPort }),
    mac: seat.parentMac,
    instance: instanceId(),
  });
  const id = wanted === undefined ? vm.network_id : isId(wanted) ? wanted : undefined;
  const [network, known] = await Promise.all([
    findNetwork(session, wanted ?? vm.network_id),
    id === undefined ? undefined : subnetsOf(session, id),
  ]);
  if (network.id !== vm.network_id && seat.kind !== "vlan") {
    throw new Failure(
      "config",
      `use the network ${network.name || network.id} with kind ${seat.kind}: the VM's port ${vm.id} is on ${vm.network_id}`,
      {
        advice:
          'Containers share the network of their parent. For another, use kind "vlan" and a trunk, or a further NIC.',
      },
    );
  }
  const all = known ?? (await subnetsOf(session, network.id));
  const subnets =
    wantedSubnets === undefined
      ? all
      : wantedSubnets.map((w) =>
          theOne(
            all.filter((s) => s.id === w || s.name === w),
            "subnet",
            w,
            "subnet",
          ),
        );
  return { vm, network, subnets };
}
