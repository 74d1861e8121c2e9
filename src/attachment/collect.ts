// Garbage collection: attachments that nobody needs any more.
import type { DelegateCall } from "../ipam/delegated.ts";
import { describeStray, explainStray } from "../openstack/strays.ts";
import { OWN_NAMESPACE } from "../kernel/namespaces.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { delegateOf, providersOf } from "./allocation.ts";
import type { NetworkConfig } from "./config.ts";
import { detach, type DetachRequest } from "./detach.ts";
import { describeKey, type Key } from "./key.ts";
import { type AttachmentRecord, hasLostNamespace, isOrphan, listRecords, removeUnfinished } from "./record.ts";
import { configOf } from "./recorded-config.ts";

/** Something that a cloud keeps for nobody. */
export interface CloudStray {
  /** In words. */
  readonly what: string;
  /** The commands that would remove it. */
  readonly commands: readonly string[];
  /** Removes it. Throws `Failure`. */
  readonly remove: () => Promise<void>;
}

/** What was collected. */
export interface Collected {
  readonly attachments: readonly Key[];
  /** Addresses whose reservation was released, beside those of the attachments. */
  readonly addresses: readonly string[];
}

/** Detaches by the record alone. Throws `Failure`. See `DetachRequest` for what may be kept. */
export async function detachRecorded(
  record: AttachmentRecord,
  keep: Pick<DetachRequest, "keepsAddresses"> = {},
): Promise<void> {
  const config = configOf(record);
  await detach({
    key: record.key,
    netns: isOrphan(record) ? undefined : record.netns,
    config,
    knownIps: [],
    delegate: delegateOf(record, config),
    ...keep,
  });
}

async function detachAll(records: readonly AttachmentRecord[], failures: Failure[]): Promise<Key[]> {
  const done: Key[] = [];
  for (const record of records) {
    try {
      await detachRecorded(record);
      done.push(record.key);
    } catch (e) {
      failures.push(asFailure(e, `collect ${describeKey(record.key)}`));
    }
  }
  return done;
}

function throwAll(failures: readonly Failure[]): void {
  if (failures.length === 0) return;
  throw new Failure("incomplete", `collect garbage: ${failures.map((f) => f.message).join("; ")}`, {
    advice: "The rest was collected. Remove the cause and collect again.",
  });
}

/** A virtual machine's on the host that is in use: runtimes of containers know nothing of it. */
function isGuests(r: AttachmentRecord): boolean {
  return r.guest !== undefined && r.netns === OWN_NAMESPACE && !isOrphan(r);
}

/**
 * CNI's GC: detaches every attachment of the network that is not in `valid` and no virtual machine's, and releases its IPAM's reservations that
 * belong to none of them. Goes on past failures and throws them together at the end: `Failure` (`incomplete`).
 */
export async function collect(
  config: NetworkConfig,
  valid: readonly Key[],
  delegate: DelegateCall,
): Promise<Collected> {
  const failures: Failure[] = [];
  const wanted = new Set(valid.map(describeKey));
  const own = listRecords((f) => failures.push(f)).filter((r) => r.key.network === config.name);
  const stale = own.filter((r) => !wanted.has(describeKey(r.key)) && !isGuests(r));
  const spared = own.filter(isGuests).map((r) => r.key);
  const attachments = await detachAll(stale, failures);
  let addresses: readonly string[] = [];
  try {
    removeUnfinished((key) => key.network === config.name);
  } catch (e) {
    failures.push(asFailure(e, "remove unfinished records"));
  }
  try {
    const { ipam } = await providersOf(config, delegate);
    addresses = await ipam.collect(config.name, [...valid, ...spared]);
  } catch (e) {
    failures.push(asFailure(e, "collect addresses"));
  }
  throwAll(failures);
  return { attachments, addresses };
}

/**
 * The attachments whose namespace is gone, on every network.
 * @param unreadable gets the failure of each record that cannot be read, or whose namespace cannot be looked at
 */
export function orphans(unreadable: (failure: Failure) => void): AttachmentRecord[] {
  return listRecords(unreadable).filter((record) => {
    try {
      return hasLostNamespace(record);
    } catch (e) {
      unreadable(asFailure(e, `look whether ${describeKey(record.key)} is still needed`));
      return false;
    }
  });
}

/**
 * What a network's cloud keeps for containers of this machine that have no record; none where it has no cloud. An ADD
 * that is under way has one. Throws `Failure`.
 */
export async function cloudStrays(config: NetworkConfig, delegate: DelegateCall): Promise<readonly CloudStray[]> {
  const { cloud } = await providersOf(config, delegate);
  if (cloud === undefined) return [];
  const valid = listRecords(() => {}).map((r) => r.holder ?? r.key);
  return (await cloud.strays(config.name, valid)).map((stray) => ({
    what: describeStray(stray),
    commands: explainStray(stray),
    remove: async () => await cloud.remove(stray),
  }));
}

/** Detaches every attachment whose namespace is gone. Goes on past failures and throws them together at the end. */
export async function collectOrphans(): Promise<Collected> {
  const failures: Failure[] = [];
  const attachments = await detachAll(
    orphans((f) => failures.push(f)),
    failures,
  );
  try {
    removeUnfinished(() => true);
  } catch (e) {
    failures.push(asFailure(e, "remove unfinished records"));
  }
  throwAll(failures);
  return { attachments, addresses: [] };
}
