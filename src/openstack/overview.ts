// What a cloud says of this VM: its ports, who may pass by them, how much room is left, and what is wrong.
import { canonical } from "./address-pairs.ts";
import { portsOfVm } from "./container-port.ts";
import { markOf } from "./mark.ts";
import { PairLedger } from "./pair-ledger.ts";
import type { Port } from "./ports.ts";
import { portQuota } from "./quota.ts";
import type { Session } from "./session.ts";
import { machinePorts } from "./virtual-machine.ts";

/** Neutron's default of `max_allowed_address_pair`: a cloud does not tell its own. */
const USUAL_PAIRS = 10;

/** A pair, and whose it is. */
interface PairView {
  readonly ip: string;
  readonly mac: string;
  /** In words. */
  readonly owner: string;
}

/** A container's port. */
interface ContainerView {
  readonly id: string;
  readonly name: string;
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly ips: readonly string[];
  readonly mac: string;
  /** Of a trunk's sub-port. */
  readonly vlanId?: number;
}

/** One of the VM's ports. */
interface PortView {
  readonly id: string;
  readonly name: string;
  readonly networkId: string;
  readonly mac: string;
  readonly ips: readonly string[];
  readonly status: string;
  readonly portSecurity: boolean;
  readonly pairs: readonly PairView[];
  /** How many more pairs most clouds allow; absent where none are needed, or this one allows more. */
  readonly pairsLeft?: number;
  readonly containers: readonly ContainerView[];
}

/** All of it. */
export interface Overview {
  readonly cloud: string;
  readonly ports: readonly PortView[];
  /** Ports that the project may still make; absent where the cloud does not tell. */
  readonly portsLeft?: number;
  readonly problems: readonly string[];
}

function ownersOf(vm: Port, containers: readonly Port[], problems: string[]): PairView[] {
  const ledger = new PairLedger(vm.id).entries();
  return vm.allowed_address_pairs.map((stored) => {
    const pair = canonical(stored, vm.mac_address);
    const entry = ledger.find((e) => e.pair.mac === pair.mac && e.pair.ip === pair.ip);
    const users = containers.filter(
      (c) =>
        entry?.users.includes(c.id) === true ||
        (c.mac_address.toLowerCase() === pair.mac && c.fixed_ips.some((f) => f.ip_address === pair.ip)),
    );
    if (users.length > 0) return { ...pair, owner: users.map((u) => u.name).join(", ") };
    if (entry?.made !== true) return { ...pair, owner: "not Berth's" };
    problems.push(`the pair ${pair.ip} ${pair.mac} of ${vm.id} is let pass for a container that is gone: berth gc`);
    return { ...pair, owner: "Berth's, of a container that is gone" };
  });
}

/** Looks at everything that concerns this VM. Throws `Failure`. */
export async function overviewOf(session: Session, vmPort?: string): Promise<Overview> {
  const [vms, quota] = await Promise.all([machinePorts(session, vmPort), portQuota(session)]);
  const all = await portsOfVm(
    session,
    vms.map((p) => p.id),
  );
  const problems: string[] = [];
  if (vms.length === 0) {
    problems.push(
      'no port of the project has the MAC of a NIC of this machine: look at the project, or name it ("vmPort")',
    );
  }
  const ports = vms.map((vm): PortView => {
    const containers = all.filter((p) => markOf(p)?.vmPort === vm.id);
    const subPorts = new Map((vm.trunk_details?.sub_ports ?? []).map((s) => [s.port_id, s.segmentation_id]));
    const pairs = ownersOf(vm, containers, problems);
    if (vm.status !== "" && vm.status !== "ACTIVE") problems.push(`the VM's port ${vm.id} is ${vm.status}`);
    const left = USUAL_PAIRS - pairs.length;
    if (vm.port_security_enabled && left === 0) {
      problems.push(`the VM's port ${vm.id} has ${pairs.length} address pairs, as many as most clouds allow`);
    }
    return {
      id: vm.id,
      name: vm.name,
      networkId: vm.network_id,
      mac: vm.mac_address,
      ips: vm.fixed_ips.map((f) => f.ip_address),
      status: vm.status,
      portSecurity: vm.port_security_enabled,
      pairs,
      ...(vm.port_security_enabled && left >= 0 ? { pairsLeft: left } : {}),
      containers: containers.map((c) => {
        const holder = markOf(c)?.holder ?? { network: "?", containerId: "?", ifName: "?" };
        const vlanId = subPorts.get(c.id);
        return {
          id: c.id,
          name: c.name,
          ...holder,
          ips: c.fixed_ips.map((f) => f.ip_address),
          mac: c.mac_address,
          ...(vlanId === undefined ? {} : { vlanId }),
        };
      }),
    };
  });
  return {
    cloud: session.credentials.authUrl,
    ports,
    ...(quota === undefined || quota.limit < 0 ? {} : { portsLeft: quota.limit - quota.used - quota.reserved }),
    problems,
  };
}
