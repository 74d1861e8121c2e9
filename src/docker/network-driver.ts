// libnetwork's remote network driver protocol, translated into attachments.
//
// Docker asks for a link on the host (Join), and moves it into the container's namespace when that comes to be, renames it
// there and gives it its addresses, its gateway and the routes that Join named; it never says when it is done. So the
// host's part of an attachment and the link are made at Join, and the container's part when the link is seen to be there.
import { contains, parseCidr } from "../address/cidr.ts";
import { type Family, ipFamily } from "../address/ip.ts";
import { parseMac, randomMac } from "../address/mac.ts";
import { delegateFor } from "../attachment/allocation.ts";
import { attach } from "../attachment/attach.ts";
import type { NetworkConfig } from "../attachment/config.ts";
import { readConfig } from "../attachment/config-issues.ts";
import { detach } from "../attachment/detach.ts";
import { expectBack, expectThere } from "../attachment/handover.ts";
import type { Key } from "../attachment/key.ts";
import { type AttachmentRecord, recordsOf } from "../attachment/record.ts";
import { configOf } from "../attachment/recorded-config.ts";
import { choosesMac, kindOf, subInterfaceOf } from "../attachment/sub-interface.ts";
import { randomBytes } from "../kernel/libc.ts";
import { processNamespacePath } from "../kernel/namespaces.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { concealPorts, exposePorts, portOf, releaseIn } from "./cloud.ts";
import { cloudOf, exposedOf, inCloud, notReserved } from "./cloud-network.ts";
import type { Deliveries } from "./deliveries.ts";
import type { IpamDriver } from "./ipam-driver.ts";
import type { Message } from "./messages.ts";
import { type DockerNetwork, networkOf, wishOf } from "./options.ts";
import type { DockerEndpoint, State } from "./state.ts";

/** A link's name on the host: unique, and within 15 characters. */
function hostName(endpoint: string): string {
  return `berth${Bun.hash.xxHash64(endpoint).toString(36).padStart(13, "0").slice(-10)}`;
}

/** The network half of the plugin. The methods throw `Failure`. */
export class NetworkDriver {
  readonly #state: State;
  readonly #ipam: IpamDriver;
  readonly #deliveries: Deliveries;

  constructor(state: State, ipam: IpamDriver, deliveries: Deliveries) {
    this.#state = state;
    this.#ipam = ipam;
    this.#deliveries = deliveries;
  }

  /** NetworkDriver.GetCapabilities: a network is this host's own (docker/libnetwork docs/remote.md). */
  capabilities(): unknown {
    return { Scope: "local", ConnectivityScope: "global" };
  }

  /** NetworkDriver.CreateNetwork: keeps what the network is, makes nothing yet. Throws `Failure` (`config`, `decode`, `io`). */
  async createNetwork(request: Message<"CreateNetwork">): Promise<unknown> {
    const network = networkOf(request);
    const asked = network.pools.map((block) => this.#ipam.cloud.askedFor(block)).find((pool) => pool !== undefined);
    const wish = wishOf(request) ?? (asked === undefined ? undefined : { network: asked.network, ...cloudOf(asked) });
    for (const block of network.pools) this.#ipam.cloud.refuseShared(block, wish !== undefined);
    this.#state.networks.set(wish === undefined ? network : await inCloud(network, wish, request));
    return {};
  }

  /** NetworkDriver.DeleteNetwork; of one that is not known too. Throws `Failure`, `SysError`. */
  async deleteNetwork({ NetworkID }: Message<"DeleteNetwork">): Promise<unknown> {
    const network = this.#state.networks.get(NetworkID);
    if (network === undefined) return {};
    // Docker deletes no network that has endpoints: those that are left it removed while the driver was away
    for (const endpoint of this.#state.endpoints.values()) {
      if (endpoint.network === NetworkID) await this.#remove(network, endpoint);
    }
    this.#state.networks.delete(NetworkID);
    return {};
  }

  /** Removes a network that Docker removed while the driver was away, with all that was reserved for it. Throws `Failure`, `SysError`. */
  async forget(id: string): Promise<void> {
    const network = this.#state.networks.get(id);
    if (network === undefined) return;
    for (const endpoint of this.#state.endpoints.values()) {
      if (endpoint.network !== id) continue;
      await this.#remove(network, endpoint);
      await this.#release(network, endpoint);
    }
    this.#state.networks.delete(id);
    this.#ipam.releaseAside(network);
  }

  /** NetworkDriver.CreateEndpoint: keeps the addresses, chooses the MAC where Docker did not. Throws `Failure` (`config`, `address`, `missing`). */
  async createEndpoint(request: Message<"CreateEndpoint">): Promise<unknown> {
    const network = this.#network(request.NetworkID);
    const asked = request.Interface ?? { Address: "", AddressIPv6: "", MacAddress: "" };
    const addresses = [asked.Address, asked.AddressIPv6].filter((text) => text !== "");
    const detail = detailOf(readConfig(network.config));
    const given = parseMac(asked.MacAddress);
    if (given !== undefined && !choosesMac(detail)) {
      throw new Failure("config", `give a container the MAC ${given}: the network's links have their parent's`, {
        advice: "Leave --mac-address out.",
      });
    }
    const claims = addresses.flatMap((address) => {
      const ip = parseCidr(address)?.ip ?? "";
      if (network.reserved.includes(ip)) {
        throw new Failure("address", `give a container ${ip}: it is set aside as the network's gateway or for another`);
      }
      const same = this.#state.endpoints.values().find((e) => e.network === network.id && hasAddress(e, ip));
      if (same !== undefined && same.id !== request.EndpointID)
        throw new Failure("address", `give a container ${ip}: another of the network has it`);
      return this.#ipam.claim(ip, network.cloud !== undefined) ?? [];
    });
    const ports = claims.flatMap((claim) => claim.port ?? []);
    if (network.cloud !== undefined && ports.length < addresses.length) throw notReserved(addresses);
    const { cloud } = network.cloud ?? {};
    const port = network.cloud === undefined ? undefined : await portOf(cloud, ports, request.EndpointID, given);
    const own = port?.mac ?? (detail.kind === "vlan" ? undefined : randomMac(randomBytes(6)));
    const mac = given ?? (choosesMac(detail) ? own : undefined);
    const exposed = port === undefined ? [] : exposedOf(request.Options);
    this.#state.endpoints.set({
      version: 1,
      id: request.EndpointID,
      network: network.id,
      addresses,
      reservations: claims.map((claim) => claim.reservation),
      ...(mac === undefined ? {} : { mac }),
      ...(port === undefined ? {} : { port }),
      ...(exposed.length === 0 ? {} : { exposed }),
    });
    // what the request has, the answer must not have
    return { Interface: given === undefined && mac !== undefined ? { MacAddress: mac } : {} };
  }

  /** NetworkDriver.Join: the host's part of the attachment and the link, for Docker to move. Throws `Failure`, `SysError`. */
  async join(request: Message<"Join">): Promise<unknown> {
    const { network, endpoint } = this.#endpoint(request);
    const name = hostName(endpoint.id);
    const key: Key = { network: network.name, containerId: endpoint.id, ifName: name };
    for (const record of recordsOf(key.network, key.containerId)) await undo(record, endpoint);
    const json = { ...network.config, ipam: ipamOf(network, endpoint) };
    const config = readConfig(json);
    const netns = processNamespacePath(process.pid);
    await attach({
      key,
      kind: kindOf(config, ""),
      netns,
      config,
      mac: endpoint.port === undefined ? endpoint.mac : undefined, // a port has its own
      ips: [],
      delegate: delegateFor(JSON.stringify(json), config.cniVersion, key, netns),
      handedOver: true,
    });
    try {
      const { port, exposed = [] } = endpoint;
      if (port !== undefined && exposed.length > 0) await exposePorts(network.cloud?.cloud, endpoint.id, port, exposed);
      this.#state.endpoints.set({ ...endpoint, sandbox: request.SandboxKey });
    } catch (e) {
      await this.#conceal(network, endpoint);
      for (const record of recordsOf(key.network, key.containerId)) await undo(record, endpoint);
      throw e;
    }
    this.#deliveries.expect({ key, endpoint: endpoint.id, sandbox: request.SandboxKey });
    const families = familiesOf(endpoint.addresses);
    const gateway = families.has(4) ? (network.gateway ?? "") : "";
    const gateway6 = families.has(6) ? (network.gateway6 ?? "") : "";
    return {
      InterfaceName: { SrcName: name, DstPrefix: network.prefix },
      Gateway: gateway,
      GatewayIPv6: gateway6,
      // in the main table they would keep the container from networks with such an address (libnetwork, checkRouteConflict)
      StaticRoutes: [],
      // or Docker gives the container a second network, with a way out by NAT
      DisableGatewayService: gateway === "" && gateway6 === "",
    };
  }

  /** NetworkDriver.Leave: Docker takes the link back to the host. Throws `Failure` (`io`). */
  leave(request: Message<"Leave">): unknown {
    this.#deliveries.forget(request.EndpointID);
    const endpoint = this.#state.endpoints.get(request.EndpointID);
    const network = endpoint === undefined ? undefined : this.#state.networks.get(endpoint.network);
    if (endpoint === undefined || network === undefined) return {};
    // Docker moves the link back to the host before it asks for the endpoint to be deleted
    for (const record of recordsOf(network.name, endpoint.id)) expectAnywhere(record, endpoint);
    const { sandbox: _, ...left } = endpoint;
    this.#state.endpoints.set(left);
    return {};
  }

  /** NetworkDriver.DeleteEndpoint; of one that is not known too. Throws `Failure`, `SysError`. */
  async deleteEndpoint(request: Message<"DeleteEndpoint">): Promise<unknown> {
    const endpoint = this.#state.endpoints.get(request.EndpointID);
    const network = this.#state.networks.get(endpoint?.network ?? request.NetworkID);
    if (endpoint !== undefined) await this.#remove(network, endpoint);
    return {};
  }

  /** NetworkDriver.EndpointOperInfo: what `docker network inspect` may show. Throws `Failure` (`missing`). */
  operInfo(request: Message<"EndpointOperInfo">): unknown {
    const { network, endpoint } = this.#endpoint(request);
    const [record] = recordsOf(network.name, endpoint.id);
    if (record === undefined) return { Value: {} };
    const value = { kind: record.kind, parent: record.parent, interface: record.key.ifName, mac: endpoint.mac ?? "" };
    return { Value: Object.fromEntries(Object.entries(value).map(([k, text]) => [`berth.${k}`, text])) };
  }

  /**
   * Goes on where a former process ended: links that are under way are looked for again, attachments whose container is
   * gone are undone, as Docker could say so to nobody. Everything is tried; `failed` gets what could not be done.
   */
  async resume(failed: (failure: Failure) => void): Promise<void> {
    for (const endpoint of this.#state.endpoints.values()) {
      const network = this.#state.networks.get(endpoint.network);
      if (endpoint.sandbox === undefined || network === undefined) continue;
      try {
        const key: Key = { network: network.name, containerId: endpoint.id, ifName: hostName(endpoint.id) };
        const gone = await this.#deliveries.resume({
          key,
          endpoint: endpoint.id,
          sandbox: endpoint.sandbox,
        });
        if (!gone) continue;
        await this.#remove(network, endpoint);
        await this.#release(network, endpoint);
      } catch (e) {
        failed(asFailure(e, `resume endpoint ${endpoint.id}`));
      }
    }
  }

  /** Undoes whatever an endpoint has, and forgets it. */
  async #remove(network: DockerNetwork | undefined, endpoint: DockerEndpoint): Promise<void> {
    this.#deliveries.forget(endpoint.id);
    for (const record of network === undefined ? [] : recordsOf(network.name, endpoint.id))
      await undo(record, endpoint);
    await this.#conceal(network, endpoint);
    this.#state.endpoints.delete(endpoint.id);
  }

  async #conceal(network: DockerNetwork | undefined, { id, port, exposed = [] }: DockerEndpoint): Promise<void> {
    if (port !== undefined && exposed.length > 0) await concealPorts(network?.cloud?.cloud, id, port);
  }

  /** Gives back the addresses of an endpoint that is removed, as Docker cannot do so itself any more. */
  async #release({ cloud }: DockerNetwork, { reservations, addresses }: DockerEndpoint): Promise<void> {
    this.#ipam.releaseReservations(reservations);
    if (cloud === undefined) return;
    for (const address of addresses) await releaseIn(cloud, parseCidr(address)?.ip ?? address);
  }

  #network(id: string): DockerNetwork {
    const network = this.#state.networks.get(id);
    if (network !== undefined) return network;
    throw new Failure("missing", `find Docker's network ${id}: it is not known here`, {
      advice: "Remove the network and create it anew: what the driver knew of it is lost.",
    });
  }

  #endpoint({ EndpointID, NetworkID }: { readonly EndpointID: string; readonly NetworkID: string }): {
    network: DockerNetwork;
    endpoint: DockerEndpoint;
  } {
    const network = this.#network(NetworkID);
    const endpoint = this.#state.endpoints.get(EndpointID);
    if (endpoint !== undefined && endpoint.network === network.id) return { network, endpoint };
    throw new Failure("missing", `find endpoint ${EndpointID} of network ${NetworkID}: it is not known here`);
  }
}

function detailOf(config: NetworkConfig): ReturnType<typeof subInterfaceOf> {
  return subInterfaceOf(config, kindOf(config, ""));
}

function hasAddress(endpoint: DockerEndpoint, ip: string): boolean {
  return endpoint.addresses.some((address) => parseCidr(address)?.ip === ip);
}

function familiesOf(addresses: readonly string[]): ReadonlySet<Family> {
  return new Set(addresses.map((a) => ipFamily(a.replace(/\/.*/u, ""))));
}

/** The addresses were reserved before, by whatever IPAM the network has: the attachment just has them. */
function ipamOf(network: DockerNetwork, { addresses, port }: DockerEndpoint): Record<string, unknown> {
  if (network.cloud !== undefined && port !== undefined) {
    const { network: id, subnets } = network.cloud;
    // nothing can be asked from the container's place before it exists
    const fixed = { type: "neutron", network: id, subnets: Object.values(subnets), port: port.id, waitReachable: 0 };
    return { ...fixed, ...cloudOf(network.cloud) };
  }
  if (addresses.length === 0) return {};
  const families = familiesOf(addresses);
  const gateways = [network.gateway, network.gateway6].flatMap((ip) =>
    ip !== undefined && families.has(ipFamily(ip)) ? [ip] : [],
  );
  return {
    type: "static",
    routes: gateways.map((gw) => ({ dst: ipFamily(gw) === 4 ? "0.0.0.0/0" : "::/0", gw })),
    addresses: addresses.map((address) => {
      const cidr = parseCidr(address);
      const gateway = gateways.find((ip) => cidr !== undefined && contains(cidr, ip));
      return { address, ...(gateway === undefined ? {} : { gateway }) };
    }),
  };
}

/** Docker moves the link between host and container without a word: it may be in either by now. */
function expectAnywhere(record: AttachmentRecord, { id, sandbox }: DockerEndpoint): void {
  if (record.inTransit !== true) expectBack(record, hostName(id));
  else if (sandbox !== undefined) expectThere(record, sandbox);
}

/** Detaches, wherever the link is by now. */
async function undo(record: AttachmentRecord, endpoint: DockerEndpoint): Promise<void> {
  expectAnywhere(record, endpoint);
  const config = configOf(record);
  await detach({
    key: record.key,
    netns: undefined,
    config,
    knownIps: [],
    delegate: delegateFor(record.config, config.cniVersion, record.key, undefined),
  });
}
