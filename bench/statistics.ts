// What is said of repeated measurements: on a shared machine the median of paired ratios, not one figure, is the result.

/** Smallest, middle and largest of some values, in the values' own unit. */
export interface Summary {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** The summary of values in any order; undefined where there are none. Of an even number the median is the mean of the middle two. */
export function summarize(values: readonly number[]): Summary | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  const [min, max] = [sorted[0], sorted.at(-1)];
  if (low === undefined || high === undefined || min === undefined || max === undefined) return undefined;
  return { min, median: (low + high) / 2, max };
}

/**
 * `a / b` pair by pair, so that what disturbs the machine for a while disturbs both sides of a ratio. Throws where the
 * two lists differ in length: they were not measured in pairs.
 */
export function ratios(a: readonly number[], b: readonly number[]): number[] {
  if (a.length !== b.length) throw new RangeError(`${a.length} values beside ${b.length} are no pairs`);
  return a.map((value, i) => value / (b[i] ?? Number.NaN));
}

/** The value that `percent` of the values do not exceed (nearest rank: always one of them); NaN where there are none. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN;
}
