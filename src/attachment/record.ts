// The records of attachments: what was planned, written before the first step is applied. They live in /run/berth, so
// that they go with the kernel's state.
import { isObject, parseJson } from "../ipam/json.ts";
import {
  isMissing,
  listDirectory,
  makeDirectory,
  readOwnFile,
  removeFile,
  renameFile,
  writeFile,
} from "../kernel/files.ts";
import { Errno, SysError } from "../kernel/errno.ts";
import { lockFile, tryLockFile } from "../kernel/locks.ts";
import { bootId } from "../kernel/namespaces.ts";
import { isRunning } from "../kernel/processes.ts";
import { Places } from "../plan/places.ts";
import type { Plan } from "../plan/plan.ts";
import { Failure } from "../report/failure.ts";
import { describeKey, type Key, keyFileName, keyOfFileName } from "./key.ts";
import { type AttachmentRecord, oddKey, VERSION } from "./record-form.ts";

const DIRECTORY = "/run/berth";
/** Where the records are; its modification time changes with every one that is written or removed. */
export const ATTACHMENTS = `${DIRECTORY}/attachments`;
const LOCKS = `${DIRECTORY}/locks`;
const LOCK_FILES = 256;
/** The ending of a record's file while it is written. */
const UNFINISHED = ".new";

export type { AttachmentRecord, GuestRecord } from "./record-form.ts";

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

/** How many attachments of this process are at work. */
let atWork = 0;
/** How often a lock is asked for that must not be waited for in the kernel, milliseconds. */
const POLL_MS = 2;

/**
 * Waits for the lock of an attachment; of several callers with the same key one goes at a time. Throws `Failure` (`io`).
 *
 * Two attachments may share a lock file. While one of this process is at work, which may await an answer, the wait of
 * another must not block the thread: the lock would never be given back. Then it is a promise.
 * @param waiting is called where it has to be waited for
 */
export function lockAttachment(key: Key, waiting?: () => void): Disposable | Promise<Disposable> {
  const name = lockName(key);
  return atWork === 0 ? working(lockNamed(name)) : lockInTurn(name, waiting);
}

async function lockInTurn(name: string, waiting: (() => void) | undefined): Promise<Disposable> {
  for (;;) {
    const lock = atWork === 0 ? lockNamed(name) : lockNamed(name, tryLockFile);
    if (lock !== undefined) return working(lock);
    waiting?.();
    await Bun.sleep(POLL_MS);
  }
}

/** The lock of one that is at work until it is disposed of. */
function working(lock: Disposable): Disposable {
  atWork++;
  return {
    [Symbol.dispose]: () => {
      atWork--;
      lock[Symbol.dispose]();
    },
  };
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

function lockNamed(name: string): Disposable;
function lockNamed(name: string, lock: typeof tryLockFile): Disposable | undefined;
function lockNamed(name: string, lock: typeof lockFile | typeof tryLockFile = lockFile): Disposable | undefined {
  try {
    return withDirectory(LOCKS, () => lock(`${LOCKS}/${name}`));
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
    text = readOwnFile(path);
  } catch (e) {
    if (e instanceof SysError && e.errno === Errno.ELOOP) throw damaged(path, "it is a symbolic link", e);
    throw ioFailure(`read the record ${path}`, e);
  }
  return text === undefined ? undefined : parse(path, text);
}

/** Of a record that Berth did not write so. */
class Damaged extends Failure {}

function damaged(path: string, why: string, cause?: unknown): Damaged {
  return new Damaged("decode", `read the record ${path}: ${why}`, {
    advice:
      "Detach the attachment (CNI DEL, or berth detach): what can be recognised of it is removed, and the file too.",
    cause,
  });
}

function parse(path: string, text: string): AttachmentRecord {
  let json: unknown;
  try {
    json = parseJson(text, "read it");
  } catch (e) {
    throw damaged(path, "it is no JSON", e);
  }
  if (!isObject(json)) throw damaged(path, "it is no JSON object");
  const { version: stated } = json;
  if (stated !== VERSION) {
    if (!Number.isSafeInteger(stated)) throw damaged(path, "it has no version");
    throw new Failure(
      "decode",
      `read the record ${path}: its version is ${Number(stated)}, this Berth reads ${VERSION}`,
      {
        advice: "Use the Berth that wrote it.",
      },
    );
  }
  const odd = oddKey(json);
  if (odd !== undefined) throw damaged(path, `its ${odd} is none that Berth writes`);
  const record = json as unknown as AttachmentRecord;
  if (pathOf(record.key) !== path) throw damaged(path, `it is the record of ${describeKey(record.key)}`);
  return record;
}

/** {@link readRecord} for who removes an attachment: a record that is damaged is as good as none. Throws `Failure` (`io`, `decode`). */
export function readRecordIfSound(key: Key): AttachmentRecord | undefined {
  try {
    return readRecord(key);
  } catch (e) {
    if (e instanceof Damaged) return undefined;
    throw e;
  }
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

/** The attachments on a parent of the host, other than this one, in words: with kind and mode, and what is gone said. */
export function attachmentsOn(parent: string, except: Key): string[] {
  return listRecords(() => {}).flatMap((record) => {
    const step = record.plan.find((s) => s.type === "link");
    if (record.parent !== parent || keyFileName(record.key) === keyFileName(except) || step === undefined) return [];
    const mode = "mode" in step.detail ? ` ${step.detail.mode}` : "";
    const gone = isOrphan(record) ? ', its namespace gone: "berth gc" takes it back' : "";
    return [`${describeKey(record.key)} (${record.kind}${mode}${gone})`];
  });
}

/** False for a record that a kept /run brought over a boot. */
export function isOfThisBoot({ boot }: AttachmentRecord): boolean {
  return boot === undefined || boot === bootId();
}

/**
 * The steps that there may be something left of: of a former boot's nothing in the kernel, where another attachment may
 * have the same addresses by now.
 */
export function remainingSteps(record: AttachmentRecord): Plan {
  return isOfThisBoot(record) ? record.plan : record.plan.filter((step) => step.where === "cloud");
}

/**
 * True where a record's namespace is gone, or another one than was attached, or the process that it was for. Throws
 * `Failure`, `SysError` where that cannot be looked at.
 */
export function hasLostNamespace(record: AttachmentRecord): boolean {
  const process = record.guest?.process;
  if (!isOfThisBoot(record) || (process !== undefined && !isRunning(process))) return true; // inode numbers come again
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
