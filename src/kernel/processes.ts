// Processes by an identity that outlives their numbers.
import { readFileIfThere, readLink } from "./files.ts";

/** A process: its number is given to others later, its number and start are not. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after the boot (proc(5), /proc/PID/stat, field 22). */
  readonly started: number;
  /** The process namespace in which that is its number, as /proc/PID/ns/pid names it. */
  readonly namespace: string;
}

/** The identity of a process; undefined where there is none of that number, or only one that has ended. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readFileIfThere(`/proc/${pid}/stat`);
  // the second field is the program's name, in brackets, and may hold anything
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, started] = [fields?.[0], fields?.[19]];
  return started === undefined || state === "Z" || state === "X"
    ? undefined
    : { pid, started: Number(started), namespace: readLink("/proc/self/ns/pid") };
}

/** Whether a process still runs; one of another process namespace cannot be looked at, and counts as running. */
export function isRunning({ pid, started, namespace }: ProcessIdentity): boolean {
  return readLink("/proc/self/ns/pid") !== namespace || identify(pid)?.started === started;
}
