// Making a host have what a site file wants, and taking it all back.
import { attach } from "../attachment/attach.ts";
import { Common } from "../attachment/common.ts";
import { delegateFor } from "../attachment/allocation.ts";
import { configOf } from "../attachment/recorded-config.ts";
import { detachRecorded } from "../attachment/collect.ts";
import { detachMany } from "../attachment/detach-many.ts";
import { describeKey, type Key } from "../attachment/key.ts";
import type { AttachRequest } from "../attachment/prepare.ts";
import { type AttachmentRecord, isOrphan } from "../attachment/record.ts";
import { addNamedNamespace, deleteNamedNamespace, findNamespace } from "../kernel/namespaces.ts";
import { OwnSysctls } from "../kernel/own-sysctls.ts";
import { asFailure, Failure } from "../report/failure.ts";
import type { Change } from "./difference.ts";
import type { Wanted } from "./site-file.ts";

/** What came of one change. */
export interface Outcome {
  readonly key: Key;
  readonly todo: Change["todo"];
  /** The addresses that it has now, with prefix lengths; none where it was detached. */
  readonly addresses: readonly string[];
  /** Why it was replaced or detached. */
  readonly why?: string;
  /** What is to be known though it succeeded. */
  readonly remarks: readonly string[];
  /** What was tried is undone then, and the others are not touched by it. */
  readonly failure?: Failure;
}

/** The request for an attachment of a site. */
export function requestFor(wanted: Wanted, site: string): AttachRequest {
  const { key, kind, netns, config, text, mac, ips } = wanted;
  const asked = { ips, ...(mac === undefined ? {} : { mac }) };
  const delegate = delegateFor(text, config.cniVersion, key, netns, asked);
  return { key, kind, netns, config, mac, ips, delegate, site };
}

/** Makes a site's namespaces that are to be made and are missing. Throws `SysError`. */
function makeNamespace({ create, netns }: Wanted): void {
  if (create === undefined) return;
  using present = findNamespace(netns);
  if (present === undefined) addNamedNamespace(create);
}

function keyOf(change: Change): Key {
  return change.todo === "detach" ? change.record.key : change.wanted.key;
}

function addressesIn(record: AttachmentRecord): string[] {
  return (record.allocation?.ips ?? []).map((lease) => lease.address);
}

/** After a replacement that failed: what was there before is made anew; the failure says whether that went well. */
async function attachedAgain(former: AttachmentRecord, site: string, failure: Failure): Promise<Failure> {
  const { key, kind, netns, config: text, allocation } = former;
  if (allocation === undefined || isOrphan(former)) return failure;
  const config = configOf(former);
  // others give the same addresses by themselves, and static takes requests for additions
  const ips = config.ipam?.type === "host-local" ? addressesIn(former) : [];
  const link = former.plan.find((step) => step.type === "link");
  const mac = link?.type === "link" ? link.mac : undefined;
  let sentence = "What was there before is there again";
  try {
    await attach(requestFor({ key, kind, netns, create: undefined, config, text, ips, mac }, site));
  } catch (e) {
    sentence = `What was there before could not be made again: ${asFailure(e, "attach").message}`;
  }
  return new Failure(failure.reason, `${failure.message}. ${sentence}`, {
    cause: failure,
    ...(failure.advice === undefined ? {} : { advice: failure.advice }),
  });
}

async function carryOut(change: Change, site: string, common: Common, waiting: () => void): Promise<Outcome> {
  const outcome = { key: keyOf(change), todo: change.todo, addresses: [], remarks: [] };
  if (change.todo === "keep") return { ...outcome, addresses: addressesIn(change.record) };
  if (change.todo === "detach") {
    await detachRecorded(change.record);
    return { ...outcome, why: change.why };
  }
  if (change.todo === "replace") await detachRecorded(change.record);
  try {
    makeNamespace(change.wanted);
    const { record, remarks } = await attach(requestFor(change.wanted, site), common, waiting);
    const why = change.todo === "replace" ? { why: change.why } : {};
    return { ...outcome, ...why, addresses: addressesIn(record), remarks };
  } catch (e) {
    if (change.todo !== "replace") throw e;
    throw await attachedAgain(change.record, site, asFailure(e, `replace ${describeKey(change.record.key)}`));
  }
}

/** So many attachments wait at the same time, each with a namespace, a socket and a lock of its own open. */
const TOGETHER = 200;

/**
 * Carries out the changes, one after the other, but for those that wait until nobody else is seen to have their IPv6 addresses:
 * that takes the kernel one to two seconds, in which others are made. Each is made as a whole or not at all, whatever comes
 * of the others.
 * @param done is called after each
 */
export async function applyChanges(
  site: string,
  changes: readonly Change[],
  done: (outcome: Outcome) => void,
): Promise<void> {
  using common = new Common();
  using sysctls = new OwnSysctls();
  const outcomeOf = async (change: Change, waiting: () => void): Promise<Outcome> => {
    try {
      return await carryOut(change, site, common, waiting);
    } catch (e) {
      common.forget();
      const key = keyOf(change);
      const failure = asFailure(e, `${change.todo} ${describeKey(key)}`);
      return { key, todo: change.todo, addresses: [], remarks: [], failure };
    }
  };
  /** What is under way, by namespace, in which one comes after the other: they may want the same route. Oldest first. */
  const underWay = new Map<string, Promise<void>>();
  const inTurn = async (namespace: string, change: Change, waiting: () => void): Promise<void> => {
    const outcome = await outcomeOf(change, waiting);
    underWay.delete(namespace);
    done(outcome);
  };
  for (const change of changes) {
    const namespace = change.todo === "detach" ? change.record.netns : change.wanted.netns;
    await underWay.get(namespace);
    while (underWay.size >= TOGETHER) await underWay.values().next().value;
    sysctls.next();
    const { promise: waits, resolve: waiting } = Promise.withResolvers<void>();
    const whole = inTurn(namespace, change, waiting);
    underWay.set(namespace, whole);
    await Promise.race([whole, waits]);
  }
  await Promise.all(underWay.values());
}

/**
 * Detaches what a site's records say, and deletes the namespaces that the site makes.
 * @param done is called after each
 */
export async function takeDown(
  records: readonly AttachmentRecord[],
  wanted: readonly Wanted[],
  done: (outcome: Outcome) => void,
): Promise<void> {
  await detachMany(records, ({ key }, failure) =>
    done({ key, todo: "detach", addresses: [], remarks: [], ...(failure === undefined ? {} : { failure }) }),
  );
  for (const name of new Set(wanted.flatMap((w) => w.create ?? []))) deleteNamedNamespace(name);
}
