// npm run test:faults [WORD…] [-- --docs] [--every=N]: kills dist/berth at every system call that it makes, and makes every call fail once.
// WORDs choose scenarios by verb or network; with --every=N only each Nth point is tried. With --docs the figures are written to
// docs/reliability.md.
import { readFileSync, writeFileSync } from "node:fs";
import { describeMachine, hideMachine, inNamespaces, machine, namespacesRefused } from "../../bench/host.ts";
import { runScenario, scenarios, type Tally } from "./run.ts";

const root = new URL("../../", import.meta.url).pathname;
const executable = `${root}dist/berth`;
const page = `${root}docs/reliability.md`;
/** Each in namespaces of its own. They wait for the kernel most of their time. */
const WORKERS = 8;
const MARKED = /(<!-- faults -->\n)[^]*(<!-- \/faults -->)/u;

const arguments_ = process.argv.slice(2);
const every = Number(arguments_.find((a) => a.startsWith("--every="))?.slice("--every=".length) ?? 1);

/** In namespaces: one worker's share of one scenario. Prints the tally. */
async function share(scenario: number, worker: number): Promise<void> {
  hideMachine();
  const chosen = scenarios(executable)[scenario];
  if (chosen === undefined) throw new Error(`there is no scenario ${scenario}`);
  const wanted = (n: number): boolean => n % every === 0 && (n / every) % WORKERS === worker;
  const tally = await runScenario(chosen, (points) => [...points.keys()].filter(wanted));
  console.log(JSON.stringify(tally));
  process.exit(0); // whatever was left running goes with the namespace
}

async function startShare(scenario: number, worker: number): Promise<Tally> {
  const command = inNamespaces(
    process.execPath,
    import.meta.path,
    "--share",
    `${scenario}`,
    `${worker}`,
    `--every=${every}`,
  );
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  const [out] = await Promise.all([child.stdout.text(), child.exited]);
  const line = out.trim().split("\n").at(-1) ?? "";
  if (!line.startsWith("{")) throw new Error(`a worker ended without an answer: ${out}`);
  return JSON.parse(line) as Tally;
}

function added<K extends string>(a: Record<K, number>, b: Record<K, number>): Record<K, number> {
  const keys = Object.keys(a) as K[];
  return Object.fromEntries(keys.map((key) => [key, a[key] + b[key]])) as Record<K, number>;
}

function together(a: Tally, b: Tally): Tally {
  return {
    ...a,
    points: Math.max(a.points, b.points), // the runtime's own calls are not always the same
    tried: added(a.tried, b.tried),
    ended: added(a.ended, b.ended),
    violations: [...a.violations, ...b.violations],
  };
}

function row({ verb, network, points, tried, ended, violations }: Tally): string[] {
  const numbers = [points, ...Object.values(tried), ...Object.values(ended), violations.length];
  return [verb, network, ...numbers.map((n) => n.toLocaleString("en-US"))];
}

const HEADINGS = [
  "verb",
  "network",
  "points",
  "killed",
  "failed",
  "refused",
  "ended: killed",
  "crashed",
  "error",
  "success",
  "broken promises",
];

/** A table of rows, with their sums. */
function table(rows: readonly (readonly string[])[]): string {
  const sums = HEADINGS.slice(2).map((_, i) =>
    rows.reduce((sum, cells) => sum + Number((cells[i + 2] ?? "0").replaceAll(",", "")), 0),
  );
  const total = ["**all**", "", ...sums.map((n) => n.toLocaleString("en-US"))];
  const all = [HEADINGS, HEADINGS.map(() => "---"), ...rows, total];
  return all.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** The rows that the page has by now, of scenarios that were not run again. */
function formerRows(tallies: readonly Tally[]): string[][] {
  const [, text = ""] = MARKED.exec(readFileSync(page, "utf8"))?.[0].split("faults -->") ?? [];
  const rows = text.split("\n").map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  const known = new Set(scenarios(executable).map((s) => `${s.verb} ${s.network.name}`));
  for (const { verb, network } of tallies) known.delete(`${verb} ${network}`);
  return rows.filter(([verb, network]) => known.has(`${verb} ${network}`));
}

/** Replaces what the page has of these scenarios. */
function writeDocs(tallies: readonly Tally[], on: string): void {
  const order = scenarios(executable).map((s) => `${s.verb} ${s.network.name}`);
  const place = ([verb, network]: readonly string[]): number => order.indexOf(`${verb} ${network}`);
  const rows = [...formerRows(tallies), ...tallies.map(row)].toSorted((a, b) => place(a) - place(b));
  const text = `${table(rows)}\n\n${on}.`;
  writeFileSync(
    page,
    readFileSync(page, "utf8").replace(MARKED, (_, a: string, b: string) => `${a}\n${text}\n\n${b}`),
  );
  Bun.spawnSync([process.execPath, "fmt", "--no-script", page], { cwd: root });
}

async function main(words: readonly string[]): Promise<number> {
  const refused =
    Bun.which("strace") === null ? "It needs strace (Debian: apt-get install strace)." : namespacesRefused();
  if (refused !== undefined) {
    console.error(refused);
    return 1;
  }
  const build = Bun.spawnSync([process.execPath, `${root}scripts/build.ts`], { stderr: "inherit" });
  if (build.exitCode !== 0) return 1;
  const on = describeMachine(machine());
  const start = performance.now();
  const tallies: Tally[] = [];
  for (const [i, { verb, network }] of scenarios(executable).entries()) {
    if (words.length > 0 && !words.some((word) => `${verb} ${network.name}`.includes(word))) continue;
    const shares = await Promise.all(Array.from({ length: WORKERS }, (_, worker) => startShare(i, worker)));
    const tally = shares.reduce(together);
    tallies.push(tally);
    const tried = Object.values(tally.tried).reduce((a, b) => a + b);
    const seconds = (performance.now() - start) / 1000;
    console.log(
      `${verb}, ${network.name}: ${tried} points tried, ${tally.violations.length} broken (${seconds.toFixed(0)} s)`,
    );
    for (const violation of tally.violations) console.log(`  ${violation}`);
  }
  console.log(`\n${table(tallies.map(row))}\n\n${on}; ${((performance.now() - start) / 1000).toFixed(0)} s.`);
  if (arguments_.includes("--docs")) writeDocs(tallies, on);
  return tallies.some((t) => t.violations.length > 0) ? 1 : 0;
}

if (arguments_[0] === "--share") await share(Number(arguments_[1]), Number(arguments_[2]));
else process.exitCode = await main(arguments_.filter((a) => !a.startsWith("-")));
