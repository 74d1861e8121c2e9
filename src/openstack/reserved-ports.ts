// Ports that hold addresses before there is an attachment: for a caller that asks for the address first, and says later whose
// it is. The attachment takes the port (container-port.ts), and leaves it when it goes; only then is it deleted.
import type { Cidr } from "../address/cidr.ts";
import { Failure } from "../report/failure.ts";
import { makeWithin } from "./container-port.ts";
import { createPort, deletePort, listPorts, type Port, type PortWish } from "./ports.ts";
import type { Session } from "./session.ts";

/** Begins the name of a port that was made to hold an address; the rest tells it from all others. */
const NAME = "berth-reserved-";
const DOING = "reserve an address";

/** Which address of which network. */
export interface Address {
  /** Ids. */
  readonly network: string;
  readonly subnet: string;
  /** Absent: any that is free. */
  readonly ip?: string;
  /** Where that shall be; absent: in the subnet's allocation pools. */
  readonly within?: Cidr;
}

/** Whether a port was made to hold an address. */
function isMade({ name }: Port): boolean {
  return name.startsWith(NAME);
}

function isFree({ device_id: id, device_owner: owner }: Port): boolean {
  return id === "" && owner === "";
}

/** The port that has an address; undefined where none has. Throws `Failure`. */
async function portAt(session: Session, network: string, ip: string): Promise<Port | undefined> {
  const filter = { network_id: network, fixed_ips: `ip_address=${ip}` };
  return (await listPorts(session, filter, `find the port with ${ip}`))[0];
}

/** What a port that holds an address is made with. */
function wishFor(network: string, id: string): PortWish & { readonly name: string } {
  const name = `${NAME}${id}`;
  return { network_id: network, name, description: name };
}

/**
 * Reserves an address: by a port that somebody made for it and nobody uses, or by one that is made. One that holds it already
 * is answered again. Throws `Failure` (`address`) where it is in use.
 * @param id of the reservation, a part of the port's name
 */
export async function reserve(session: Session, { network, subnet, ip, within }: Address, id: string): Promise<Port> {
  const there = ip === undefined ? undefined : await portAt(session, network, ip);
  if (there === undefined) {
    const wish = wishFor(network, id);
    if (ip === undefined && within !== undefined)
      return await makeWithin(session, wish, { block: within, subnetId: subnet }, DOING);
    const fixed = { subnet_id: subnet, ...(ip === undefined ? {} : { ip_address: ip }) };
    return await createPort(session, { ...wish, fixed_ips: [fixed] }, DOING);
  }
  if (isMade(there) || isFree(there)) return there;
  throw new Failure(
    "address",
    `reserve ${ip}: the port ${there.id} of ${there.device_owner} ${there.device_id} has it`,
    {
      advice: "Ask for another address, or for none.",
    },
  );
}

/**
 * Makes one port of those that hold an attachment's addresses, with the MAC that was asked for. Throws `Failure` (`config`)
 * where one of them is somebody's own and would have to change.
 */
export async function unite(
  session: Session,
  ports: readonly Port[],
  id: string,
  mac: string | undefined,
): Promise<Port> {
  const [first] = ports;
  if (first === undefined) throw new Failure("missing", "find the port of an address: it is gone");
  const others = ports.filter((p) => p.id !== first.id);
  if (others.length === 0 && (mac === undefined || mac === first.mac_address.toLowerCase())) return first;
  const foreign = ports.find((p) => !isMade(p));
  if (foreign !== undefined) {
    throw new Failure(
      "config",
      `change the port ${foreign.id}: it was not made by Berth, and has the MAC ${foreign.mac_address} and ${foreign.fixed_ips.length} addresses`,
      {
        advice: "Ask for that port's own MAC, or for none, and for addresses of one port.",
      },
    );
  }
  for (const port of ports) await deletePort(session, port.id);
  const fixed = [...new Map(ports.flatMap((p) => p.fixed_ips).map((f) => [f.ip_address, f])).values()];
  const own = mac === undefined ? {} : { mac_address: mac };
  return await createPort(session, { ...wishFor(first.network_id, id), fixed_ips: fixed, ...own }, DOING);
}

/** Gives a reservation back; one whose port is gone, or in use, or was somebody's own, is left alone. Throws `Failure`. */
export async function giveBackAt(session: Session, network: string, ip: string): Promise<void> {
  const port = await portAt(session, network, ip);
  if (port !== undefined && isMade(port) && isFree(port)) await deletePort(session, port.id);
}

/** Gives back what was reserved under an id, where the answer to the reserving may have been lost. Throws `Failure`. */
export async function giveBackMade(session: Session, id: string): Promise<void> {
  for (const port of await listPorts(session, { name: `${NAME}${id}` }, "find what was reserved"))
    if (isFree(port)) await deletePort(session, port.id);
}
