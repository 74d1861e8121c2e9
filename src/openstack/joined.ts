// Processes of one host that wish changes of the same thing: one of them makes the changes of all who wait.
import { listDirectory, makeDirectory, readFileIfThere, removeFile, renameFile, writeFile } from "../kernel/files.ts";
import { tryLockFile } from "../kernel/locks.ts";
import { asFailure, Failure, type Reason } from "../report/failure.ts";

/** How often a process looks whether its wish was carried out, milliseconds. */
const POLL_MS = 5;

/** What became of a wish; undefined: it was carried out. */
export type Outcome = Failure | undefined;

/** A process's flag while it ends (include/linux/sched.h). */
const PF_EXITING = 4;

let wishes = 0;

/** When a process was started, in the kernel's ticks since boot (proc(5), stat, field 22); undefined where it has ended. */
function startOf(pid: number): string | undefined {
  const [state, ...rest] = (read(`/proc/${pid}/stat`) ?? "").replace(/^.*\)/su, "").trim().split(" ");
  // its locks are free a moment before its state says that it has ended, and that it says until somebody asks
  const ending = (Number(rest[5]) & PF_EXITING) !== 0;
  return ending || state === "Z" || state === "X" ? undefined : rest[18];
}

function read(path: string): string | undefined {
  try {
    return readFileIfThere(path);
  } catch {
    return undefined; // as of a process that ended while it was read
  }
}

/** Writes a file that is there whole or not at all. */
function writeWhole(path: string, content: string): void {
  writeFile(`${path}.new`, content, { mode: 0o600 });
  renameFile(`${path}.new`, path);
}

function writeOutcome(path: string, outcome: Outcome): void {
  const { reason, message, advice } = outcome ?? {};
  writeWhole(path, JSON.stringify({ reason, message, advice }));
}

/** Throws what an outcome's file says; false where there is none yet. */
function settled(path: string): boolean {
  const text = read(path);
  if (text === undefined) return false;
  const { reason, message, advice } = JSON.parse(text) as { reason?: Reason; message?: string; advice?: string };
  if (reason === undefined || message === undefined) return true;
  throw new Failure(reason, message, advice === undefined ? {} : { advice });
}

/** The wishes of others that wait, by name; what processes left behind that are gone is removed. */
function waiting(directory: string, own: string): Map<string, string> {
  const found = new Map<string, string>();
  const names = listDirectory(directory).map((entry) => entry.name);
  for (const name of names.toSorted()) {
    const [, wish, pid, start] =
      /^((\d+)-(\d+)-\d+)\.wish/u.exec(name) ?? /^((\d+)-(\d+)-\d+)\.outcome/u.exec(name) ?? [];
    if (wish === undefined || wish === own) continue;
    if (startOf(Number(pid)) !== start) removeFile(`${directory}/${name}`);
    else if (name.endsWith(".wish") && read(`${directory}/${wish}.outcome`) === undefined) {
      const text = read(`${directory}/${name}`);
      if (text !== undefined) found.set(wish, text);
    }
  }
  return found;
}

/**
 * Has a wish carried out: by this process, together with those that wait meanwhile, or by another one. Throws the wish's
 * own `Failure`.
 * @param directory of the thing that shall change, for wishes and their lock
 * @param carryOut makes changes, and answers what became of each, in their order
 */
export async function joined<W>(
  directory: string,
  wish: W,
  carryOut: (wishes: readonly W[]) => Promise<readonly Outcome[]>,
): Promise<void> {
  makeDirectory(directory, 0o700);
  const own = `${process.pid}-${startOf(process.pid) ?? 0}-${++wishes}`;
  const [wishPath, outcomePath] = [`${directory}/${own}.wish`, `${directory}/${own}.outcome`];
  writeWhole(wishPath, JSON.stringify(wish));
  try {
    for (;;) {
      {
        using lock = tryLockFile(`${directory}/lock`);
        if (settled(outcomePath)) return;
        if (lock !== undefined) {
          const others = waiting(directory, own);
          const all = [wish, ...[...others.values()].map((text) => JSON.parse(text) as W)];
          const outcomes = await attempted(all, carryOut);
          removeFile(wishPath); // while the lock is held: the next one would carry it out again
          [...others.keys()].forEach((name, i) => writeOutcome(`${directory}/${name}.outcome`, outcomes[i + 1]));
          const [mine] = outcomes;
          if (mine !== undefined) throw mine;
          return;
        }
      }
      await Bun.sleep(POLL_MS * (0.5 + Math.random()));
    }
  } finally {
    for (const path of [wishPath, outcomePath]) removeFile(path);
  }
}

async function attempted<W>(
  all: readonly W[],
  carryOut: (wishes: readonly W[]) => Promise<readonly Outcome[]>,
): Promise<readonly Outcome[]> {
  try {
    return await carryOut(all);
  } catch (e) {
    const failure = asFailure(e, "carry out what was wished");
    return all.map(() => failure);
  }
}
