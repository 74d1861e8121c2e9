// The first call after a boot: the executables are not in the page cache.
import { dirname } from "node:path";
import { inPairs } from "../pairs.ts";
import type { Plugin } from "../plugins.ts";
import { type Bench, prepare, type Row, type Series } from "../series.ts";

const PAIRS = 5;

/** Drops a file's pages from the page cache (posix_fadvise(2), POSIX_FADV_DONTNEED). */
function drop(path: string): void {
  const r = Bun.spawnSync(["dd", `if=${path}`, "iflag=nocache", "count=0", "status=none"]);
  if (r.exitCode !== 0) throw new Error(`dd if=${path} iflag=nocache: ${r.stderr.toString()}`);
}

function dropExecutables(plugin: Plugin): void {
  drop(plugin.executable);
  if (plugin.side === "peer") drop(`${dirname(plugin.executable)}/host-local`);
}

async function cold(bench: Bench): Promise<Row[]> {
  const at = prepare(bench, "cold", 1);
  const m = await inPairs(
    bench.plugins,
    { pairs: PAIRS, warmUp: 1 },
    {
      first: async (plugin) => {
        dropExecutables(plugin);
        const { wall } = await at(plugin, 0).add();
        await at(plugin, 0).del();
        return wall;
      },
      readBefore: async (plugin) => {
        dropExecutables(plugin);
        for (const path of [plugin.executable, `${dirname(plugin.executable)}/host-local`].slice(
          0,
          plugin.side === "peer" ? 2 : 1,
        )) {
          Bun.spawnSync(["dd", `if=${path}`, "of=/dev/null", "bs=16M", "status=none"]);
        }
        const { wall } = await at(plugin, 0).add();
        await at(plugin, 0).del();
        return wall;
      },
    },
  );
  return [
    { name: "first ADD after boot (executables not in memory)", unit: "ms", ...m.first },
    { name: "…, after they were read once (berth-warm.service)", unit: "ms", ...m.readBefore },
  ];
}

/** Cold page cache. */
export const coldStart: readonly Series[] = [{ name: "cold start", run: cold }];
