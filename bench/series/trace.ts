// Where an ADD's time goes: the quickest of some, as BERTH_TRACE=1 tells it.
import { call } from "../calls.ts";
import { networkConfig } from "../plugins.ts";
import type { Bench } from "../series.ts";

/** A stretch of a call. */
interface Stretch {
  readonly what: string;
  /** Milliseconds. */
  readonly took: number;
}

/** A traced call. */
export interface Trace {
  readonly stretches: readonly Stretch[];
  /** From before the process was started until it had ended, milliseconds. */
  readonly wall: number;
}

const COUNT = 20;

function parse(stderr: string): Stretch[] {
  return stderr.split("\n").flatMap((line) => {
    const found = /^\s*(\d+\.\d+)\s+\d+\.\d+ {2}(.+)$/u.exec(line);
    return found === null ? [] : [{ took: Number(found[1]), what: found[2] ?? "" }];
  });
}

/** The quickest of some plain ADDs. Undefined where Berth is not measured. */
export async function traceOfAdd(bench: Bench): Promise<Trace | undefined> {
  const berth = bench.plugins.find((p) => p.side === "berth");
  if (berth === undefined) return undefined;
  const config = networkConfig("berth", "trace", bench.parent);
  const target = { containerId: "trace", netns: bench.world.namespace("trace") };
  let best: Trace | undefined;
  for (let i = 0; i < COUNT; i++) {
    const { cost, stderr } = await call(berth, "ADD", target, config, { env: { BERTH_TRACE: "1" } });
    await call(berth, "DEL", target, config);
    if (best === undefined || cost.wall < best.wall) best = { wall: cost.wall, stretches: parse(stderr) };
  }
  return best;
}
