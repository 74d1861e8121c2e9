// The memory of a call: what it takes at most, and how much of that is its own.
import { type Memory, memoryOfAdd, peakOf } from "../memory.ts";
import { type Count, inPairs } from "../pairs.ts";
import { networkConfig, type Plugin } from "../plugins.ts";
import type { Bench, Row, Series } from "../series.ts";

/** A plugin's ADDs, each in a namespace of its own. */
function addsOf(bench: Bench, plugin: Plugin, label: string): (n: number) => Promise<Memory> {
  const config = networkConfig(plugin.side, label, bench.parent);
  return (n) =>
    peakOf((attempt) => {
      const containerId = `${label}-${plugin.side}-${n}-${attempt}`;
      return memoryOfAdd(plugin, { containerId, netns: bench.world.namespace(containerId) }, config);
    });
}

async function memory(bench: Bench): Promise<Row[]> {
  const count: Count = { ...bench.count, pairs: Math.min(10, bench.count.pairs), warmUp: 1 };
  const used = new Map<string, Memory>();
  const remembered = (of: (m: Memory) => number) => async (plugin: Plugin) => {
    const seen = used.get(plugin.side);
    return seen === undefined ? Number.NaN : of(seen);
  };
  const m = await inPairs(bench.plugins, count, {
    largest: async (plugin, n) => {
      const peak = await addsOf(bench, plugin, "memory")(n);
      used.set(plugin.side, peak);
      return peak.largest;
    },
    anonymous: remembered((seen) => seen.anonymous),
    together: remembered((seen) => seen.together),
  });
  return [
    { name: "memory of one ADD: largest process", unit: "MiB", limit: 32, ...m.largest },
    { name: "…, without pages of files", unit: "MiB", ...m.anonymous },
    { name: "…, all its processes at once", unit: "MiB", ...m.together },
  ];
}

/** The memory of a call. */
export const memorySeries: readonly Series[] = [{ name: "memory", run: memory }];
