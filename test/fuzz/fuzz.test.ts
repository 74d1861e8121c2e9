// A short run of every target: `npm run test:fuzz` makes long ones.
import { afterAll, describe, expect, test } from "bun:test";
import { describeDefect, fuzz } from "./engine.ts";
import { Random } from "./random.ts";
import { shrink } from "./shrink.ts";
import { targets } from "./targets.ts";

const SEED = 4711;
const CASES = 1500;
const { fetch } = globalThis;
afterAll(() => {
  globalThis.fetch = fetch; // targets of clouds answer themselves
});

describe("every target", () => {
  for (const target of targets) {
    test(`${target.name}: ${target.brief}`, async () => {
      const { defects, cases } = await fuzz(target, { cases: CASES, seed: SEED });
      expect(defects.map((d) => describeDefect(target.name, SEED, d))).toEqual([]);
      expect(cases).toBe(CASES);
    });
  }
});

function fails({ text = "" }: { readonly text?: string }): Promise<boolean> {
  return Promise.resolve(text.includes("xy"));
}

describe("the machinery", () => {
  test("a case comes from the seed and its number alone", () => {
    for (const target of targets) {
      const made = (): string => JSON.stringify(target.make(new Random(SEED, 17)));
      expect(made()).toBe(made());
    }
  });

  test("a defect is found, made small, and told with what shows it again", async () => {
    const target = {
      name: "sample",
      brief: "",
      make: (r: Random) => ({ list: Array.from({ length: 5 }, () => r.int(100)), text: "abc" }),
      run({ list }: { readonly list: readonly number[] }) {
        if (list.some((n) => n === 42)) throw new TypeError("undefined is not an object");
      },
    };
    const { defects } = await fuzz(target, { cases: 2000, seed: 1 });
    expect(defects).toMatchObject([{ smallest: { list: [42] }, thrown: expect.any(TypeError) }]);
    const [defect] = defects;
    if (defect === undefined) throw new Error("unreachable");
    expect(describeDefect("sample", 1, defect)).toContain(`--seed 1 --from ${defect.index} --cases 1`);
    const again = await fuzz(target, { cases: 1, seed: 1, from: defect.index });
    expect(again.defects).toHaveLength(1);
  });

  test("shrinking ends where nothing can be taken away", async () => {
    expect(await shrink({ text: `aa${"b".repeat(50)}xy${"c".repeat(50)}`, more: [1, { deep: true }] }, fails)).toEqual({
      text: "xy",
    } as never);
  });
});
