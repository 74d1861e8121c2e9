// Pairwise generation: few combinations in which every two values of any two factors meet at least once.

/** For each factor its values. */
export type Factors = Readonly<Record<string, readonly (string | number)[]>>;
/** One value of each factor. */
export type Combination = Record<string, string | number>;

function pairsOf(c: Combination): string[] {
  const names = Object.keys(c).toSorted();
  return names.flatMap((a, i) => names.slice(i + 1).map((b) => `${a}=${c[a]} ${b}=${c[b]}`));
}

/** Greedy: of some candidates the one that covers most uncovered pairs, until none is left. The same result each time. */
export function pairwise(factors: Factors): Combination[] {
  const open = new Set<string>();
  const names = Object.keys(factors);
  for (const [i, a] of names.entries()) {
    for (const b of names.slice(i + 1)) {
      for (const x of factors[a] ?? [])
        for (const y of factors[b] ?? []) for (const p of pairsOf({ [a]: x, [b]: y })) open.add(p);
    }
  }
  const all: Combination[] = [];
  for (let turn = 0; open.size > 0; turn++) {
    let best: Combination = {};
    let gain = -1;
    for (let candidate = 0; candidate < 200; candidate++) {
      const c: Combination = {};
      for (const name of names) {
        const values = factors[name] ?? [];
        c[name] = values[Bun.hash.xxHash32(`${turn} ${candidate} ${name}`) % values.length] ?? "";
      }
      const covers = pairsOf(c).filter((p) => open.has(p)).length;
      if (covers > gain) [best, gain] = [c, covers];
    }
    for (const p of pairsOf(best)) open.delete(p);
    if (gain > 0) all.push(best);
  }
  return all;
}
