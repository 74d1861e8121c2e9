// IPAM type neutron: each attachment has a port of its own on the network of the virtual machine that Berth runs in.
import { type Cidr, formatCidr, parseCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";
import type { Allocation, CloudPort, Holder, IpamProvider, Lease, Seat } from "../ipam/provider.ts";
import type { AddressPair, Admission, Cloud } from "../plan/cloud.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { canonical, wishPairs } from "./address-pairs.ts";
import { admissionOf } from "./admission.ts";
import { findPortOf, giveBack, makeOrTake, makeWithin, takeNamed } from "./container-port.ts";
import { findCredentials } from "./credentials.ts";
import { isPortOf } from "./mark.ts";
import { findNetwork, type Subnet } from "./networks.ts";
import type { NeutronConfig } from "./neutron-config.ts";
import { findPlace, type Place } from "./place.ts";
import { claimOf, wishFor } from "./port-wish.ts";
import { getPort, listPorts, type Port } from "./ports.ts";
import { checkQuota } from "./quota.ts";
import { Session } from "./session.ts";
import { pairsOf, type Stray, straysOf } from "./strays.ts";
import { dnsOf, noSubnet, routesOf, subnetOf } from "./subnets.ts";
import { addSubPort, trunkOf } from "./trunks.ts";
import { machinePorts } from "./virtual-machine.ts";

/** How long ADD waits for the gateway where the configuration does not say, seconds. */
const WAIT_S = 5;
/** Neutron's default of `max_allowed_address_pair`: the cloud does not tell its own. */
const USUAL_PAIRS = 10;

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
    const wish = await wishFor(this.#session, this.#config, { holder, ips, seat }, place);
    const used = new Set(
      (await listPorts(this.#session, { network_id: place.network.id }, "list the network's ports")).flatMap((p) =>
        p.fixed_ips.map((f) => f.ip_address),
      ),
    );
    const { explainPort, imagined } = await import("./explain-port.ts"); // of no use to an ADD
    const port = imagined(wish, place, used);
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

  async #place(seat: Seat): Promise<Place> {
    const place = await findPlace(this.#session, this.#config, seat);
    this.#fresh = place.vm;
    return place;
  }

  async #port(holder: Holder, ips: readonly string[], seat: Seat, place: Place): Promise<Port> {
    const { port: named } = this.#config;
    const claim = claimOf(place.vm, holder, seat);
    if (named !== undefined) return await takeNamed(this.#session, named, claim);
    const wish = await wishFor(this.#session, this.#config, { holder, ips, seat }, place);
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
    const admission = admissionOf(vm, port, seat, this.#block(seat));
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
}
