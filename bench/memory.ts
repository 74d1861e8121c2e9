// The peak memory of a call. Not by wait4's ru_maxrss: the kernel carries the high-water mark of whoever started the
// program over into it (exec_mmap in fs/exec.c), so a small program started by a big one looks big. VmHWM in
// /proc/PID/status belongs to the program alone; it is read over and over until the process ends.
import { readdirSync, readFileSync } from "node:fs";
import { environment, resultOf, type Target } from "./calls.ts";
import type { Config, Plugin } from "./plugins.ts";

/** Peak memory, MiB. */
export interface Memory {
  /** Resident memory of the largest process, pages of files (the executable) included. */
  readonly largest: number;
  /** Resident memory of the largest process without pages of files, which all processes of one executable share. */
  readonly anonymous: number;
  /** Resident memory of all processes that the call had at once. */
  readonly together: number;
  /** How often it was looked at; seldom, where other programs kept this one from running, and then the peak was missed. */
  readonly looks: number;
}

interface Seen {
  readonly peak: number;
  readonly anonymous: number;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // it has ended
  }
}

/** KiB; undefined where the process has ended. */
function memoryOf(pid: number): Seen | undefined {
  const status = readText(`/proc/${pid}/status`);
  const of = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "mu").exec(status)?.[1] ?? 0);
  const peak = of("VmHWM");
  return peak === 0 ? undefined : { peak, anonymous: of("RssAnon") };
}

/** The processes that a process started; the kernel keeps them by thread. */
function childrenOf(pid: number): number[] {
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  const texts = threads.map((thread) => readText(`/proc/${pid}/task/${thread}/children`));
  return texts.flatMap((text) =>
    text
      .split(" ")
      .filter((word) => word !== "")
      .map(Number),
  );
}

/** Watches a process of this one until it ends. It blocks the thread, so that the ended process is not reaped meanwhile. */
function watch(pid: number): Memory {
  let [largest, anonymous, together, looks] = [0, 0, 0, 0];
  for (let self = memoryOf(pid); self !== undefined; self = memoryOf(pid)) {
    looks++;
    const all = [self, ...childrenOf(pid).flatMap((child) => memoryOf(child) ?? [])];
    largest = Math.max(largest, ...all.map((m) => m.peak));
    anonymous = Math.max(anonymous, ...all.map((m) => m.anonymous));
    together = Math.max(
      together,
      all.reduce((sum, m) => sum + m.peak, 0),
    );
  }
  return { largest: largest / 1024, anonymous: anonymous / 1024, together: together / 1024, looks };
}

/** The peak memory of one ADD, which is done. Throws where it fails. */
export async function memoryOfAdd(plugin: Plugin, target: Target, config: Config): Promise<Memory> {
  const stdin = new TextEncoder().encode(JSON.stringify(config));
  const env = environment(plugin, "ADD", target);
  const p = Bun.spawn([plugin.executable], { env, stdin, stdout: "pipe", stderr: "ignore" });
  const memory = watch(p.pid);
  const stdout = await p.stdout.text();
  if ((await p.exited) !== 0) throw new Error(`${plugin.executable}, ADD of ${target.containerId}: ${stdout.trim()}`);
  resultOf(plugin, stdout);
  return memory;
}

/** A peak that was looked at less often is measured anew, in this many calls at most. */
const ENOUGH_LOOKS = 40;
const ATTEMPTS = 5;

/** The peak of a few calls, numbered from 0 on: of one that other programs interrupted it would be missed. */
export async function peakOf(call: (attempt: number) => Promise<Memory>): Promise<Memory> {
  const seen: Memory[] = [];
  for (let attempt = 0; attempt < ATTEMPTS && (seen.at(-1)?.looks ?? 0) < ENOUGH_LOOKS; attempt++) {
    seen.push(await call(attempt));
  }
  const most = (of: (m: Memory) => number): number => Math.max(...seen.map(of));
  return {
    largest: most((m) => m.largest),
    anonymous: most((m) => m.anonymous),
    together: most((m) => m.together),
    looks: most((m) => m.looks),
  };
}
