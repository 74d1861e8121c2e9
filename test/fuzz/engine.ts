// Runs a target's cases, and judges what comes of each.
import { Failure } from "../../src/report/failure.ts";
import { SysError } from "../../src/kernel/errno.ts";
import { Random } from "./random.ts";
import { shrink } from "./shrink.ts";

/** Something of Berth's that reads what others write. A case is plain data, so that it can be printed and made smaller. */
export interface Target<C = unknown> {
  /** As it is named on the command line. */
  readonly name: string;
  /** What is fed into what. */
  readonly brief: string;
  /** A case. */
  make(r: Random): C;
  /** Feeds it. What Berth throws goes through; what else is wrong is thrown as a {@link Broken}. */
  run(c: C): Promise<void> | void;
}

/** A promise of the target's own that a case broke. */
export class Broken extends Error {
  override readonly name = "Broken";
}

/** A case that must not have ended as it did. */
export interface Defect {
  readonly index: number;
  /** As small as it could be made. */
  readonly smallest: unknown;
  readonly thrown: unknown;
}

/** What a run came to. */
export interface Outcome {
  readonly cases: number;
  readonly seconds: number;
  /** Of all cases: those that were answered by a failure with a sentence. */
  readonly refused: number;
  /** The longest that a case took, milliseconds, and that case's number. */
  readonly slowestMs: number;
  readonly slowest: number;
  /** By what it throws, one case each. */
  readonly defects: readonly Defect[];
}

/** A case that takes longer, milliseconds, is taken for one that does not end. Usual ones take some microseconds. */
const TOO_LONG_MS = 20_000;
/** A sentence that is longer, characters, has somebody's whole input in it. */
const TOO_WORDY = 20_000;
/** How many different defects are worth looking for in one run. */
const ENOUGH = 8;

/** Why a case's end is a defect; undefined where it is as it shall be. */
function verdict(thrown: unknown): string | undefined {
  const [text, proper] =
    thrown instanceof Failure
      ? [`${thrown.message} ${thrown.advice ?? ""}`, thrown.reason !== "internal" && typeof thrown.reason === "string"]
      : thrown instanceof SysError
        ? [thrown.message, true]
        : [String(thrown), false];
  if (!proper) return "it is a defect's";
  if (text.trim() === "") return "it says nothing";
  if (text.length > TOO_WORDY) return "it is as long as the input";
  if (/[\p{Cc}\p{Bidi_Control}]/u.test(text)) return "a control character of the input is in its sentence";
  return undefined;
}

/** What tells one defect from another: what was thrown, where; without what was in the case. */
function signature(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const cause = thrown instanceof Failure && thrown.cause instanceof Error ? thrown.cause : thrown;
  const where = (cause.stack ?? "").split("\n").find((line) => /\/(src|test\/fuzz\/targets)\//u.test(line)) ?? "";
  return `${thrown.name} ${cause.name} ${where.trim()}${where === "" ? cause.message.slice(0, 60) : ""}`;
}

/** Runs one case; what it threw that it must not. */
async function defectOf<C>(
  target: Target<C>,
  c: C,
  seen: { refused: number },
): Promise<{ thrown: unknown } | undefined> {
  try {
    const running = target.run(c);
    if (running instanceof Promise) await running;
    return undefined;
  } catch (thrown) {
    if (verdict(thrown) !== undefined) return { thrown };
    seen.refused++;
    return undefined;
  }
}

/** How a run is made. */
export interface RunOptions {
  readonly cases: number;
  readonly seed: number;
  /** The first case's number. */
  readonly from?: number;
  /** Told now and then. */
  readonly progress?: (done: number, defects: number) => void;
}

/** Runs a target's cases, each from its number and the seed alone. */
export async function fuzz<C>(target: Target<C>, { cases, seed, from = 0, progress }: RunOptions): Promise<Outcome> {
  const start = performance.now();
  const seen = { refused: 0 };
  const defects = new Map<string, Defect>();
  let [slowestMs, slowest] = [0, from];
  let done = 0;
  for (; done < cases && defects.size < ENOUGH; done++) {
    const index = from + done;
    const c = target.make(new Random(seed, index));
    const began = performance.now();
    const defect = await defectOf(target, c, seen);
    const took = performance.now() - began;
    if (took > slowestMs) [slowestMs, slowest] = [took, index];
    const thrown = took > TOO_LONG_MS ? new Broken(`it took ${Math.round(took)} ms`) : defect?.thrown;
    if (done % 1000 === 999) {
      progress?.(done + 1, defects.size);
      if (done % 10_000 === 9999) await Bun.sleep(0); // lets the runtime collect what is over
    }
    if (thrown === undefined) continue;
    const kind = signature(thrown);
    if (defects.has(kind)) continue;
    const same = async (other: C): Promise<boolean> => {
      const found = await defectOf(target, other, { refused: 0 });
      return found !== undefined && signature(found.thrown) === kind;
    };
    const smallest = took > TOO_LONG_MS ? c : await shrink(c, same);
    defects.set(kind, { index, smallest, thrown });
  }
  const seconds = (performance.now() - start) / 1000;
  return { cases: done, seconds, refused: seen.refused, slowestMs, slowest, defects: [...defects.values()] };
}

/** A defect for people: how to see it again, the case, and what it threw. */
export function describeDefect(target: string, seed: number, { index, smallest, thrown }: Defect): string {
  const stack = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? `\ncause: ${thrown.cause.stack}` : "";
  const shown = JSON.stringify(smallest, (_, v: unknown) => (v instanceof Uint8Array ? v.toHex() : v));
  return `again with: npm run test:fuzz ${target} -- --seed ${seed} --from ${index} --cases 1
smallest case: ${shown.length > 4000 ? `${shown.slice(0, 4000)}… (${shown.length} characters)` : shown}
${verdict(thrown)}: ${stack}${cause}`;
}
