// What a cloud keeps for containers of a VM that are no more: ports, and pairs that still let their addresses pass.
import { parseMac } from "../address/mac.ts";
import type { Holder } from "../ipam/provider.ts";
import type { AddressPair } from "../plan/cloud.ts";
import { quote } from "../plan/shell.ts";
import { canonical } from "./address-pairs.ts";
import { portsOfVm } from "./container-port.ts";
import { isPortOf, markOf } from "./mark.ts";
import { PairLedger } from "./pair-ledger.ts";
import type { Port } from "./ports.ts";
import type { Session } from "./session.ts";

/** Something that nobody needs any more. */
export interface Stray {
  /** Id of the VM's port. */
  readonly vmPort: string;
  /** Id of the container's port. */
  readonly user: string;
  /** The container's port; absent where it is gone and only its pairs are left. */
  readonly port?: Port;
  readonly pairs: readonly AddressPair[];
}

/** What a container's port has admitted at its VM's, as far as this host knows. */
export function pairsOf(port: Port): Omit<Stray, "port"> {
  const { vmPort = "", byTrunk = false } = markOf(port) ?? {};
  if (byTrunk) return { vmPort, user: port.id, pairs: [] }; // its filter is its own
  const ledger = new PairLedger(vmPort);
  const pairs = ledger.entries().flatMap((e) => (e.users.includes(port.id) ? [e.pair] : []));
  if (!ledger.exists()) {
    // a disk that was not kept: what a macvlan has is recognised by its MAC
    const mac = parseMac(port.mac_address) ?? port.mac_address;
    pairs.push(...port.fixed_ips.map((f) => ({ mac, ip: f.ip_address })));
  }
  return { vmPort, user: port.id, pairs };
}

/** The ports of a network's containers that are not in `valid`, and pairs of containers whose port is gone. Throws `Failure`. */
export async function straysOf(
  session: Session,
  vmPorts: readonly Port[],
  network: string,
  valid: readonly Holder[],
): Promise<readonly Stray[]> {
  const ids = vmPorts.map((p) => p.id);
  const ports = await portsOfVm(session, ids);
  const strays: Stray[] = ports.flatMap((port) => {
    if (markOf(port)?.holder.network !== network || valid.some((h) => isPortOf(port, h))) return [];
    return [{ ...pairsOf(port), port }];
  });
  const known = new Set(ports.map((p) => p.id));
  for (const vm of vmPorts) {
    const there = vm.allowed_address_pairs.map((p) => canonical(p, vm.mac_address));
    for (const { pair, made, users } of new PairLedger(vm.id).entries()) {
      if (!made || !there.some((t) => t.mac === pair.mac && t.ip === pair.ip)) continue;
      for (const user of users) if (!known.has(user)) strays.push({ vmPort: vm.id, user, pairs: [pair] });
    }
  }
  return strays;
}

/** A stray in words. */
export function describeStray({ vmPort, port, pairs }: Stray): string {
  const list = pairs.map((p) => `${p.ip} ${p.mac}`).join(", ");
  const what = port === undefined ? "the address pair of a port that is gone" : `the port ${port.id} ${port.name}`;
  return `${what}${list === "" ? "" : ` (${list} at ${vmPort})`}`;
}

/** The commands that would remove it. */
export function explainStray({ vmPort, port, pairs }: Stray): string[] {
  const options = pairs.map(({ ip, mac }) => `--allowed-address ${quote(`ip-address=${ip},mac-address=${mac}`)}`);
  return [
    ...(pairs.length === 0 ? [] : [`openstack port unset ${options.join(" ")} ${quote(vmPort)}`]),
    ...(port === undefined ? [] : [`openstack port delete ${quote(port.id)}`]),
  ];
}
