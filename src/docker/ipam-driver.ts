// libnetwork's remote IPAM protocol: pools and addresses, from the same reservations as CNI's host-local.
//
// A pool's id, which Docker keeps and sends with every request, says all about the pool: nothing is kept here.
import * as v from "valibot";
import { contains, formatCidr, lastOf, networkOf, parseCidr } from "../address/cidr.ts";
import { ipFamily, ipFromBigInt, ipToBigInt, parseIp } from "../address/ip.ts";
import { DATA_DIR, HostLocal, type HostLocalConfig } from "../ipam/host-local.ts";
import type { Holder } from "../ipam/provider.ts";
import { Reservations } from "../ipam/reservations.ts";
import { listAddresses } from "../kernel/addresses.ts";
import { Netlink } from "../kernel/netlink.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { cloudOptionNames, cloudWishOf, type EndpointPort, knowsCloud } from "./cloud.ts";
import { CloudAddresses, cloudReservation } from "./cloud-addresses.ts";
import { type Message, readMessage } from "./messages.ts";
import type { DockerNetwork } from "./options.ts";
import { ageOf, cloudPool, type Grant, newGrant, type Pool, type State } from "./state.ts";

/** What is reserved for Docker has this before what tells it apart, in the place of a container id. */
const HOLDER = "docker:";
const REQUEST_TYPE = "RequestAddressType";
const GATEWAY = "com.docker.network.gateway";

const PoolId = v.object({
  network: v.string(),
  pool: v.pipe(
    v.string(),
    v.check((text) => parseCidr(text) !== undefined),
  ),
  range: v.exactOptional(
    v.pipe(
      v.string(),
      v.check((text) => parseCidr(text) !== undefined),
    ),
  ),
  dataDir: v.exactOptional(v.pipe(v.string(), v.regex(/^\/[^\0]*$/u))),
  cloud: v.exactOptional(cloudPool),
});

function poolOf(id: string): Pool {
  try {
    return v.parse(PoolId, JSON.parse(id));
  } catch (e) {
    throw new Failure("request", `find the pool ${JSON.stringify(id.slice(0, 200))}: it is none of Berth's`, {
      advice: "Create the network anew, with --ipam-driver berth.",
      cause: e,
    });
  }
}

/** Whether a pool shall be a subnet of a cloud's: where it is named, and where none is and there is a cloud. */
function asksForCloud({ Options, Pool: block }: Message<"RequestPool">): boolean {
  return cloudWishOf(textsOf(Options)) !== undefined || (block === "" && knowsCloud());
}

function textsOf(options: Message<"RequestPool">["Options"]): ReadonlyMap<string, string> {
  const names = Object.keys(options ?? {}).filter((name) => cloudOptionNames.includes(name));
  return new Map(names.flatMap((name) => [[name, textOption(options, name) ?? ""] as const]));
}

function textOption(options: Message<"RequestPool">["Options"], name: string): string | undefined {
  const value = options?.[name];
  if (value === undefined || value === "") return undefined;
  if (typeof value === "string") return value;
  throw new Failure("config", `use the IPAM option ${name}: its value is no text`);
}

/** The state of pools that name no network: one for each subnet. A colon would be read as part of an id elsewhere. */
function defaultName(pool: string): string {
  return `docker-${pool.replaceAll(":", "_").replace("/", "-")}`;
}

/** An address that nobody claimed in this time is given back when the driver starts, seconds. */
const UNCLAIMED_S = 600;

/** The IPAM half of the plugin. The methods throw `Failure`. */
export class IpamDriver {
  readonly #state: State;
  /** What is a cloud's. */
  readonly cloud: CloudAddresses;
  /** Addresses that were Docker's already when it asked for them, and their reservations. */
  readonly #again = new Map<string, string>();

  constructor(state: State) {
    this.#state = state;
    this.cloud = new CloudAddresses(state);
  }

  /** Gives back what a former process reserved and could not tell Docker of, or Docker could not give back meanwhile. */
  async tidy(failed: (failure: Failure) => void): Promise<void> {
    const aside = new Set(this.#state.networks.values().flatMap((n) => n.reserved));
    for (const grant of this.#state.grants.values()) {
      if (grant.ip !== undefined && (aside.has(grant.ip) || ageOf(grant) < UNCLAIMED_S)) continue;
      const holder = { network: grant.pool.network, containerId: `${HOLDER}${grant.id}`, ifName: "docker" };
      if (grant.pool.cloud !== undefined) {
        try {
          await this.cloud.abandon(grant, grant.pool.cloud);
        } catch (e) {
          failed(asFailure(e, `give back ${grant.ip ?? "an address"} of a cloud's`));
          continue; // at the next start
        }
      } else if (grant.ip === undefined) await this.#provider(grant.pool, undefined).release(holder);
      else this.#giveBack(grant.pool, grant.ip);
      this.#state.grants.delete(grant.id);
    }
  }

  /** Gives back what was set aside for a network that is gone: its gateways, and addresses for others than containers. */
  releaseAside({ pools, reserved }: DockerNetwork): void {
    for (const { id, ip, pool } of this.#state.grants.values()) {
      if (ip === undefined || !pools.includes(pool.pool) || !reserved.includes(ip)) continue;
      if (this.#state.networks.values().some((n) => n.pools.includes(pool.pool) && n.reserved.includes(ip))) continue;
      this.#giveBack(pool, ip);
      this.#state.grants.delete(id);
    }
  }

  /** Gives an address back that is Docker's. */
  #giveBack(pool: Pool, ip: string): void {
    const reservations = this.#reservations(pool);
    using lock = reservations.lockIfPresent();
    if (lock === undefined) return;
    const holder = reservations.holderOf(ip);
    if (holder?.startsWith(HOLDER) === true) reservations.release(ip);
    else if (holder === undefined) reservations.tidy(); // it may have been released by half
  }

  /** IpamDriver.GetCapabilities (docker/libnetwork docs/ipam.md). */
  capabilities(): unknown {
    // no MAC: an ipvlan could not take it. Replay: dockerd says again at its start what it believes to be reserved
    return { RequiresMACAddress: false, RequiresRequestReplay: true };
  }

  /** IpamDriver.GetDefaultAddressSpaces: one for all, as a LAN is one for all hosts. */
  addressSpaces(): unknown {
    return { LocalDefaultAddressSpace: "berth", GlobalDefaultAddressSpace: "berth" };
  }

  /** Whether a call is answered by a cloud, and takes no lock of the host: it need not wait for others. */
  asksCloud(path: string, body: string): boolean {
    if (!path.startsWith("/IpamDriver.R")) return false;
    try {
      if (path === "/IpamDriver.RequestPool") return asksForCloud(readMessage("RequestPool", JSON.parse(body)));
      return this.cloud.subnetOf(poolOf(readMessage("ReleasePool", JSON.parse(body)).PoolID)) !== undefined;
    } catch {
      return false; // the call itself says what is wrong
    }
  }

  /** IpamDriver.RequestPool: the pool's id is all that there is to know of it, as JSON. Throws `Failure` (`config`). */
  async requestPool(request: Message<"RequestPool">): Promise<unknown> {
    if (asksForCloud(request))
      return await this.cloud.requestPool(request, cloudWishOf(textsOf(request.Options)) ?? {});
    return this.#localPool(request);
  }

  #localPool(request: Message<"RequestPool">): unknown {
    for (const name of Object.keys(request.Options ?? {})) {
      if (name === "network" || name === "data_dir" || name.startsWith("com.docker.")) continue;
      throw new Failure("config", `use the IPAM option ${name}: there is no such option`, {
        advice: `The options are network (whose reservations are shared), data_dir (where they are), ${cloudOptionNames.join(", ")}.`,
      });
    }
    const cidr = parseCidr(request.Pool);
    if (cidr === undefined) {
      throw new Failure("config", "choose a subnet: the network names none", {
        advice:
          "Give the LAN's own: --subnet 192.168.122.0/24, and a part of it that is yours: --ip-range. In a cloud's machine none is needed where its credentials are found (clouds.yaml, or the environment of berth docker).",
      });
    }
    const pool = formatCidr(networkOf(cidr));
    const range = parseCidr(request.SubPool);
    if (range !== undefined && (!contains(cidr, range.ip) || range.prefix < cidr.prefix))
      throw new Failure("config", `allocate from ${request.SubPool}: it is not within ${pool}`);
    const dataDir = textOption(request.Options, "data_dir");
    const id: Pool = {
      network: textOption(request.Options, "network") ?? defaultName(pool),
      pool,
      ...(range === undefined ? {} : { range: formatCidr(networkOf(range)) }),
      ...(dataDir === undefined ? {} : { dataDir }),
    };
    poolOf(JSON.stringify(id));
    void new Reservations(dataDir ?? DATA_DIR, id.network); // refuses a name that is none
    void this.#provider(id, undefined); // refuses a subnet that is too small
    return { PoolID: JSON.stringify(id), Pool: pool, Data: {} };
  }

  /** IpamDriver.ReleasePool: nothing is kept for a pool. Throws `Failure` where the id is none of ours. */
  releasePool(request: Message<"ReleasePool">): unknown {
    poolOf(request.PoolID);
    return {};
  }

  /** IpamDriver.RequestAddress: reserves in the state that `host-local` has. Throws `Failure` (`address`, `config`, `io`). */
  async requestAddress(request: Message<"RequestAddress">): Promise<unknown> {
    const pool = poolOf(request.PoolID);
    const { prefix } = parseCidr(pool.pool) ?? { prefix: 0 };
    const asked = parseIp(request.Address);
    const isGateway = request.Options?.[REQUEST_TYPE] === GATEWAY;
    const cloud = this.cloud.subnetOf(pool);
    if (cloud === undefined || (isGateway && pool.cloud === undefined))
      return await this.#localAddress(request, pool, asked);
    if (!isGateway) return { Address: `${await this.cloud.reserve(pool, cloud, asked)}/${prefix}`, Data: {} };
    if (asked !== undefined) await this.cloud.checkGateway(pool, asked);
    return { Address: `${asked ?? firstOf(pool.pool)}/${prefix}`, Data: {} };
  }

  async #localAddress(request: Message<"RequestAddress">, pool: Pool, asked: string | undefined): Promise<unknown> {
    const { prefix } = parseCidr(pool.pool) ?? { prefix: 0 };
    if (request.Options?.[REQUEST_TYPE] === GATEWAY) {
      const gateway = asked ?? firstOf(pool.pool);
      return { Address: `${this.#gateway(pool, gateway)}/${prefix}`, Data: {} };
    }
    // dockerd that was started again says what it has, and so does one that got no answer
    const held = asked === undefined ? undefined : this.#holderOf(pool, asked);
    if (asked !== undefined && held?.startsWith(HOLDER) === true) {
      // a second container with this address is refused as an endpoint
      this.#again.set(asked, reservationOf(pool, asked));
      return { Address: `${asked}/${prefix}`, Data: {} };
    }
    const grant = newGrant(pool);
    const holder = { network: pool.network, containerId: `${HOLDER}${grant.id}`, ifName: "docker" };
    this.#state.grants.set(grant); // a process that is killed leaves what its successor gives back
    try {
      const ip = asked === undefined ? await this.#next(pool, holder) : await this.#take(pool, holder, asked);
      this.#state.grants.set({ ...grant, ip });
      return { Address: `${ip}/${prefix}`, Data: {} };
    } catch (e) {
      await this.#provider(pool, undefined).release(holder); // where this fails the grant stays, for the next process
      this.#state.grants.delete(grant.id);
      throw e;
    }
  }

  async #take(pool: Pool, holder: Holder, asked: string | undefined): Promise<string> {
    const { ips } = await this.#provider(pool, asked).allocate(holder, asked === undefined ? [] : [asked]);
    return ips[0]?.address.replace(/\/.*/u, "") ?? "";
  }

  /** The next free address that is none of this host's own: Docker cannot be told to ask for another. */
  async #next(pool: Pool, holder: Holder): Promise<string> {
    using nl = new Netlink();
    const own = new Set(listAddresses(nl).map((a) => a.cidr.ip));
    const passedOver: string[] = [];
    try {
      for (;;) {
        const ip = await this.#take(pool, holder, undefined);
        if (!own.has(ip)) return ip;
        passedOver.push(ip); // it stays reserved meanwhile, or it would come again
      }
    } finally {
      const reservations = this.#reservations(pool);
      for (const ip of passedOver) {
        using _lock = reservations.lock();
        reservations.release(ip);
      }
    }
  }

  /** IpamDriver.ReleaseAddress; of one that is free too. Throws `Failure` (`request`, `io`). */
  async releaseAddress(request: Message<"ReleaseAddress">): Promise<unknown> {
    const pool = poolOf(request.PoolID);
    const ip = parseIp(request.Address);
    if (ip === undefined) throw new Failure("request", "release an address: none is named");
    const cloud = this.cloud.subnetOf(pool);
    if (cloud !== undefined) await this.cloud.release(cloud, ip);
    return pool.cloud === undefined ? this.#releaseLocally(pool, ip) : {};
  }

  #releaseLocally(pool: Pool, ip: string): unknown {
    // a refused endpoint's address may be the one of another that lives; a gateway may be that of another network
    if (this.#state.isReserved(reservationOf(pool, ip)) || this.#isOthersGateway(pool, ip)) return {};
    this.#giveBack(pool, ip);
    const grant = this.#grantOf(pool, ip);
    if (grant !== undefined) this.#state.grants.delete(grant.id);
    return {};
  }

  /** Gives the addresses of an endpoint back that Docker could not give back itself. */
  releaseReservations(reservations: readonly string[]): void {
    for (const reservation of reservations) {
      const [, dataDir, network, ip] = /^(.*)\/([^/]+) (\S+)$/u.exec(reservation) ?? [];
      if (dataDir === undefined || network === undefined || ip === undefined) continue;
      const kept = new Reservations(dataDir, network);
      using lock = kept.lockIfPresent();
      if (lock !== undefined && kept.holderOf(ip)?.startsWith(HOLDER) === true) kept.release(ip);
    }
  }

  /**
   * What was handed out for an endpoint's address a moment ago: its reservation; undefined for another IPAM's address.
   * Throws `Failure` (`address`) where a living endpoint has it.
   */
  claim(ip: string, inCloud: boolean): { readonly reservation: string; readonly port?: EndpointPort } | undefined {
    const grant = this.#state.grants.values().findLast((g) => g.ip === ip && (g.pool.cloud !== undefined) === inCloud);
    if (grant !== undefined) {
      this.#state.grants.delete(grant.id);
      const { port } = grant;
      return { reservation: reservationOf(grant.pool, ip), ...(port === undefined ? {} : { port }) };
    }
    const again = this.#again.get(ip);
    this.#again.delete(ip);
    if (again === undefined) return undefined;
    if (!this.#state.isReserved(again)) return { reservation: again };
    throw new Failure("address", `reserve ${ip}: another container of Docker's has it`);
  }

  #reservations(pool: Pool): Reservations {
    return new Reservations(pool.dataDir ?? DATA_DIR, pool.network);
  }

  #holderOf(pool: Pool, ip: string): string | undefined {
    return this.#reservations(pool).holderOf(ip);
  }

  #grantOf(pool: Pool, ip: string): Grant | undefined {
    const reservation = reservationOf(pool, ip);
    return this.#state.grants.values().find((g) => g.ip === ip && reservationOf(g.pool, ip) === reservation);
  }

  /** Sets a gateway aside. One that anybody has already is a gateway all the same: it is another network's on this LAN. */
  #gateway(pool: Pool, gateway: string): string {
    const cidr = parseCidr(pool.pool);
    if (cidr === undefined || !contains(cidr, gateway))
      throw new Failure("config", `use ${gateway} as the gateway: it is not in ${pool.pool}`);
    const grant = this.#grantOf(pool, gateway);
    if (grant === undefined) this.#state.grants.set({ ...newGrant(pool), ip: gateway });
    const reservations = this.#reservations(pool);
    using _lock = reservations.lock();
    reservations.reserve(gateway, `${HOLDER}gateway\r\ndocker`);
    return gateway;
  }

  /** The network that is deleted is still known when its gateway is released. */
  #isOthersGateway(pool: Pool, ip: string): boolean {
    const users = this.#state.networks.values().filter((n) => n.pools.includes(pool.pool) && n.reserved.includes(ip));
    return users.length > 1;
  }

  /** Addresses of the range, or, where one is asked for, of the whole subnet. */
  #provider(pool: Pool, asked: string | undefined): HostLocal {
    const ends = asked === undefined && pool.range !== undefined ? endsOf(pool.pool, pool.range) : {};
    const config: HostLocalConfig = {
      type: "host-local",
      ranges: [[{ subnet: pool.pool, ...ends }]],
      ...(pool.dataDir === undefined ? {} : { dataDir: pool.dataDir }),
    };
    return new HostLocal(config, []);
  }
}

function reservationOf(pool: Pool, ip: string): string {
  if (pool.cloud !== undefined) return cloudReservation(pool.cloud, ip);
  return `${pool.dataDir ?? DATA_DIR}/${pool.network} ${ip}`;
}

function firstOf(subnet: string): string {
  const cidr = parseCidr(subnet);
  const ip = cidr === undefined ? "0.0.0.0" : networkOf(cidr).ip;
  return ipFromBigInt(ipToBigInt(ip) + 1n, ipFamily(ip));
}

/** The ends of a part of a subnet, less the subnet's own network and broadcast addresses. */
function endsOf(subnet: string, range: string): { rangeStart?: string; rangeEnd?: string } {
  const [whole, part] = [parseCidr(subnet), parseCidr(range)];
  if (whole === undefined || part === undefined) return {};
  const [start, end] = [networkOf(part).ip, lastOf(part)];
  return {
    ...(start === networkOf(whole).ip ? {} : { rangeStart: start }),
    ...(end === lastOf(whole) ? {} : { rangeEnd: end }),
  };
}
