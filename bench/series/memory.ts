// The memory of a call: what it takes at most, and how much of that is the runtime's, whatever it does.
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { compileFile } from "../../scripts/compile.ts";
import { type Memory, memoryOfAdd, memoryOfProgram, peakOf } from "../memory.ts";
import { type Count, inPairs } from "../pairs.ts";
import { networkConfig, type Plugin } from "../plugins.ts";
import type { Bench, Row, Series } from "../series.ts";

/** A page. What is written in such pieces lies in the page cache in single pages. */
const PIECE = 4096;

/** Writes a file in small pieces: how large the pieces are decides how large its pages in the page cache are. */
function writeInPieces(from: string, to: string): void {
  const bytes = readFileSync(from);
  const fd = openSync(to, "w", 0o755);
  try {
    for (let at = 0; at < bytes.length; at += PIECE) writeSync(fd, bytes, at, Math.min(PIECE, bytes.length - at));
  } finally {
    closeSync(fd);
  }
}

/** Writes a file in one go, as the build writes the executable. */
function writeWhole(from: string, to: string): void {
  writeFileSync(to, readFileSync(from));
  chmodSync(to, 0o755);
}

/** A program that does nothing for so long that it can be looked at, compiled as Berth is. */
function compileNothing(directory: string): string {
  writeFileSync(`${directory}/nothing.ts`, "setTimeout(() => {}, 50);\n");
  compileFile(`${directory}/nothing.ts`, `${directory}/compiled`);
  writeWhole(`${directory}/compiled`, `${directory}/nothing`);
  return `${directory}/nothing`;
}

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
  const [used, directory] = [new Map<string, Memory>(), mkdtempSync(`${tmpdir()}/berth-bench-`)];
  const remembered = (of: (m: Memory) => number) => async (plugin: Plugin) => {
    const seen = used.get(plugin.side);
    return seen === undefined ? Number.NaN : of(seen);
  };
  try {
    const m = await inPairs(bench.plugins, count, {
      largest: async (plugin, n) => {
        const peak = await addsOf(bench, plugin, "memory")(n);
        used.set(plugin.side, peak);
        return peak.largest;
      },
      anonymous: remembered((seen) => seen.anonymous),
      together: remembered((seen) => seen.together),
    });
    const rows: Row[] = [
      { name: "memory of one ADD: largest process", unit: "MiB", limit: 32, ...m.largest },
      { name: "…, without pages of files", unit: "MiB", ...m.anonymous },
      { name: "…, all its processes at once", unit: "MiB", ...m.together },
    ];
    const berth = bench.plugins.find((p) => p.side === "berth");
    if (berth === undefined) return rows;
    const [small, nothing] = [`${directory}/berth`, compileNothing(directory)];
    writeInPieces(berth.executable, small);
    const [inPages, ofNothing]: [number[], number[]] = [[], []];
    const ofSmall = addsOf(bench, { ...berth, executable: small }, "small-pages");
    for (let n = 0; n < count.pairs; n++) {
      inPages.push((await ofSmall(n)).largest);
      ofNothing.push((await memoryOfProgram(nothing)).largest);
    }
    return [
      ...rows,
      { name: "memory of one ADD, the executable in single pages", unit: "MiB", berth: inPages, peer: [] },
      { name: "memory of a program of this runtime that does nothing", unit: "MiB", berth: ofNothing, peer: [] },
    ];
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The memory of a call. */
export const memorySeries: readonly Series[] = [{ name: "memory", run: memory }];
