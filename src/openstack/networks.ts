// Neutron's networks and subnets (Networking API v2.0), as far as Berth uses them.
import * as v from "valibot";
import { parseCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import type { Family } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import { expected, type Filters, query } from "./ports.ts";
import type { Session } from "./session.ts";

const Network = v.object({ id: v.string(), name: v.optional(v.string(), ""), mtu: v.optional(v.number(), 0) });
const ip = v.pipe(
  v.string(),
  v.check((text) => parseIp(text) !== undefined, "an IP address"),
);
const cidr = v.pipe(
  v.string(),
  v.check((text) => parseCidr(text) !== undefined, "a block of addresses"),
);
const Subnet = v.object({
  id: v.string(),
  name: v.optional(v.string(), ""),
  network_id: v.string(),
  cidr,
  gateway_ip: v.nullable(ip),
  host_routes: v.array(v.object({ destination: cidr, nexthop: ip })),
  dns_nameservers: v.array(v.string()),
  allocation_pools: v.array(v.object({ start: ip, end: ip })),
});
const Networks = v.object({ networks: v.array(Network) });
const Subnets = v.object({ subnets: v.array(Subnet) });
const SubnetPools = v.object({ subnetpools: v.array(v.object({ id: v.string() })) });

/** A network. Its MTU is in bytes, 0 where the cloud does not tell. */
export type Network = v.InferOutput<typeof Network>;
/** A subnet of a network. */
export type Subnet = v.InferOutput<typeof Subnet>;

function fieldsOf(schema: { readonly entries: object }): string {
  return Object.keys(schema.entries)
    .map((name) => `fields=${name}`)
    .join("&");
}

/** Whether a text is an id, as the cloud makes them. */
export function isId(text: string): boolean {
  return /^[\da-f]{8}-?([\da-f]{4}-?){3}[\da-f]{12}$/iu.test(text);
}

/** The one of several of the same name. Throws `Failure` (`config`). */
export function theOne<T extends { readonly id: string }>(
  found: readonly T[],
  what: string,
  wanted: string,
  list: string,
): T {
  const [first, second] = found;
  if (first === undefined) {
    throw new Failure("config", `find the ${what} ${wanted}: there is none that this project may use`, {
      advice: `openstack ${list} list`,
    });
  }
  if (second === undefined) return first;
  throw new Failure("config", `find the ${what} ${wanted}: there are ${found.map((f) => f.id).join(" and ")}`, {
    advice: "Name it by its id.",
  });
}

/** A network by id or name. Throws `Failure`. */
export async function findNetwork(session: Session, wanted: string): Promise<Network> {
  const doing = `find the network ${wanted}`;
  const filter = query(isId(wanted) ? { id: wanted } : { name: wanted });
  const json = await session.call({ method: "GET", path: `/networks?${filter}&${fieldsOf(Network)}`, doing });
  return theOne(expected(Networks, json, doing).networks, "network", wanted, "network");
}

/** The subnets of a network, in the order of their ids. Throws `Failure`. */
export async function subnetsOf(session: Session, networkId: string): Promise<Subnet[]> {
  const doing = `list the subnets of network ${networkId}`;
  const path = `/subnets?${query({ network_id: networkId })}&${fieldsOf(Subnet)}`;
  const { subnets } = expected(Subnets, await session.call({ method: "GET", path, doing }), doing);
  return subnets.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** What a subnet is told by; all that is stated must hold. Networks, subnets and pools go by id or name. */
export interface SubnetChoice {
  readonly network?: string;
  readonly subnet?: string;
  /** The subnet pool that it was allocated from. */
  readonly pool?: string;
  /** Its block. */
  readonly cidr?: string;
  readonly family: Family;
}

function named(wanted: string): Record<string, string> {
  return isId(wanted) ? { id: wanted } : { name: wanted };
}

/** The one subnet that a choice is about. Throws `Failure` (`config`) where there is none, or several are. */
export async function chooseSubnet(session: Session, choice: SubnetChoice): Promise<Subnet> {
  const { network, subnet, pool, cidr: block, family } = choice;
  const words = Object.entries({ network, subnet, pool, cidr: block }).flatMap(([k, w]) =>
    w === undefined ? [] : [`${k} ${w}`],
  );
  const wanted = `with ${[...words, `IPv${family}`].join(", ")}`;
  const doing = `find the subnet ${wanted}`;
  const filter: Filters = {
    ip_version: `${family}`,
    ...(network === undefined ? {} : { network_id: (await findNetwork(session, network)).id }),
    ...(pool === undefined ? {} : { subnetpool_id: isId(pool) ? pool : await findSubnetPool(session, pool) }),
    ...(subnet === undefined ? {} : named(subnet)),
    ...(block === undefined ? {} : { cidr: block }),
  };
  const path = `/subnets?${query(filter)}&${fieldsOf(Subnet)}`;
  const { subnets } = expected(Subnets, await session.call({ method: "GET", path, doing }), doing);
  return theOne(subnets, "subnet", wanted, "subnet");
}

async function findSubnetPool(session: Session, wanted: string): Promise<string> {
  const doing = `find the subnet pool ${wanted}`;
  const json = await session.call({ method: "GET", path: `/subnetpools?${query({ name: wanted })}&fields=id`, doing });
  return theOne(expected(SubnetPools, json, doing).subnetpools, "subnet pool", wanted, "subnet pool").id;
}
