// npm run bench:ways [-- OPTION…]: host and task by the access link, beside a veth pair and beside a bridge.
import { existsSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { hideMachine, inNamespaces, machine, namespacesRefused } from "./host.ts";
import { hasIperf, noIperf } from "./traffic.ts";
import { type Extent, measure, type WayFigures } from "./ways-measure.ts";
import { reportOf, waysPage, waysText } from "./ways-report.ts";
import { buildWays } from "./ways.ts";

const root = new URL("..", import.meta.url).pathname;
const PAGE = `${root}docs/host-access-speed.md`;

const usage = `Usage: npm run bench:ways -- [OPTION…]
  --quick        few and short rounds: the figures say little
  --json FILE    write every measured value to FILE too
  --docs         write docs/host-access-speed.md
  --berth PATH   the executable that attaches the tasks (default: dist/berth)`;

const flags = {
  quick: { type: "boolean", default: false },
  json: { type: "string" },
  docs: { type: "boolean", default: false },
  berth: { type: "string", default: `${root}dist/berth` },
  help: { type: "boolean", default: false },
  inside: { type: "boolean", default: false },
} as const;

function options(): ReturnType<typeof parseArgs<{ options: typeof flags }>>["values"] | undefined {
  try {
    return parseArgs({ args: process.argv.slice(2), options: flags }).values;
  } catch (e) {
    console.error(`${e instanceof Error ? e.message : String(e)}\n${usage}`);
    return undefined;
  }
}

function extentOf(quick: boolean): Extent {
  return quick
    ? { rounds: 1, warmUp: 0, seconds: hasIperf() ? 1 : 0, questions: 200, echoes: 20 }
    : { rounds: 16, warmUp: 1, seconds: hasIperf() ? 1 : 0, questions: 5000, echoes: 300 };
}

/** In namespaces of its own: measures, and prints the figures as JSON. */
async function inside(berth: string, extent: Extent): Promise<void> {
  hideMachine();
  const { world, ways } = await buildWays(berth);
  using _ = world;
  console.log(JSON.stringify(await measure(world, ways, extent)));
}

/** Measures in new namespaces; undefined where that failed, which has been said. */
async function run(berth: string, quick: boolean): Promise<WayFigures[] | undefined> {
  const again = ["--inside", "--berth", berth, ...(quick ? ["--quick"] : [])];
  const p = Bun.spawn(inNamespaces(process.execPath, import.meta.path, ...again), {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [text, exitCode] = await Promise.all([p.stdout.text(), p.exited]);
  return exitCode === 0 ? (JSON.parse(text) as WayFigures[]) : undefined;
}

async function main(): Promise<number> {
  const o = options();
  if (o === undefined) return 2;
  if (o.help) {
    console.log(usage);
    return 0;
  }
  const berth = resolve(o.berth);
  const extent = extentOf(o.quick);
  if (o.inside) {
    await inside(berth, extent);
    return 0;
  }
  if (!existsSync(berth)) {
    console.error(
      `There is no ${berth}: build it first (npm run build), or name another executable with --berth PATH.`,
    );
    return 1;
  }
  const refused = namespacesRefused();
  if (refused !== undefined) {
    console.error(refused);
    return 1;
  }
  if (extent.seconds === 0) console.error(noIperf);
  if (o.docs && (o.quick || extent.seconds === 0)) {
    console.error("The page in docs/ is written of whole runs only: with iperf3, without --quick.");
    return 1;
  }
  const where = machine();
  const figures = await run(berth, o.quick);
  if (figures === undefined) return 1;
  const report = reportOf(where, extent, figures);
  console.log(waysText(report));
  if (o.json !== undefined) writeFileSync(o.json, `${JSON.stringify(report, null, 2)}\n`);
  if (o.docs) writeFileSync(PAGE, waysPage(report));
  return 0;
}

process.exitCode = await main();
