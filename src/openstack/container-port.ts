// The Neutron port of a container: how it is found, made, taken, and given back.
import { type Cidr, lastOf, networkOf } from "../address/cidr.ts";
import { ipFamily, ipFromBigInt, ipToBigInt } from "../address/ip.ts";
import type { Holder } from "../ipam/provider.ts";
import { Failure } from "../report/failure.ts";
import { isRefusal } from "./errors.ts";
import { type Claim, isPortOf, MADE, markFilters, markOf, marksTaken, nameOf, TAKEN, unmarked } from "./mark.ts";
import { isId, theOne } from "./networks.ts";
import { createPort, deletePort, getPort, listPorts, type Port, type PortWish, updatePort } from "./ports.ts";
import type { Session } from "./session.ts";
import { removeSubPort } from "./trunks.ts";

/** What Neutron makes of the owner of a port that a trunk carries. */
const SUB_PORT = "trunk:subport";
/** So many addresses of a block may be somebody's before all that are known to be are left out. */
const TRIES = 3;
/** So many addresses of a block are tried at all. */
const MOST_TRIES = 64;

/** The ports that containers of a VM have. Throws `Failure`. */
export async function portsOfVm(session: Session, vmPorts: readonly string[]): Promise<Port[]> {
  if (vmPorts.length === 0) return [];
  const all = await listPorts(session, { device_owner: [MADE, TAKEN, SUB_PORT] }, "list the ports of containers");
  return all.filter((p) => vmPorts.includes(markOf(p)?.vmPort ?? ""));
}

/** The port of a holder; undefined where it has none. Throws `Failure`. */
export async function findPortOf(
  session: Session,
  vmPorts: readonly string[],
  holder: Holder,
): Promise<Port | undefined> {
  if (vmPorts.length === 0) return undefined;
  for (const filter of markFilters(vmPorts, holder)) {
    const [port] = await listPorts(session, filter, `find the port of ${nameOf(holder)}`);
    if (port !== undefined) return port;
  }
  return undefined;
}

function isFree({ device_id: id, device_owner: owner }: Port): boolean {
  return id === "" && owner === "";
}

function isClaimed(port: Port, { vmPort, holder }: Claim): boolean {
  return isPortOf(port, holder) && markOf(port)?.vmPort === vmPort;
}

/** Makes an existing port, which nobody has, the claimant's. Throws `Failure` (`exists`). */
async function take(session: Session, port: Port, claim: Claim): Promise<Port> {
  const doing = `take the port ${port.id}`;
  const inUse = (by: string): Failure =>
    new Failure("exists", `${doing}: ${by} has it`, { advice: "Name another, or none: then one is made." });
  if (isClaimed(port, claim)) return port; // an earlier call that was killed
  if (!isFree(port)) throw inUse(`${port.device_owner} ${port.device_id}`.trim());
  try {
    return await updatePort(session, port.id, marksTaken(claim), { doing, revision: port.revision_number });
  } catch (e) {
    const lost = e instanceof Failure && e.reason === "busy";
    if (!lost && !isRefusal(e, 412)) throw e;
    const now = await getPort(session, port.id);
    if (now !== undefined && isClaimed(now, claim)) return now; // it was taken, and the answer was lost
    throw lost ? e : inUse("somebody else, since a moment ago,");
  }
}

/** Takes a port that was named. Throws `Failure`. */
export async function takeNamed(session: Session, wanted: string, claim: Claim): Promise<Port> {
  const doing = `find the port ${wanted}`;
  const found = await listPorts(session, isId(wanted) ? { id: wanted } : { name: wanted }, doing);
  return await take(session, theOne(found, "port", wanted, "port"), claim);
}

/** Makes a port; where an address that was asked for is one's that nobody has, takes that one. Throws `Failure`. */
export async function makeOrTake(session: Session, wish: PortWish, claim: Claim): Promise<Port> {
  const doing = `create a port for ${nameOf(claim.holder)}`;
  try {
    return await createPort(session, wish, doing);
  } catch (e) {
    const asked = wish.fixed_ips?.flatMap((f) => f.ip_address ?? []) ?? [];
    const [ip] = asked;
    if (!isRefusal(e, "IpAddressAlreadyAllocated") || ip === undefined) throw e;
    const filter = { network_id: wish.network_id ?? "", fixed_ips: `ip_address=${ip}` };
    const [port] = await listPorts(session, filter, `find the port with ${ip}`);
    const has = port?.fixed_ips.map((f) => f.ip_address) ?? [];
    if (port === undefined || !asked.every((a) => has.includes(a))) throw e;
    if (!isFree(port) && !isClaimed(port, claim)) {
      throw new Failure(
        "address",
        `${e.message}: the port ${port.id} of ${port.device_owner} ${port.device_id} has it`,
        {
          advice: "Ask for another address, or for none.",
          cause: e.cause,
        },
      );
    }
    return await take(session, port, claim);
  }
}

/** Makes a port with an address of a block, whichever is free. Throws `Failure` (`address`). */
export async function makeWithin(
  session: Session,
  wish: PortWish,
  { block, subnetId }: { readonly block: Cidr; readonly subnetId: string },
  doing: string,
): Promise<Port> {
  const first = ipToBigInt(networkOf(block).ip);
  const size = ipToBigInt(lastOf(block)) - first + 1n;
  const start = BigInt(Math.floor(Math.random() * Number(size > 65_536n ? 65_536n : size)));
  let used: ReadonlySet<string> = new Set();
  for (let offset = 0n, tried = 0; offset < size && tried < MOST_TRIES; offset++) {
    const ip = ipFromBigInt(first + ((start + offset) % size), ipFamily(block.ip));
    if (used.has(ip)) continue;
    try {
      return await createPort(session, { ...wish, fixed_ips: [{ subnet_id: subnetId, ip_address: ip }] }, doing);
    } catch (e) {
      // somebody's, or the subnet's own first or last
      if (!isRefusal(e, "IpAddressAlreadyAllocated", "InvalidIpForSubnet", "InvalidIpForNetwork")) throw e;
      if (++tried === TRIES) {
        const others = await listPorts(session, { network_id: wish.network_id ?? "" }, doing);
        used = new Set(others.flatMap((p) => p.fixed_ips.map((f) => f.ip_address)));
      }
    }
  }
  throw new Failure("address", `${doing}: no address of ${block.ip}/${block.prefix} was found free`, {
    advice: "Widen the block, or delete ports that nobody needs (berth gc).",
  });
}

/** Gives a holder's port back: one that Berth made is deleted, one that it took is nobody's again. Throws `Failure`. */
export async function giveBack(session: Session, port: Port): Promise<void> {
  const mark = markOf(port);
  if (mark?.byTrunk === true) {
    const vmPort = await getPort(session, mark.vmPort);
    if (vmPort !== undefined) await removeSubPort(session, vmPort, port.id);
  }
  if (mark?.taken !== true) return await deletePort(session, port.id);
  try {
    await updatePort(session, port.id, unmarked(mark), { doing: `give the port ${port.id} back` });
  } catch (e) {
    if (!isRefusal(e, 404)) throw e;
  }
}
