// Pairs: both sides do the same, one directly after the other, and take turns in who goes first.
import type { Plugin } from "./plugins.ts";

/** How often. */
export interface Count {
  readonly pairs: number;
  /** Pairs before the counted ones: page cache, kernel modules, state directories. */
  readonly warmUp: number;
  /** Seconds after which no further pair is begun, once there are {@link FEWEST}; absent: no limit. */
  readonly limitS?: number;
}

/** So many pairs are measured however long they take. */
const FEWEST = 5;

/** What both sides measured; values of one index are one pair. The peer's are none where there is no peer. */
export interface Measured {
  readonly berth: number[];
  readonly peer: number[];
}

/** Something that is measured: its value for one side in one pair (numbered from 0, warm-up included), in any unit. */
export type Action = (plugin: Plugin, pair: number) => Promise<number>;

/**
 * Measures actions in pairs, in this order in every pair: the first action of both sides, the second of both, and so on.
 * @param plugins Berth, and the peer where there is one
 */
export async function inPairs<Name extends string>(
  plugins: readonly Plugin[],
  count: Count,
  actions: Readonly<Record<Name, Action>>,
): Promise<Record<Name, Measured>> {
  const names = Object.keys(actions) as Name[];
  const measured = Object.fromEntries(names.map((n) => [n, { berth: [], peer: [] }])) as unknown as Record<
    Name,
    Measured
  >;
  const start = performance.now();
  const late = (): boolean => performance.now() - start > (count.limitS ?? Infinity) * 1000;
  for (let pair = 0; pair < count.warmUp + count.pairs; pair++) {
    if (pair >= count.warmUp + FEWEST && late()) break;
    const order = pair % 2 === 0 ? plugins : plugins.toReversed();
    for (const name of names) {
      for (const plugin of order) {
        const value = await actions[name](plugin, pair);
        if (pair >= count.warmUp) measured[name][plugin.side].push(value);
      }
    }
  }
  return measured;
}
