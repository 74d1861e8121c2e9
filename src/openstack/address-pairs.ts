// The address pairs of a VM's port (Networking API v2.0, "Allowed address pairs"): many change one list that is replaced as
// a whole, so each change is made to the revision that was read, and processes of one host make theirs together.
import { formatCidr, hostCidr, networkOf, parseCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { isRefusal, Refusal } from "./errors.ts";
import { pause } from "./http.ts";
import { joined, type Outcome } from "./joined.ts";
import type { AddressPair } from "../plan/cloud.ts";
import { PairLedger } from "./pair-ledger.ts";
import { getPort, type Pair, type Port, updatePort } from "./ports.ts";
import type { Session } from "./session.ts";

/** Where processes of this host join. */
const DIRECTORY = "/run/berth/pairs";
/** So often somebody else may have changed the port between reading and writing. */
const TRIES = 30;
/** The first pause after that, milliseconds. */
const PAUSE_MS = 20;
/** No pause is longer than the first one doubled so many times. */
const LONGEST = 5;

/** Somebody needs pairs, or no longer does. */
export interface PairWish {
  readonly verb: "admit" | "dismiss";
  readonly pairs: readonly AddressPair[];
  /** Id of the container's port. */
  readonly user: string;
}

/** A pair in the one form in which two can be compared: Neutron keeps whatever was written. */
export function canonical(pair: Pair, ownMac: string): AddressPair {
  const { ip_address: text, mac_address: mac = ownMac } = pair;
  const ip = parseIp(text);
  const cidr = ip === undefined ? parseCidr(text) : hostCidr(ip);
  return { mac: parseMac(mac) ?? mac.toLowerCase(), ip: cidr === undefined ? text : bare(formatCidr(networkOf(cidr))) };
}

/** A block of one address is the address. */
function bare(cidr: string): string {
  const parsed = parseCidr(cidr);
  return parsed !== undefined && formatCidr(hostCidr(parsed.ip)) === cidr ? parsed.ip : cidr;
}

function same(a: AddressPair, b: AddressPair): boolean {
  return a.mac === b.mac && a.ip === b.ip;
}

/** The list with changes made; what is not concerned stays as it is written, in its order. Undefined: nothing changes. */
export function changedPairs(
  port: Pick<Port, "mac_address" | "allowed_address_pairs">,
  add: readonly AddressPair[],
  remove: readonly AddressPair[],
): Pair[] | undefined {
  const kept = port.allowed_address_pairs.filter((p) => !remove.some((r) => same(r, canonical(p, port.mac_address))));
  const next = [...kept];
  for (const pair of add) {
    if (next.some((p) => same(pair, canonical(p, port.mac_address)))) continue;
    next.push({ ip_address: pair.ip, mac_address: pair.mac });
  }
  return next.length === kept.length && kept.length === port.allowed_address_pairs.length ? undefined : next;
}

/**
 * Has pairs admitted, or dismissed, together with what other processes of this host wish of the port. Throws `Failure`.
 * @param known the port as it was read a moment ago; absent: it is read
 */
export async function wishPairs(session: Session, portId: string, wish: PairWish, known?: Port): Promise<void> {
  let first = known;
  void new PairLedger(portId); // refuses an id that is none
  await joined(`${DIRECTORY}/${portId}`, wish, async (wishes) => {
    const port = first;
    first = undefined;
    return await carryOut(session, portId, wishes, port);
  });
}

async function carryOut(
  session: Session,
  portId: string,
  wishes: readonly PairWish[],
  known: Port | undefined,
): Promise<readonly Outcome[]> {
  try {
    await change(session, portId, wishes, known);
    return wishes.map(() => undefined);
  } catch (e) {
    const failure = asFailure(e, `change the address pairs of ${portId}`);
    const refusal = failure.cause instanceof Refusal && failure.cause.status < 500;
    if (wishes.length === 1 || !refusal) return wishes.map(() => failure);
  }
  // one of them was refused: the others shall not suffer
  const outcomes: Outcome[] = [];
  for (const wish of wishes) {
    try {
      await change(session, portId, [wish], undefined);
      outcomes.push(undefined);
    } catch (e) {
      outcomes.push(asFailure(e, `change the address pairs of ${portId}`));
    }
  }
  return outcomes;
}

/** Makes changes to whichever revision the port has, until it has not changed meanwhile. */
async function change(
  session: Session,
  portId: string,
  wishes: readonly PairWish[],
  known: Port | undefined,
): Promise<void> {
  const ledger = new PairLedger(portId);
  const admitted = wishes.filter((w) => w.verb === "admit");
  const add = admitted.flatMap((w) => w.pairs);
  for (const { pairs, user } of admitted) for (const pair of pairs) ledger.use(pair, user);
  const leaving = wishes.filter((w) => w.verb === "dismiss");
  const remove = leaving.flatMap(({ pairs, user }) => pairs.filter((pair) => ledger.leave(pair, user)));
  const doing = `change the address pairs of the VM's port ${portId}`;
  const made = new Set<AddressPair>();
  const end = (): void => {
    for (const pair of remove) ledger.forget(pair);
  };
  try {
    for (let tried = 0, port = known; ; tried++, port = undefined) {
      port ??= await getPort(session, portId);
      if (port === undefined) {
        if (add.length === 0) return end();
        throw new Failure("config", `${doing}: the port is gone`, { advice: 'Look at "vmPort": openstack port list.' });
      }
      const next = port.port_security_enabled ? changedPairs(port, add, remove) : undefined;
      if (next === undefined) return end();
      const mac = port.mac_address;
      const before = port.allowed_address_pairs.map((p) => canonical(p, mac));
      for (const pair of add) {
        if (before.some((b) => same(b, pair))) continue;
        ledger.make(pair);
        made.add(pair);
      }
      try {
        await updatePort(session, portId, { allowed_address_pairs: next }, { doing, revision: port.revision_number });
        // Neutron may let two changes of one revision through, and then stores both lists: a pair that was taken away is back
        if (remove.length === 0 || tried + 1 >= TRIES) return end();
      } catch (e) {
        if (isRefusal(e, "AddressPairAndPortSecurityRequired")) return end(); // switched off meanwhile
        const gone = isRefusal(e, "PortNotFound");
        const changed = isRefusal(e, 412) || (e instanceof Failure && e.reason === "busy") || gone;
        if (!changed || tried + 1 >= TRIES) throw e;
        await pause(Math.min(tried, LONGEST), PAUSE_MS);
      }
    }
  } catch (e) {
    // an answer that was lost is no refusal: then the pair may be there, and is dismissed by whoever undoes this
    const refused = e instanceof Failure && e.cause instanceof Refusal;
    for (const { pairs, user } of refused ? admitted : []) {
      // one that was there before, and is Berth's, goes with its next user
      for (const pair of pairs) if (ledger.leave(pair, user) && made.has(pair)) ledger.forget(pair);
    }
    throw e;
  }
}
