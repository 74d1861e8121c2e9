// What a runtime waits for: ADD, CHECK, DEL, one at a time and many at once.
import { call, type Cost } from "../calls.ts";
import { type Action, type Count, inPairs } from "../pairs.ts";
import type { Plugin } from "../plugins.ts";
import { type Bench, prepare, type Row, type Series } from "../series.ts";

const withHostAccess = { hostrouteif: "auto" };
const wall = (cost: Cost): number => cost.wall;

/** A call's time, its processor time being noted for {@link remembered}. */
function noting(used: Map<string, number>, plugin: Plugin, cost: Cost): number {
  used.set(plugin.side, cost.cpu);
  return cost.wall;
}

/** A value that another action of the same pair noted for this side. */
function remembered(values: ReadonlyMap<string, number>): Action {
  return async (plugin) => values.get(plugin.side) ?? Number.NaN;
}

const total = ({ pairs, warmUp }: Count): number => pairs + warmUp;

async function plain(bench: Bench): Promise<Row[]> {
  const at = prepare(bench, "plain", total(bench.count));
  const used = new Map<string, number>();
  const m = await inPairs(bench.plugins, bench.count, {
    add: async (plugin, n) => noting(used, plugin, await at(plugin, n).add()),
    cpu: remembered(used),
    check: async (plugin, n) => wall(await at(plugin, n).check()),
    del: async (plugin, n) => wall(await at(plugin, n).del()),
  });
  return [
    { name: "ADD", unit: "ms", target: 0.85, ...m.add },
    { name: "ADD: processor time", unit: "ms", ...m.cpu },
    { name: "CHECK", unit: "ms", target: 0.7, ...m.check },
    { name: "DEL", unit: "ms", target: 0.95, ...m.del },
  ];
}

/** The same by Berth's runtime, which carries what its engine cannot, and all calls where no engine was built. */
async function byRuntime(bench: Bench): Promise<Row[]> {
  const plugins = bench.plugins.map((p) => (p.side === "berth" ? { ...p, env: { BERTH_ENGINE: "off" } } : p));
  const at = prepare({ ...bench, plugins }, "runtime", total(bench.count));
  const m = await inPairs(plugins, bench.count, {
    add: async (plugin, n) => wall(await at(plugin, n).add()),
    check: async (plugin, n) => wall(await at(plugin, n).check()),
    del: async (plugin, n) => wall(await at(plugin, n).del()),
  });
  return [
    { name: "without the engine: ADD", unit: "ms", ...m.add },
    { name: "without the engine: CHECK", unit: "ms", ...m.check },
    { name: "without the engine: DEL", unit: "ms", ...m.del },
  ];
}

/** Host access while another attachment of the parent has it: the access link is there and stays. */
async function hostAccess(bench: Bench): Promise<Row[]> {
  const n = total(bench.count);
  const at = prepare(bench, "access", n + 1, withHostAccess);
  for (const plugin of bench.plugins) await at(plugin, n).add();
  const m = await inPairs(bench.plugins, bench.count, {
    add: async (plugin, i) => wall(await at(plugin, i).add()),
    del: async (plugin, i) => wall(await at(plugin, i).del()),
  });
  for (const plugin of bench.plugins) await at(plugin, n).del();
  return [
    { name: "ADD with host access / peer's plain ADD", unit: "ms", target: 1, ...m.add },
    { name: "DEL with host access / peer's plain DEL", unit: "ms", ...m.del },
  ];
}

/** Host access of a parent's only attachment: its ADD makes the access link, its DEL removes it, a second link to delete. */
async function onlyHostAccess(bench: Bench): Promise<Row[]> {
  const at = prepare(bench, "only", total(bench.count), withHostAccess);
  const m = await inPairs(bench.plugins, bench.count, {
    add: async (plugin, i) => wall(await at(plugin, i).add()),
    del: async (plugin, i) => wall(await at(plugin, i).del()),
  });
  return [
    { name: "…, making the access link / plain ADD", unit: "ms", ...m.add },
    { name: "…, removing the access link / plain DEL", unit: "ms", ...m.del },
  ];
}

/** Many at once: the time until the last has ended, and the processor time of all. */
async function atOnce(bench: Bench): Promise<Row[]> {
  const count: Count = { ...bench.count, pairs: Math.max(3, Math.round(bench.count.pairs / 10)), warmUp: 1 };
  const { together } = bench;
  const at = prepare(bench, "once", total(count) * together);
  const all = (verb: "add" | "del", cpu: Map<string, number>): Action => {
    return async (plugin, pair) => {
      const attachments = Array.from({ length: together }, (_, i) => at(plugin, pair * together + i));
      const start = performance.now();
      const costs = await Promise.all(attachments.map((a) => a[verb]()));
      const last = performance.now() - start;
      cpu.set(
        plugin.side,
        costs.reduce((sum, cost) => sum + cost.cpu, 0),
      );
      return last;
    };
  };
  const used = { add: new Map<string, number>(), del: new Map<string, number>() };
  const m = await inPairs(bench.plugins, count, {
    add: all("add", used.add),
    addCpu: remembered(used.add),
    del: all("del", used.del),
    delCpu: remembered(used.del),
  });
  return [
    { name: `${together} ADDs at once: until the last`, unit: "ms", target: 0.8, ...m.add },
    { name: `${together} ADDs at once: processor time of all`, unit: "ms", target: 0.8, ...m.addCpu },
    { name: `${together} DELs at once: until the last`, unit: "ms", ...m.del },
    { name: `${together} DELs at once: processor time of all`, unit: "ms", ...m.delCpu },
  ];
}

/** The floor: a process that is started, reads its input, answers and ends. The peer's ADD starts two. */
async function empty(bench: Bench): Promise<Row[]> {
  const used = new Map<string, number>();
  const m = await inPairs(bench.plugins, bench.count, {
    wall: async (plugin) => {
      const target = { containerId: "none", netns: "" };
      const { cost } = await call(plugin, "VERSION", target, { cniVersion: "1.0.0" });
      return noting(used, plugin, cost);
    },
    cpu: remembered(used),
  });
  return [
    { name: "empty process (VERSION)", unit: "ms", ...m.wall },
    { name: "empty process: processor time", unit: "ms", ...m.cpu },
  ];
}

/** The calls of a plugin. */
export const calls: readonly Series[] = [
  { name: "ADD, CHECK, DEL", run: plain },
  { name: "without the engine", run: byRuntime },
  { name: "host access", run: hostAccess },
  { name: "host access of an only attachment", run: onlyHostAccess },
  { name: "many at once", run: atOnce },
  { name: "empty process", run: empty },
];
