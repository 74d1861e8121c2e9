// Networks of an OpenStack cloud: the options that name them, and what the two drivers ask of Neutron. The options are those
// of kuryr-libnetwork, with its meaning, but that Berth makes no networks, subnets or pools: it uses those that are there.
import { type Cidr, formatCidr, networkOf, parseCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";
import { findParent } from "../attachment/parent.ts";
import { Netlink } from "../kernel/netlink.ts";
import { findCredentials } from "../openstack/credentials.ts";
import { chooseSubnet, type Subnet } from "../openstack/networks.ts";
import { getPort } from "../openstack/ports.ts";
import { giveBackAt, giveBackMade, reserve, unite } from "../openstack/reserved-ports.ts";
import { conceal, type ExposedPort, expose } from "../openstack/security-groups.ts";
import { Session } from "../openstack/session.ts";
import { findVmPort, instanceId } from "../openstack/virtual-machine.ts";
import { Failure } from "../report/failure.ts";

/** Kuryr's options, and one for which of several clouds. */
const names = [
  "neutron.net.uuid",
  "neutron.net.name",
  ...["neutron.subnet", "neutron.subnet.v6", "neutron.pool", "neutron.pool.v6"].flatMap((n) => [
    `${n}.uuid`,
    `${n}.name`,
  ]),
  "neutron.cloud",
];

/** The names of all options, for error messages. */
export const cloudOptionNames: readonly string[] = names;

/** What options name; networks, subnets and pools go by id or name. */
export interface CloudWish {
  /** A cloud of clouds.yaml. */
  readonly cloud?: string;
  readonly network?: string;
  readonly subnet?: string;
  readonly subnet6?: string;
  readonly pool?: string;
  readonly pool6?: string;
}

/** A subnet of a cloud's, as a pool of addresses is told by. */
export interface CloudPool {
  readonly cloud?: string;
  /** Ids. */
  readonly network: string;
  readonly subnet: string;
}

/** A port that an endpoint has. */
export interface EndpointPort {
  readonly id: string;
  readonly mac: string;
}

/** What the options say of a cloud; undefined where they say nothing. */
export function cloudWishOf(options: ReadonlyMap<string, string>): CloudWish | undefined {
  if (!names.some((name) => options.has(name))) return undefined;
  const either = (name: string): string | undefined => options.get(`${name}.uuid`) ?? options.get(`${name}.name`);
  const wish = {
    cloud: options.get("neutron.cloud"),
    network: either("neutron.net"),
    subnet: either("neutron.subnet"),
    subnet6: either("neutron.subnet.v6"),
    pool: either("neutron.pool"),
    pool6: either("neutron.pool.v6"),
  };
  return Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== undefined));
}

/** Whether this machine knows a cloud without being told which. */
export function knowsCloud(): boolean {
  try {
    findCredentials({});
    return true;
  } catch {
    return false;
  }
}

function sessionOf(cloud: string | undefined): Session {
  return new Session(findCredentials(cloud === undefined ? {} : { cloud }));
}

/** The network of the NIC that containers sit on where no parent is named. Throws `Failure`. */
async function ownNetwork(session: Session): Promise<string> {
  using nl = new Netlink();
  return (await findVmPort(session, { mac: findParent(nl, undefined).mac, instance: instanceId() })).network_id;
}

/** The subnet that a pool of addresses is, by its block or as named; absent both: the one of the family. Throws `Failure`. */
export async function subnetFor(wish: CloudWish, pool: Cidr | undefined, six: boolean): Promise<Subnet> {
  const session = sessionOf(wish.cloud);
  const [subnet, subnetPool] = six ? [wish.subnet6, wish.pool6] : [wish.subnet, wish.pool];
  const told = wish.network ?? subnet ?? subnetPool;
  const network = wish.network ?? (told === undefined ? await ownNetwork(session) : undefined);
  return await chooseSubnet(session, {
    family: six ? 6 : 4,
    ...(network === undefined ? {} : { network }),
    ...(subnet === undefined ? {} : { subnet }),
    ...(subnetPool === undefined ? {} : { pool: subnetPool }),
    ...(pool === undefined ? {} : { cidr: formatCidr(networkOf(pool)) }),
  });
}

/** An address that is reserved, and the port that holds it. Throws `Failure` (`address`). */
export async function reserveIn(
  pool: CloudPool,
  { ip, within }: { readonly ip: string | undefined; readonly within: Cidr | undefined },
  id: string,
): Promise<{ readonly ip: string; readonly port: EndpointPort }> {
  const where = { network: pool.network, subnet: pool.subnet };
  const address = { ...where, ...(ip === undefined ? {} : { ip }), ...(within === undefined ? {} : { within }) };
  const port = await reserve(sessionOf(pool.cloud), address, id);
  const own = port.fixed_ips.find(
    (f) => f.subnet_id === pool.subnet && (ip === undefined || parseIp(f.ip_address) === ip),
  );
  const given = parseIp(own?.ip_address ?? "");
  if (given === undefined)
    throw new Failure("decode", `reserve an address: the port ${port.id} has none of the subnet`);
  return { ip: given, port: { id: port.id, mac: parseMac(port.mac_address) ?? port.mac_address } };
}

/** Gives an address back; one whose port is in use is left alone. Throws `Failure`. */
export async function releaseIn({ cloud, network }: Omit<CloudPool, "subnet">, ip: string): Promise<void> {
  await giveBackAt(sessionOf(cloud), network, ip);
}

/** Gives back what a process that was killed may have reserved. Throws `Failure`. */
export async function releaseMade({ cloud }: CloudPool, id: string): Promise<void> {
  await giveBackMade(sessionOf(cloud), id);
}

/** The one port of an endpoint, of those that hold its addresses. Throws `Failure`. */
export async function portOf(
  cloud: string | undefined,
  ports: readonly EndpointPort[],
  id: string,
  mac: string | undefined,
): Promise<EndpointPort> {
  const session = sessionOf(cloud);
  const found = await Promise.all([...new Set(ports.map((p) => p.id))].map((port) => getPort(session, port)));
  const port = await unite(
    session,
    found.filter((p) => p !== undefined),
    id,
    mac,
  );
  return { id: port.id, mac: parseMac(port.mac_address) ?? port.mac_address };
}

function groupName(endpoint: string): string {
  return `berth-docker-${endpoint}`;
}

/** Lets everybody in to the ports that a container exposes. Throws `Failure`. */
export async function exposePorts(
  cloud: string | undefined,
  endpoint: string,
  port: EndpointPort,
  exposed: readonly ExposedPort[],
): Promise<void> {
  await expose(sessionOf(cloud), port.id, groupName(endpoint), exposed);
}

/** Takes {@link exposePorts} back. Throws `Failure`. */
export async function concealPorts(cloud: string | undefined, endpoint: string, port: EndpointPort): Promise<void> {
  await conceal(sessionOf(cloud), port.id, groupName(endpoint));
}

/** Refuses a gateway that is not the subnet's own: Neutron's routers are where the cloud says. Throws `Failure` (`config`). */
export function checkGateway({ id, gateway_ip: own }: Subnet, asked: string): void {
  if (own !== null && parseIp(own) === parseIp(asked)) return;
  throw new Failure("config", `use ${asked} as the gateway: the subnet ${id} has ${own ?? "none"}`, {
    advice: "Leave --gateway out.",
  });
}

/** The gateways of subnets, the first of each family. */
export function gatewaysOf(subnets: readonly Subnet[]): { readonly gateway?: string; readonly gateway6?: string } {
  const of = (family: 4 | 6): string | undefined =>
    subnets.flatMap((s) => parseIp(s.gateway_ip ?? "") ?? []).find((ip) => ipFamily(ip) === family);
  const [gateway, gateway6] = [of(4), of(6)];
  return { ...(gateway === undefined ? {} : { gateway }), ...(gateway6 === undefined ? {} : { gateway6 }) };
}

/** The block of a subnet. Throws `Failure` (`decode`). */
export function blockOf({ id, cidr }: Subnet): Cidr {
  const block = parseCidr(cidr);
  if (block !== undefined) return block;
  throw new Failure("decode", `use the subnet ${id}: its block is ${JSON.stringify(cidr)}`);
}
