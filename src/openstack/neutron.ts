// IPAM type neutron: each attachment has a port of its own on the network of the virtual machine that Berth runs in.
import { type Cidr, contains, formatCidr, parseCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";
import type { Allocation, CloudPort, Dns, Holder, IpamProvider, Lease, RouteSpec, Seat } from "../ipam/provider.ts";
import type { AddressPair, Admission, Cloud } from "../plan/cloud.ts";
import { quote } from "../plan/shell.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { canonical, wishPairs } from "./address-pairs.ts";
import { findPortOf, giveBack, makeOrTake, makeWithin, takeNamed } from "./container-port.ts";
import { findCredentials } from "./credentials.ts";
import { type Claim, isPortOf, marksMade } from "./mark.ts";
import type { NeutronConfig } from "./neutron-config.ts";
import { findNetwork, isId, type Network, type Subnet, subnetsOf, theOne } from "./networks.ts";
import { getPort, listPorts, type Port, type PortWish } from "./ports.ts";
import { checkQuota } from "./quota.ts";
import { securityGroupIds } from "./security-groups.ts";
import { Session } from "./session.ts";
import { addSubPort, trunkOf } from "./trunks.ts";
import { pairsOf, type Stray, straysOf } from "./strays.ts";
import { findVmPort, instanceId, machinePorts } from "./virtual-machine.ts";

/** How long ADD waits for the gateway where the configuration does not say, seconds. */
const WAIT_S = 5;
/** What tags a port as Berth's, for people. */
const TAG = "berth";
/** Neutron's default of `max_allowed_address_pair`: the cloud does not tell its own. */
const USUAL_PAIRS = 10;

/** What is known before a port is made. */
interface Place {
  readonly vm: Port;
  readonly network: Network;
  readonly subnets: readonly Subnet[];
}

/** The provider of one configuration, and its cloud. */
export class Neutron implements IpamProvider, Cloud {
  readonly type = "neutron";
  readonly #config: NeutronConfig;
  readonly #session: Session;
  /** The VM's port as it was read last, for the next change of its pairs. */
  #fresh: Port | undefined;

  /** Throws `Failure` (`config`, `io`). Nothing is asked yet. */
  constructor(config: NeutronConfig, session: Session = new Session(findCredentials(config))) {
    this.#config = config;
    this.#session = session;
  }

  async allocate(holder: Holder, ips: readonly string[], seat: Seat): Promise<Allocation> {
    const place = await this.#place(seat);
    const port = await this.#port(holder, ips, seat, place);
    try {
      const vlanId = seat.kind === "vlan" ? await addSubPort(this.#session, place.vm, port.id) : undefined;
      return this.#allocation(place, port, seat, vlanId);
    } catch (e) {
      return await this.#abandoned(port, asFailure(e, "use the port"));
    }
  }

  /** Gives a port back whose use failed, and throws that failure. */
  async #abandoned(port: Port, failure: Failure): Promise<never> {
    try {
      await giveBack(this.#session, port);
    } catch (e) {
      const second = asFailure(e, `give the port ${port.id} back`);
      throw new Failure(failure.reason, `${failure.message}. Then ${second.message}`, {
        cause: failure.cause,
        incomplete: true,
        ...(failure.advice === undefined ? {} : { advice: failure.advice }),
      });
    }
    throw failure;
  }

  async preview(holder: Holder, ips: readonly string[], seat: Seat): Promise<Allocation> {
    const place = await this.#place(seat);
    const wish = await this.#wish(holder, ips, seat, place);
    const used = new Set(
      (await listPorts(this.#session, { network_id: place.network.id }, "list the network's ports")).flatMap((p) =>
        p.fixed_ips.map((f) => f.ip_address),
      ),
    );
    const [subnet] = place.subnets;
    if (subnet === undefined) throw noSubnet(place.network);
    const asked = wish.fixed_ips?.flatMap((f) => f.ip_address ?? []) ?? [];
    const addresses = asked.length > 0 ? asked : [firstFree(subnet, used)];
    const port: Port = {
      id: "PORT",
      name: wish.name ?? "",
      network_id: place.network.id,
      mac_address: wish.mac_address ?? "fa:16:3e:00:00:01",
      fixed_ips: addresses.map((ip) => ({ ip_address: ip, subnet_id: subnetOf(place.subnets, ip)?.id ?? subnet.id })),
      description: wish.description ?? "",
      device_id: wish.device_id ?? "",
      device_owner: wish.device_owner ?? "",
      status: "",
      allowed_address_pairs: [],
      port_security_enabled: true,
    };
    const vlanId = seat.kind === "vlan" ? trunkOf(place.vm).sub_ports.length + 1 : undefined;
    const allocation = this.#allocation(place, port, seat, vlanId);
    const commands = explainPort(wish, place.vm, vlanId);
    return { ...allocation, ...(allocation.port === undefined ? {} : { port: { ...allocation.port, commands } }) };
  }

  async release(holder: Holder, ips: readonly string[] = [], known?: CloudPort): Promise<readonly string[]> {
    const port = await this.#find(holder, known);
    if (port === undefined) return [...ips];
    await this.remove({ ...pairsOf(port), port });
    return port.fixed_ips.map((f) => f.ip_address);
  }

  async quarantine(): Promise<boolean> {
    return false; // Neutron gives addresses: who else has one on its network has no port
  }

  async check(holder: Holder, ips: readonly string[], known?: CloudPort): Promise<void> {
    const port = await this.#find(holder, known);
    const what = `check the port of ${holder.network}/${holder.containerId}/${holder.ifName}`;
    const differs = (how: string): Failure =>
      new Failure("differs", `${what}: ${how}`, { advice: "Detach it and attach it again." });
    if (port === undefined) throw differs("it is gone");
    const has = port.fixed_ips.map((f) => f.ip_address);
    const lost = ips.filter((ip) => !has.includes(ip));
    if (lost.length > 0) throw differs(`${port.id} has ${has.join(", ")}, and not ${lost.join(", ")}`);
    if (known?.mac !== undefined && parseMac(port.mac_address) !== known.mac)
      throw differs(`${port.id} has the MAC ${port.mac_address}, and not ${known.mac}`);
  }

  async collect(network: string, valid: readonly Holder[]): Promise<readonly string[]> {
    const released: string[] = [];
    for (const stray of await this.strays(network, valid)) {
      await this.remove(stray);
      released.push(...(stray.port?.fixed_ips ?? []).map((f) => f.ip_address));
    }
    return released;
  }

  /** What the cloud keeps for containers of this VM that are not in `valid`. Throws `Failure`. */
  async strays(network: string, valid: readonly Holder[]): Promise<readonly Stray[]> {
    return await straysOf(this.#session, await this.#vmPorts(), network, valid);
  }

  /** Removes one of {@link strays}. Throws `Failure`. */
  async remove({ vmPort, port, pairs, user }: Stray): Promise<void> {
    if (pairs.length > 0) await wishPairs(this.#session, vmPort, { verb: "dismiss", pairs, user });
    if (port !== undefined) await giveBack(this.#session, port);
  }

  async status(network: string): Promise<void> {
    const doing = `serve network ${network}`;
    const [vm] = await this.#vmPorts();
    const wanted = this.#config.network ?? vm?.network_id;
    if (wanted === undefined) {
      throw new Failure("unavailable", `${doing}: no port of the project has the MAC of a NIC of this machine`, {
        advice: 'Name the port with "vmPort", and look whether the credentials are for the VM\'s project.',
      });
    }
    await findNetwork(this.#session, wanted);
    await checkQuota(this.#session, doing);
    if (
      vm !== undefined &&
      vm.port_security_enabled &&
      vm.allowed_address_pairs.length === USUAL_PAIRS &&
      this.#config.addressPairs === undefined
    ) {
      throw new Failure(
        "unavailable",
        `${doing}: the VM's port ${vm.id} has ${USUAL_PAIRS} address pairs, as many as most clouds allow`,
        {
          advice: "berth openstack show tells whose they are; berth gc removes those that nobody needs.",
        },
      );
    }
  }

  async admit(admission: Admission): Promise<void> {
    const { port, user, pairs } = admission;
    const known = this.#fresh?.id === port ? this.#fresh : undefined;
    this.#fresh = undefined;
    await wishPairs(this.#session, port, { verb: "admit", pairs, user }, known);
  }

  async dismiss({ port, user, pairs }: Admission): Promise<void> {
    this.#fresh = undefined;
    await wishPairs(this.#session, port, { verb: "dismiss", pairs, user });
  }

  async lacking({ port: id, pairs }: Admission): Promise<readonly AddressPair[]> {
    const port = await getPort(this.#session, id);
    if (port === undefined) return pairs;
    if (!port.port_security_enabled) return [];
    const there = port.allowed_address_pairs.map((p) => canonical(p, port.mac_address));
    return pairs.filter((pair) => !there.some((t) => t.mac === pair.mac && t.ip === pair.ip));
  }

  async #vmPorts(): Promise<readonly Port[]> {
    return await machinePorts(this.#session, this.#config.vmPort);
  }

  async #find(holder: Holder, known: CloudPort | undefined): Promise<Port | undefined> {
    if (known !== undefined) {
      const port = await getPort(this.#session, known.id);
      // one that was given back and taken by another is not this holder's
      return port !== undefined && isPortOf(port, holder) ? port : undefined;
    }
    return await findPortOf(
      this.#session,
      (await this.#vmPorts()).map((p) => p.id),
      holder,
    );
  }

  /** Which VM's port, network and subnets: three questions, of which two are asked at once. */
  async #place(seat: Seat): Promise<Place> {
    const { network: wanted, subnets: wantedSubnets, vmPort } = this.#config;
    const vm = await findVmPort(this.#session, {
      ...(vmPort === undefined ? {} : { vmPort }),
      mac: seat.parentMac,
      instance: instanceId(),
    });
    this.#fresh = vm;
    const id = wanted === undefined ? vm.network_id : isId(wanted) ? wanted : undefined;
    const [network, known] = await Promise.all([
      findNetwork(this.#session, wanted ?? vm.network_id),
      id === undefined ? undefined : subnetsOf(this.#session, id),
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
    const all = known ?? (await subnetsOf(this.#session, network.id));
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

  async #wish(holder: Holder, ips: readonly string[], seat: Seat, { vm, network, subnets }: Place): Promise<PortWish> {
    const config = this.#config;
    const configured = config.ip === undefined ? [] : [config.ip].flat();
    const asked = (ips.length > 0 ? ips : configured).map(bareIp);
    const mac = seat.mac ?? config.mac;
    const fixed =
      asked.length > 0
        ? asked.map((ip) => ({ ip_address: ip, ...subnetFor(subnets, ip) }))
        : config.subnets === undefined
          ? undefined
          : subnets.map((s) => ({ subnet_id: s.id }));
    const { extensions } = await this.#session.grant();
    const tagged = extensions.includes("tag-ports-during-bulk-creation");
    if (!tagged && (config.tags ?? []).length > 0) {
      throw new Failure("config", "tag the ports of containers: this cloud cannot tag a port that is being made", {
        advice: 'Remove "tags": ports are told by device_owner and device_id all the same.',
      });
    }
    const groups = await securityGroupIds(this.#session, config.securityGroups);
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

  async #port(holder: Holder, ips: readonly string[], seat: Seat, place: Place): Promise<Port> {
    const { port: named } = this.#config;
    const claim = claimOf(place.vm, holder, seat);
    if (named !== undefined) return await takeNamed(this.#session, named, claim);
    const wish = await this.#wish(holder, ips, seat, place);
    const block = this.#block(seat);
    const asked = wish.fixed_ips?.some((f) => f.ip_address !== undefined) === true;
    if (block === undefined || asked) return await makeOrTake(this.#session, wish, claim);
    const subnet = subnetOf(place.subnets, block.ip);
    if (subnet === undefined) {
      throw new Failure("config", `use addressPairs.cidr ${formatCidr(block)}: it is in no subnet of the network`, {
        advice: `The subnets are ${place.subnets.map((s) => s.cidr).join(", ")}.`,
      });
    }
    return await makeWithin(
      this.#session,
      wish,
      { block, subnetId: subnet.id },
      `create a port for ${wish.name ?? holder.containerId}`,
    );
  }

  /** The block that is let pass once for many. Throws `Failure` (`config`). */
  #block(seat: Seat): Cidr | undefined {
    const text = this.#config.addressPairs?.cidr;
    if (text === undefined) return undefined;
    if (seat.kind !== "ipvlan") {
      throw new Failure("config", `use addressPairs.cidr with kind ${seat.kind}: a pair is of one MAC`, {
        advice: "Use kind ipvlan: its containers have their parent's MAC.",
      });
    }
    const block = parseCidr(text);
    if (block === undefined) throw new Failure("config", `use addressPairs.cidr ${text}: it is no block of addresses`);
    return block;
  }

  #allocation({ vm, network, subnets }: Place, port: Port, seat: Seat, vlanId: number | undefined): Allocation {
    const mac = parseMac(port.mac_address) ?? port.mac_address;
    const ips: Lease[] = [];
    const used: Subnet[] = [];
    for (const { subnet_id: id, ip_address: text } of port.fixed_ips) {
      const subnet = subnets.find((s) => s.id === id);
      const [cidr, ip] = [parseCidr(subnet?.cidr ?? ""), parseIp(text)];
      if (subnet === undefined || cidr === undefined || ip === undefined) continue;
      used.push(subnet);
      ips.push({
        address: formatCidr({ ip, prefix: cidr.prefix }),
        ...(subnet.gateway_ip === null ? {} : { gateway: subnet.gateway_ip }),
      });
    }
    if (ips.length === 0) throw noSubnet(network);
    const admission = this.#admission(vm, port, seat);
    const { waitReachable = WAIT_S, requireReachable: required = false } = this.#config;
    return {
      ips,
      routes: routesOf(used),
      dns: dnsOf(used),
      port: {
        id: port.id,
        mtu: network.mtu === 0 ? Number.MAX_SAFE_INTEGER : network.mtu,
        ...(seat.kind === "ipvlan" ? {} : { mac }),
        ...(vlanId === undefined ? {} : { vlanId }),
        ...(admission === undefined ? {} : { admission }),
        ...(waitReachable === 0 ? {} : { reach: { timeoutMs: waitReachable * 1000, required } }),
      },
    };
  }

  /** What the VM's port has to let pass. A trunk's sub-port has a filter of its own. */
  #admission(vm: Port, port: Port, seat: Seat): Admission | undefined {
    if (seat.kind === "vlan" || !vm.port_security_enabled) return undefined;
    const own = parseMac(vm.mac_address) ?? vm.mac_address;
    const mac = seat.kind === "ipvlan" ? own : (parseMac(port.mac_address) ?? port.mac_address);
    const block = this.#block(seat);
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
}

function claimOf(vm: Port, holder: Holder, { kind }: Seat): Claim {
  return { vmPort: vm.id, holder, byTrunk: kind === "vlan" };
}

function bareIp(text: string): string {
  const ip = parseIp(text.replace(/\/.*/u, ""));
  if (ip !== undefined) return ip;
  throw new Failure("request", `give the address ${JSON.stringify(text)}: it is no IP address`, {
    advice: "Write it as 192.168.0.7.",
  });
}

function subnetOf(subnets: readonly Subnet[], ip: string): Subnet | undefined {
  return subnets.find((s) => {
    const cidr = parseCidr(s.cidr);
    return cidr !== undefined && contains(cidr, ip);
  });
}

function subnetFor(subnets: readonly Subnet[], ip: string): { subnet_id?: string } {
  const subnet = subnetOf(subnets, ip);
  return subnet === undefined ? {} : { subnet_id: subnet.id };
}

function noSubnet({ name, id }: Network): Failure {
  return new Failure("config", `use the network ${name === "" ? id : name}: it has no subnet to give an address of`, {
    advice: "openstack subnet create --network NETWORK --subnet-range CIDR NAME",
  });
}

/** The first address of a subnet's pools that no port has which can be seen. */
function firstFree(subnet: Subnet, used: ReadonlySet<string>): string {
  const free = subnet.allocation_pools.map((p) => p.start).find((ip) => !used.has(ip));
  return free ?? subnet.allocation_pools[0]?.start ?? subnet.cidr.replace(/\/.*/u, "");
}

/** A default route by the first gateway of each family, and what the subnets name. */
function routesOf(subnets: readonly Subnet[]): RouteSpec[] {
  const routes: RouteSpec[] = [];
  for (const family of [4, 6] as const) {
    const gateway = subnets.map((s) => s.gateway_ip).find((g) => g !== null && ipFamily(g) === family);
    if (gateway !== undefined && gateway !== null)
      routes.push({ dst: family === 4 ? "0.0.0.0/0" : "::/0", gw: gateway });
  }
  for (const { destination: dst, nexthop: gw } of subnets.flatMap((s) => s.host_routes)) routes.push({ dst, gw });
  return routes;
}

function dnsOf(subnets: readonly Subnet[]): Dns {
  const nameservers = [...new Set(subnets.flatMap((s) => s.dns_nameservers))];
  return nameservers.length === 0 ? {} : { nameservers };
}

/** The commands that would make the port. */
function explainPort(wish: PortWish, vm: Port, vlanId: number | undefined): string[] {
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
