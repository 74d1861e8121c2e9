// What is tried at each point: a call of the executable in a state of the host, and what must hold after it.
import { mkdtempSync } from "node:fs";
import { call } from "../cni/call.ts";
import { type FaultHost, heldLocks, type Network } from "./host.ts";
import { type Point, pointsOf, readRecording, recording, type SystemCall, tampering } from "./strace.ts";

/** How a call of the executable ended. */
export interface Ended {
  readonly how: "killed" | "succeeded" | "answered an error" | "crashed";
  readonly out: string;
}

/** One verb on one network, or one program's whole work. */
export interface Scenario {
  readonly verb: string;
  readonly network: Network;
  /** True for the program's own first system call: what comes before is the start of the runtime. */
  isOwn(call: SystemCall): boolean;
  /** Makes the state in which the program is started. It is given back by {@link settle}. */
  prepare(host: FaultHost): Promise<void>;
  /** Runs the program to its end, whatever that is; `before` is to be put before its command. */
  run(host: FaultHost, before: readonly string[]): Promise<Ended>;
  /**
   * What a caller does next. Throws where something does not hold, and leaves the host as it was before {@link prepare}.
   * @param n counts the points: what callers may do in either way is done in both
   */
  settle(host: FaultHost, ended: Ended, before: string, n: number): Promise<void>;
}

/** A call that takes longer than this hangs, milliseconds. */
const HANGS_MS = 40_000;

/** Runs a command in a process group of its own. Throws where it hangs. */
export async function runToEnd(
  argv: readonly string[],
  env: Record<string, string>,
  stdin: string,
  argv0?: string,
): Promise<Ended> {
  const child = Bun.spawn([...argv], {
    env,
    stdin: new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
    ...(argv0 === undefined ? {} : { argv0 }),
  });
  let hung = false;
  const limit = setTimeout(() => {
    hung = true;
    process.kill(-child.pid, "SIGKILL");
  }, HANGS_MS);
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  clearTimeout(limit);
  if (hung) throw new Error(`it hung for ${HANGS_MS / 1000} s: ${out}${err}`);
  const all = `${out}${err}`;
  return { how: howItEnded(child.signalCode, child.exitCode ?? 0, all), out: all };
}

function howItEnded(signal: Bun.Subprocess["signalCode"], status: number, out: string): Ended["how"] {
  if (signal === "SIGKILL") return "killed";
  // so the runtime ends where it cannot have a thread or memory
  if (signal !== null || /^Bun v|The futex facility returned/mu.test(out)) return "crashed";
  return status === 0 ? "succeeded" : "answered an error";
}

/** Fails where two states differ; says in which lines. */
export function expectSame(when: string, now: string, before: string): void {
  if (now === before) return;
  const [a, b] = [before.split("\n"), now.split("\n")];
  const gone = a.filter((line) => !b.includes(line)).map((line) => `- ${line.trim()}`);
  const come = b.filter((line) => !a.includes(line)).map((line) => `+ ${line.trim()}`);
  throw new Error(`${when} the state differs:\n${[...gone, ...come].slice(0, 12).join("\n")}`);
}

/** After whatever happened: a new attachment works, and can be taken away again. */
export async function expectUsable(host: FaultHost, before: string): Promise<void> {
  const held = heldLocks();
  if (held.length > 0) throw new Error(`locks are held: ${held.join(", ")}`);
  const { json } = await host.mustSucceed("ADD");
  await host.mustSucceed("CHECK", { ...host.configOf("CHECK"), prevResult: json });
  await host.mustSucceed("DEL");
  expectSame("after a new ADD and DEL", host.state(), before);
}

/** DEL, or GC alone: both must leave nothing. */
export async function clear(host: FaultHost, before: string, n: number): Promise<void> {
  const verb = n % 2 === 0 ? "DEL" : "GC";
  await host.mustSucceed(verb);
  expectSame(`after ${verb}`, host.state(), before);
}

/** A verb of CNI. */
export function cniScenario(verb: "ADD" | "DEL" | "GC", network: Network, executable: string): Scenario {
  return {
    verb,
    network,
    isOwn: ({ name, text }) => name === "read" && text.startsWith("read(0,"),
    async prepare(host) {
      if (verb !== "ADD") await host.mustSucceed("ADD");
    },
    async run(host, before) {
      return await runToEnd([...before, executable], host.environmentOf(verb), JSON.stringify(host.configOf(verb)));
    },
    async settle(host, { how, out }, before, n) {
      const answered = how === "succeeded" || how === "answered an error";
      if (verb === "ADD" && how === "succeeded") {
        const prevResult: unknown = JSON.parse(out.split("\n")[0] ?? "");
        const check = await call("CHECK", { ...host.configOf("CHECK"), prevResult }, host.environmentOf("CHECK"));
        if (check.exitCode !== 0) throw new Error(`ADD succeeded, and CHECK answers ${check.text}`);
      }
      // an ADD that says it failed has left nothing, unless it says that it has; a DEL that says it succeeded neither
      if (answered && (verb === "ADD") === (how === "answered an error") && !isIncomplete(out)) {
        expectSame(`${verb} ${how} (${out.trim()}), and`, host.state(), before);
      }
      await clear(host, before, n);
      await expectUsable(host, before);
    },
  };
}

/** Whether an answer says that something could not be undone. */
function isIncomplete(out: string): boolean {
  return /Undoing what was done failed too|\. Then |write the answer to stdout/u.test(out);
}

/** The points of a scenario, from a recording of one undisturbed run. */
export async function findPoints(scenario: Scenario, host: FaultHost): Promise<Point[]> {
  const log = `${mkdtempSync("/run/faults-")}/log`;
  const before = host.state();
  await scenario.prepare(host);
  const ended = await scenario.run(host, recording(log));
  if (ended.how !== "succeeded") throw new Error(`${scenario.verb} undisturbed ${ended.how}: ${ended.out}`);
  await scenario.settle(host, ended, before, 0);
  return pointsOf(readRecording(log), (c) => scenario.isOwn(c));
}

/** Tries one point. Throws where something does not hold afterwards. */
export async function tryPoint(
  scenario: Scenario,
  host: FaultHost,
  point: Point,
  before: string,
  n: number,
): Promise<Ended> {
  await scenario.prepare(host);
  const ended = await scenario.run(host, tampering(point));
  try {
    await scenario.settle(host, ended, before, n);
  } catch (e) {
    throw new Error(`${ended.how}, ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
  return ended;
}
