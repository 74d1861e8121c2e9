// Addresses of a cloud's subnets: each is a port that is made when Docker asks for an address, and that the container's
// attachment takes when it comes. Nothing here takes a lock of the host, so that requests need not wait for each other.
import { contains, formatCidr, networkOf, parseCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import {
  blockOf,
  checkGateway,
  type CloudPool,
  type CloudWish,
  releaseIn,
  releaseMade,
  reserveIn,
  subnetFor,
} from "./cloud.ts";
import type { Message } from "./messages.ts";
import { type Grant, newGrant, type Pool, type State } from "./state.ts";

/** Where a network's gateway stands in RequestPool's answer (libnetwork netlabel/labels.go). */
const GATEWAY = "com.docker.network.gateway";

/** A block that Docker takes for none (libnetwork types, IsIPNetValid). */
const ANY = "0.0.0.0/0";

/** What is reserved in a cloud, as one text: as reservations of host-local are. */
export function cloudReservation({ network }: CloudPool, ip: string): string {
  return `neutron:${network} ${ip}`;
}

/** The cloud's part of the IPAM driver. The methods throw `Failure`. */
export class CloudAddresses {
  readonly #state: State;
  /** Pools that were asked for and are no network's yet, by their blocks. */
  readonly #asked = new Map<string, CloudPool>();

  constructor(state: State) {
    this.#state = state;
  }

  /** The subnet that a pool is; undefined for a pool of this host's own. A pool may become a cloud's when its network is created. */
  subnetOf(pool: Pool): CloudPool | undefined {
    if (pool.cloud !== undefined) return pool.cloud;
    for (const { cloud } of this.#state.networks.values()) {
      const subnet = cloud?.subnets[pool.pool];
      if (cloud !== undefined && subnet !== undefined) {
        return { network: cloud.network, subnet, ...(cloud.cloud === undefined ? {} : { cloud: cloud.cloud }) };
      }
    }
    return undefined;
  }

  /** The subnet that was asked for as a pool of this block. */
  askedFor(block: string): CloudPool | undefined {
    return this.#asked.get(block);
  }

  /** IpamDriver.RequestPool: the subnet that is named, or the network's of the family. */
  async requestPool(request: Message<"RequestPool">, wish: CloudWish): Promise<unknown> {
    const subnet = await subnetFor(wish, parseCidr(request.Pool), request.V6);
    const block = formatCidr(blockOf(subnet));
    const cloud: CloudPool = {
      network: subnet.network_id,
      subnet: subnet.id,
      ...(wish.cloud === undefined ? {} : { cloud: wish.cloud }),
    };
    this.#asked.set(block, cloud);
    const range = parseCidr(request.SubPool);
    if (range !== undefined && !contains(blockOf(subnet), range.ip))
      throw new Failure("config", `allocate from ${request.SubPool}: it is not within ${block}`);
    const part = range === undefined ? {} : { range: formatCidr(networkOf(range)) };
    const id: Pool = { network: "neutron", pool: block, ...part, cloud };
    const gateway = subnet.gateway_ip === null ? undefined : parseIp(subnet.gateway_ip);
    const { prefix } = blockOf(subnet);
    const Data = gateway === undefined ? {} : { [GATEWAY]: `${gateway}/${prefix}` };
    // Docker asks again, and for ever, for another block than one that the host has a route to, unless it named it itself
    const Pool = request.Pool === "" && !request.V6 ? ANY : block;
    return { PoolID: JSON.stringify(id), Pool, Data };
  }

  /** Refuses a gateway other than the subnet's. */
  async checkGateway(pool: Pool, gateway: string): Promise<void> {
    const { cloud, network, subnet } = pool.cloud ?? {};
    if (network === undefined || subnet === undefined) return;
    const wish = { network, subnet, subnet6: subnet, ...(cloud === undefined ? {} : { cloud }) };
    checkGateway(await subnetFor(wish, undefined, gateway.includes(":")), gateway);
  }

  /** Reserves an address; one that an endpoint has is answered again, as dockerd that was started again asks for it. */
  async reserve(pool: Pool, cloud: CloudPool, asked: string | undefined): Promise<string> {
    const grant = newGrant({ ...pool, cloud });
    if (asked !== undefined && this.#state.isReserved(cloudReservation(cloud, asked))) return asked;
    this.#state.grants.set(grant); // a process that is killed leaves what its successor gives back
    try {
      const { ip, port } = await reserveIn(cloud, { ip: asked, within: parseCidr(pool.range ?? "") }, grant.id);
      this.#state.grants.set({ ...grant, ip, port });
      return ip;
    } catch (e) {
      this.#state.grants.delete(grant.id);
      throw e;
    }
  }

  /** Gives an address back, unless an endpoint has it. */
  async release(cloud: CloudPool, ip: string): Promise<void> {
    const reservation = cloudReservation(cloud, ip);
    if (this.#state.isReserved(reservation)) return;
    for (const grant of this.#state.grants.values()) {
      const own = grant.pool.cloud;
      if (own !== undefined && grant.ip === ip && cloudReservation(own, ip) === reservation)
        this.#state.grants.delete(grant.id);
    }
    await releaseIn(cloud, ip);
  }

  /** Gives back what was granted and never claimed. */
  async abandon(grant: Grant, cloud: CloudPool): Promise<void> {
    if (grant.ip === undefined) await releaseMade(cloud, grant.id);
    else await releaseIn(cloud, grant.ip);
  }

  /** Refuses a block that is another network's of this host: where its addresses come from would be unclear. */
  refuseShared(block: string, inCloud: boolean): void {
    const other = this.#state.networks
      .values()
      .find((n) => n.pools.includes(block) && (n.cloud !== undefined) !== inCloud);
    if (other === undefined) return;
    throw new Failure(
      "config",
      `use the subnet ${block}: the network ${other.name} has it ${inCloud ? "outside" : "in"} a cloud`,
      {
        advice: "Remove that network first.",
      },
    );
  }
}
