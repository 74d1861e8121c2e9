// The records of attachments: what was planned, written before the first step is applied. They live in /run/berth, so
// that they go with the kernel's state.
import type { Allocation } from "../ipam/provider.ts";
import {
  isMissing,
  listDirectory,
  makeDirectory,
  readFileIfThere,
  removeFile,
  renameFile,
  writeFile,
} from "../kernel/files.ts";
import { lockFile, tryLockFile } from "../kernel/locks.ts";
import { Places } from "../plan/places.ts";
import type { Plan } from "../plan/plan.ts";
import { Failure } from "../report/failure.ts";
import type { Kind } from "./kinds.ts";
import { describeKey, type Key, keyFileName, keyOfFileName } from "./key.ts";

const DIRECTORY = "/run/berth";
/** Where the records are; its modification time changes with every one that is written or removed. */
export const ATTACHMENTS = `${DIRECTORY}/attachments`;
const LOCKS = `${DIRECTORY}/locks`;
const LOCK_FILES = 256;
/** The ending of a record's file while it is written. */
const UNFINISHED = ".new";
const VERSION = 1;

/** What Berth remembers of an attachment. The kernel is the truth; this is the intention. */
export interface AttachmentRecord {
  /** Of this file's form. */
  readonly version: typeof VERSION;
  readonly key: Key;
  readonly kind: Kind;
  /** Path of the container's namespace at ADD. */
  readonly netns: string;
  /** Inode number of that namespace: its identity while it lives. */
  readonly netnsInode: number;
  readonly parent: string;
  /** When it was attached, ISO 8601. */
  readonly created: string;
  /** The configuration as it was given, as JSON text: a release needs it. */
  readonly config: string;
  /** CNI_PATH at ADD: a delegated IPAM plugin is found there. */
  readonly cniPath: string;
  /** The site file that it is of, by its path; absent: of none. */
  readonly site?: string;
  /** Its link is on its way between the host and its namespace, moved by another program: it is neither mended nor checked. */
  readonly inTransit?: true;
  /** Absent while IPAM is being asked. */
  readonly allocation?: Allocation;
  readonly plan: Plan;
}

function pathOf(key: Key): string {
  return `${ATTACHMENTS}/${keyFileName(key)}`;
}

/** Does it; where a directory is missing, makes it and does it again. */
function withDirectory<T>(directory: string, f: () => T): T {
  try {
    return f();
  } catch (e) {
    if (!isMissing(e)) throw e;
    makeDirectory(directory, 0o700);
    return f();
  }
}

function ioFailure(doing: string, e: unknown): Failure {
  return e instanceof Failure
    ? e
    : new Failure("io", `${doing}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
}

/** Waits for the lock of an attachment; of several callers with the same key one goes at a time. Throws `Failure` (`io`). */
export function lockAttachment(key: Key): Disposable {
  return lockNamed(lockName(key));
}

function lockName(key: Key): string {
  const n = Bun.hash.xxHash32(keyFileName(key)) % LOCK_FILES;
  return `attachment-${n.toString(16).padStart(2, "0")}`;
}

/**
 * Waits for the locks of what a plan shares with others on the host: its parent, whose access link is made and removed by
 * one at a time, and, where it leads to a table of Berth's, that table's rule, which all parents share. Throws `Failure`
 * (`io`).
 */
export function lockShared(parent: string | undefined, plan: Plan): Disposable {
  using stack = new DisposableStack(); // always in this order: two that need both wait for each other's first
  if (parent !== undefined) stack.use(lockNamed(`parent-${parent}`));
  if (plan.some((s) => s.type === "table-rule")) stack.use(lockNamed("table-rule"));
  return stack.move();
}

function lockNamed(name: string): Disposable {
  try {
    return withDirectory(LOCKS, () => lockFile(`${LOCKS}/${name}`));
  } catch (e) {
    throw ioFailure(`lock ${LOCKS}/${name}`, e);
  }
}

/** Writes a record whole or not at all. Throws `Failure` (`io`). */
export function writeRecord(record: AttachmentRecord): void {
  const path = pathOf(record.key);
  const unfinished = `${path}${UNFINISHED}`;
  try {
    withDirectory(ATTACHMENTS, () => {
      writeFile(unfinished, JSON.stringify(record), { mode: 0o600 });
    });
    renameFile(unfinished, path);
  } catch (e) {
    try {
      removeFile(unfinished);
    } catch {
      // what keeps it from being removed is what kept it from being written
    }
    throw ioFailure(`write the record ${path}`, e);
  }
}

/**
 * Removes what processes that were killed while they wrote a record left of it. One that is being written just now stays.
 * Throws `Failure` (`io`), `SysError`.
 * @param wanted says of which attachments
 */
export function removeUnfinished(wanted: (key: Key) => boolean): void {
  for (const { name } of listDirectory(ATTACHMENTS)) {
    if (!name.endsWith(`.json${UNFINISHED}`)) continue;
    const key = keyOfFileName(name.slice(0, -UNFINISHED.length));
    if (key === undefined || !wanted(key)) continue;
    using lock = tryLockFile(`${LOCKS}/${lockName(key)}`);
    if (lock !== undefined) removeFile(`${ATTACHMENTS}/${name}`);
  }
}

/** The record of an attachment; undefined where there is none. Throws `Failure` (`io`, `decode`). */
export function readRecord(key: Key): AttachmentRecord | undefined {
  return read(pathOf(key));
}

function read(path: string): AttachmentRecord | undefined {
  let text;
  try {
    text = readFileIfThere(path);
  } catch (e) {
    throw ioFailure(`read the record ${path}`, e);
  }
  if (text === undefined) return undefined;
  let record: AttachmentRecord;
  try {
    record = JSON.parse(text) as AttachmentRecord;
  } catch (e) {
    throw new Failure("decode", `read the record ${path}: it is no JSON`, {
      advice: "The attachment can still be removed: delete the file, then detach again.",
      cause: e,
    });
  }
  const stated: number = record.version;
  if (stated !== VERSION) {
    throw new Failure("decode", `read the record ${path}: its version is ${stated}, this Berth reads ${VERSION}`, {
      advice: "Use the Berth that wrote it.",
    });
  }
  return record;
}

/** The records of a container on a network, whatever their interfaces. Throws `Failure` (`io`, `decode`). */
export function recordsOf(network: string, containerId: string): AttachmentRecord[] {
  const own = listDirectory(ATTACHMENTS).filter(
    ({ name }) => name.startsWith(`${network}:${containerId}:`) && name.endsWith(".json"),
  );
  return own.flatMap(({ name }) => read(`${ATTACHMENTS}/${name}`) ?? []);
}

/** Removes a record; one that is gone already is success. Throws `Failure` (`io`). */
export function removeRecord(key: Key): void {
  const path = pathOf(key);
  try {
    removeFile(path);
    removeFile(`${path}${UNFINISHED}`);
  } catch (e) {
    throw ioFailure(`remove the record ${path}`, e);
  }
}

/** The attachment, other than this one, whose plan has a route on the host to an address, in words. */
export function ownerOf(ip: string, except: Key): string | undefined {
  const claims = (record: AttachmentRecord): boolean =>
    keyFileName(record.key) !== keyFileName(except) &&
    record.plan.some((s) => s.type === "route" && s.where === "host" && s.route.dst.ip === ip);
  const owner = listRecords(() => {}).find(claims);
  if (owner === undefined) return undefined;
  return `${describeKey(owner.key)}${isOrphan(owner) ? ' (its namespace is gone: "berth gc" takes it back)' : ""}`;
}

/** True where a record's namespace is gone, or another one than was attached. Throws `Failure`, `SysError` where it cannot be looked at. */
export function hasLostNamespace(record: AttachmentRecord): boolean {
  using places = Places.find(record.netns);
  return places.container === undefined || places.container.inode !== record.netnsInode;
}

/** {@link hasLostNamespace}; what cannot be looked at is not lost. */
export function isOrphan(record: AttachmentRecord): boolean {
  try {
    return hasLostNamespace(record);
  } catch {
    return false;
  }
}

/** All records that can be read, by key; `unreadable` gets the failure of each that cannot. */
export function listRecords(unreadable: (failure: Failure) => void): AttachmentRecord[] {
  let names;
  try {
    names = listDirectory(ATTACHMENTS).map((entry) => entry.name);
  } catch (e) {
    throw ioFailure(`list ${ATTACHMENTS}`, e);
  }
  const records: AttachmentRecord[] = [];
  for (const name of names.filter((n) => n.endsWith(".json")).toSorted()) {
    try {
      const record = read(`${ATTACHMENTS}/${name}`);
      if (record !== undefined) records.push(record);
    } catch (e) {
      unreadable(ioFailure(`read ${name}`, e));
    }
  }
  return records;
}
