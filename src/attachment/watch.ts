// Watching: attachments are repaired as soon as the kernel says that something has changed.
import { Monitor, introduce } from "../kernel/monitor.ts";
import { findNamespace } from "../kernel/namespaces.ts";
import { Netlink } from "../kernel/netlink.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { describeKey, type Key } from "./key.ts";
import { type AttachmentRecord, isOrphan, listRecords } from "./record.ts";
import { repair } from "./repair.ts";

/** Nothing heard for so long, milliseconds: everything is looked at all the same. */
const PATIENCE_MS = 60_000;

/** What a watch has to say. */
export interface WatchReport {
  /** Something was mended: what did not hold. */
  mended(key: Key, sentence: string): void;
  /** Something could not be mended. Said once, until it changes. */
  failed(key: Key, failure: Failure): void;
}

/** Repairs everything now and whenever something changes, until the process ends. Throws `SysError` where it cannot listen. */
export function watch(report: WatchReport): never {
  using monitor = new Monitor();
  using nl = new Netlink();
  const said = new Map<string, string>();
  for (;;) {
    const records = listRecords(() => {}).filter((r) => r.allocation !== undefined && !isOrphan(r));
    for (const record of records) {
      listenIn(nl, record);
      mend(record, said, report);
    }
    monitor.wait(PATIENCE_MS);
  }
}

function listenIn(nl: Netlink, record: AttachmentRecord): void {
  using namespace = findNamespace(record.netns);
  if (namespace !== undefined) introduce(nl, namespace);
}

function mend(record: AttachmentRecord, said: Map<string, string>, report: WatchReport): void {
  const name = describeKey(record.key);
  try {
    for (const sentence of repair(record).found) report.mended(record.key, sentence);
    said.delete(name);
  } catch (e) {
    const failure = asFailure(e, `repair ${name}`);
    if (failure.reason === "missing" || said.get(name) === failure.message) return; // detached meanwhile, or known
    said.set(name, failure.message);
    report.failed(record.key, failure);
  }
}
