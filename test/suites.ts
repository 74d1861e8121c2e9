// Commands of suites (`NAME.suite.ts`) that need root and real programs: what they need is installed and built, they run in
// namespaces of their own, so that nothing of the machine's is touched and nothing stays, and what they counted is printed.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { type Counts, countsOf } from "../scripts/junit.ts";

const root = new URL("..", import.meta.url).pathname;
const SUFFIX = ".suite.ts";
/** A first process that waits for orphans, as an init would; a runtime takes a zombie for a living container. */
const init = ["sh", "-c", '"$@" & wait $!', "init"];
const inherit = ["ignore", "inherit", "inherit"] as const;

/** The suites of one folder. */
export interface Suites {
  /** Its main module: it is started again for each step below. */
  readonly main: string;
  /** Where reports go, from the project's root; `npm test` empties `test-results`. */
  readonly results: string;
  /** Further namespaces, as `unshare` names them, beside those of network, mounts and processes. */
  readonly namespaces?: readonly string[];
  /** Whether each suite has namespaces to itself; else all share them, and what they start. */
  readonly apart?: boolean;
  /** Those that share namespaces may take so many seconds, then they are ended and count as failed. */
  readonly limitS: number;
  /** A test may take so many milliseconds. */
  readonly timeoutMs: number;
  /** Flags that are for `hide`, not for the test runner. */
  readonly ownFlags?: readonly string[];
  /** Why nothing can be run here; undefined where it can. */
  readonly obstacle: () => string | undefined;
  /** Installs and builds what the suites need. Whatever it throws is an obstacle too. */
  readonly prepare: (suites: readonly string[]) => void | Promise<void>;
  /** Called before the namespaces are made, in the process that makes them; `name` is of this run alone. */
  readonly enter?: (name: string) => void;
  /** Takes back what `enter` did, after all processes have ended. */
  readonly leave?: (name: string) => void;
  /** Called in the namespaces: hides the machine. Its answer is the tests' environment; absent: this process's own. */
  readonly hide: (ownFlags: readonly string[]) => Record<string, string> | void;
}

/** Why packages of Debian 12 cannot be installed here; undefined where they can. `what` is the reason. */
export function notDebian12(what: string): string | undefined {
  const release = readFileSync("/etc/os-release", "utf8");
  if (/^ID=debian$/mu.test(release) && /^VERSION_ID="?12"?$/mu.test(release)) return undefined;
  return `it needs Debian 12: ${what}`;
}

/** Builds dist/berth. Throws with the build's words. */
export function build(): void {
  const r = Bun.spawnSync(["npm", "run", "--silent", "build"], { cwd: root });
  if (r.exitCode !== 0) throw new Error(`npm run build: ${r.stdout.toString()}${r.stderr.toString()}`);
}

const folderOf = (s: Suites): string => s.main.slice(0, s.main.lastIndexOf("/"));
const reportOf = (s: Suites, suites: readonly string[]): string => `${root}${s.results}/${suites.join("+")}.xml`;

/** Enters whatever is entered before the namespaces, and makes these. */
function enter(s: Suites, name: string, args: readonly string[]): number {
  s.enter?.(name);
  const kinds = ["--net", "--mount", "--pid", ...(s.namespaces ?? [])];
  const unshare = ["unshare", ...kinds, "--fork", "--kill-child", "--mount-proc", "--propagation", "private"];
  const command = [...unshare, ...init, process.execPath, s.main, "inside", ...args];
  return Bun.spawnSync(["setpriv", "--pdeathsig", "KILL", ...command], { stdio: [...inherit] }).exitCode;
}

/** In the namespaces: runs suites. Flags are for the test runner, as -t=PATTERN, but for the suites' own. */
function inside(s: Suites, suites: readonly string[], all: readonly string[]): number {
  const isOwn = (flag: string): boolean => s.ownFlags?.includes(flag) ?? false;
  const env = s.hide(all.filter(isOwn)) ?? process.env;
  const flags = all.filter((flag) => !isOwn(flag));
  const report = [`--timeout=${s.timeoutMs}`, "--reporter=junit", `--reporter-outfile=${reportOf(s, suites)}`];
  const files = suites.map((suite) => `${folderOf(s)}/${suite}${SUFFIX}`);
  const command = [process.execPath, "test", ...flags, ...report, ...files];
  return Bun.spawnSync(command, { cwd: root, env, stdio: [...inherit] }).exitCode;
}

/** Runs suites in namespaces that they share, and counts. */
async function run(s: Suites, suites: readonly string[], flags: readonly string[]): Promise<Counts> {
  console.log(`\n== ${suites.join(", ")}`);
  const name = `berth-suites-${process.pid}`;
  const again = [process.execPath, s.main, "enter", name, suites.join(","), ...flags];
  const p = Bun.spawn(["setpriv", "--pdeathsig", "KILL", ...again], { env: process.env, stdio: [...inherit] });
  let overdue = false;
  const limit = setTimeout(() => {
    overdue = true;
    p.kill("SIGKILL");
  }, s.limitS * 1000);
  const code = await p.exited;
  clearTimeout(limit);
  s.leave?.(name);
  const counts = countsOf(reportOf(s, suites));
  if (counts !== undefined && counts.tests > 0 && (code === 0 || counts.failed > 0)) return counts;
  const end = overdue ? `were ended after ${s.limitS} s` : `ended with exit status ${code}`;
  console.log(`${suites.join(", ")} ${end}${counts === undefined ? ", without a report" : `, ${counts.tests} tests`}`);
  return { tests: counts?.tests ?? 1, failed: Math.max(1, counts?.failed ?? 0), skipped: counts?.skipped ?? 0 };
}

/** The suites whose names contain one of the words; all, where there is no word. */
function chosen(s: Suites, words: readonly string[]): string[] {
  const all = readdirSync(folderOf(s)).filter((f) => f.endsWith(SUFFIX));
  const names = all.map((f) => f.slice(0, -SUFFIX.length)).toSorted();
  return names.filter((name) => words.length === 0 || words.some((word) => name.includes(word)));
}

async function obstacleOf(s: Suites, suites: readonly string[]): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "it needs root: namespaces, mounts, and packages to be installed";
  const why = s.obstacle();
  if (why !== undefined) return why;
  try {
    rmSync(`${root}${s.results}`, { recursive: true, force: true });
    mkdirSync(`${root}${s.results}`, { recursive: true });
    await s.prepare(suites);
    return undefined;
  } catch (e) {
    return e instanceof Error ? e.message : String(e);
  }
}

async function outside(s: Suites, args: readonly string[]): Promise<number> {
  const flags = args.filter((a) => a.startsWith("-"));
  const suites = chosen(
    s,
    args.filter((a) => !a.startsWith("-")),
  );
  if (suites.length === 0) console.log(`there is no suite of such a name; there are ${chosen(s, []).join(", ")}`);
  const why = suites.length === 0 ? undefined : await obstacleOf(s, suites);
  if (why !== undefined) console.log(`None of the suites ${suites.join(", ")} can run here: ${why}`);
  const all: Counts[] = [];
  if (why !== undefined) all.push({ tests: suites.length, failed: suites.length, skipped: 0 });
  else if (s.apart === true) for (const suite of suites) all.push(await run(s, [suite], flags));
  else if (suites.length > 0) all.push(await run(s, suites, flags));
  const sum = (key: keyof Counts): number => all.reduce((n, c) => n + c[key], 0);
  const [failed, skipped] = [sum("failed"), sum("skipped")];
  const passed = `${Math.max(0, sum("tests") - failed - skipped)} passed`;
  console.log(`\n${passed}, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  return failed > 0 || suites.length === 0 ? 1 : 0;
}

/** The whole command: `[WORD…] [-FLAG…]`. The process's exit status is not 0 where anything failed or nothing ran. */
export async function runSuites(s: Suites): Promise<void> {
  const [step, ...args] = process.argv.slice(2);
  if (step === "enter") {
    const [name = "", ...rest] = args;
    process.exitCode = enter(s, name, rest);
  } else if (step === "inside") {
    const [suites = "", ...flags] = args;
    process.exitCode = inside(s, suites.split(","), flags);
  } else {
    process.exitCode = await outside(s, process.argv.slice(2));
  }
}
