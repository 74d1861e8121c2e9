// npm run bench [-- OPTION…]: Berth beside the standard macvlan and host-local.
import { existsSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import {
  buildHost,
  cleanedUp,
  describeMachine,
  hideMachine,
  inNamespaces,
  machine,
  namespacesRefused,
} from "./host.ts";
import type { Count } from "./pairs.ts";
import { berthPlugin, findPeer, noPeer, type Plugin } from "./plugins.ts";
import { series } from "./all.ts";
import { type Bench, type Row, TARGET_SIZES } from "./series.ts";
import { drawCurves } from "./curves.ts";
import { pageOf } from "./page.ts";
import { curveOf } from "./series/growth.ts";
import { type Trace, traceOfAdd } from "./series/trace.ts";
import { ratios, summarize } from "./statistics.ts";
import { table } from "./table.ts";

const root = new URL("..", import.meta.url).pathname;
const PARENT = "lan0";
const TOGETHER = 50;

const usage = `Usage: npm run bench -- [OPTION…]
  --quick        fewer pairs: under a minute
  --docs         write docs/performance.md and its picture too
  --json FILE    write every measured value to FILE too
  --berth PATH   the executable to measure (default: dist/berth)
  --peer PATH    another build of Berth in the peer's place; copy both files anew and alike before (dd bs=64M), as
                 how a file was written decides how large its pages in the page cache are, and that alone makes 20 %
  --only WORD    only the series whose name contains WORD: ${series.map((s) => s.name).join("; ")}`;

const flags = {
  quick: { type: "boolean", default: false },
  docs: { type: "boolean", default: false },
  json: { type: "string" },
  berth: { type: "string", default: `${root}dist/berth` },
  peer: { type: "string" },
  only: { type: "string", default: "" },
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

function countOf(quick: boolean): Count {
  return quick ? { pairs: 20, warmUp: 3, limitS: 3 } : { pairs: 100, warmUp: 5, limitS: 30 };
}

function sizesOf(quick: boolean): Bench["sizes"] {
  return quick
    ? { host: [1, 50, 150], site: 150, reserved: 6000 }
    : { ...TARGET_SIZES, host: [1, 1000, TARGET_SIZES.host] };
}

/** In namespaces of its own: measures, and prints the rows as JSON. */
async function inside(plugins: readonly Plugin[], count: Count, sizes: Bench["sizes"], only: string): Promise<void> {
  hideMachine();
  const rows: Row[] = [];
  for (const { name, run } of series.filter((s) => s.name.includes(only))) {
    const start = performance.now();
    {
      using world = buildHost(PARENT);
      rows.push(...(await run({ world, parent: PARENT, plugins, count, together: TOGETHER, sizes })));
    }
    await cleanedUp();
    console.error(`${name}: measured in ${((performance.now() - start) / 1000).toFixed(0)} s`);
  }
  let trace: Trace | undefined;
  if (only === "") {
    using world = buildHost(PARENT);
    trace = await traceOfAdd({ world, parent: PARENT, plugins, count, together: TOGETHER, sizes });
  }
  console.log(JSON.stringify({ rows, trace }));
}

async function main(): Promise<number> {
  const o = options();
  if (o === undefined) return 2;
  if (o.help) {
    console.log(usage);
    return 0;
  }
  const berth = resolve(o.berth);
  const peer = o.peer === undefined ? findPeer() : berthPlugin("peer", resolve(o.peer));
  const count = countOf(o.quick);
  if (o.inside) {
    await inside([berthPlugin("berth", berth), ...(peer === undefined ? [] : [peer])], count, sizesOf(o.quick), o.only);
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
  if (peer === undefined) console.log(noPeer);
  const where = describeMachine(machine());
  const again = [
    ...(o.quick ? ["--quick"] : []),
    "--berth",
    berth,
    "--only",
    o.only,
    ...(o.peer === undefined ? [] : ["--peer", resolve(o.peer)]),
  ];
  const p = Bun.spawn(inNamespaces(process.execPath, import.meta.path, "--inside", ...again), {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [text, exitCode] = await Promise.all([p.stdout.text(), p.exited]);
  if (exitCode !== 0) return 1;
  const { rows, trace } = JSON.parse(text) as { rows: Row[]; trace?: Trace };
  if (rows.length === 0) {
    console.error(`No series has ${JSON.stringify(o.only)} in its name.\n${usage}`);
    return 2;
  }
  console.log(`${where}
Berth: ${berth}
peer:  ${peer === undefined ? "none" : `${peer.executable}${o.peer === undefined ? ` with ${peer.cniPath}/host-local` : ""}`}
${count.pairs} pairs after ${count.warmUp} to warm up, fewer for "at once" and memory; who goes first alternates.
Each call is a process as a runtime starts it, timed from its start to its end. Milliseconds depend on what else the
machine does meanwhile; the ratios are of pairs, call beside call, and are what counts: below 1.00 Berth needs less.

${table(rows, o.peer === undefined)}`);
  if (o.json !== undefined) {
    const summaries = rows.map((row) => ({
      ...row,
      summary: {
        berth: summarize(row.berth),
        peer: summarize(row.peer),
        ratio: summarize(row.peer.length === 0 ? [] : ratios(row.berth, row.peer)),
      },
    }));
    writeFileSync(
      o.json,
      `${JSON.stringify({ machine: where, berth, peer: peer?.executable, count, rows: summaries, trace }, null, 2)}\n`,
    );
  }
  if (o.docs) {
    const page = pageOf({ where, pairs: count.pairs, rows, trace });
    writeFileSync(`${root}docs/performance.md`, page.text);
    const curves = (["Berth's", "peer's", "the kernel's"] as const).map((label) => ({
      label,
      points: curveOf(rows, label),
    }));
    writeFileSync(`${root}docs/performance.svg`, drawCurves(curves.filter((c) => c.points.length > 0)));
    Bun.spawnSync(["npx", "bun", "fmt", "--no-script", "docs/performance.md"], { cwd: root });
    for (const name of page.unexplained) {
      console.error(`${name}: it misses its target, and bench/page.ts has no reason. Find it, or mend it.`);
    }
    if (page.unexplained.length > 0) return 1;
  }
  return 0;
}

process.exitCode = await main();
