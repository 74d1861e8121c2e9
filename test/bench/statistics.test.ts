import { expect, test } from "bun:test";
import fc from "fast-check";
import { ratios, summarize } from "../../bench/statistics.ts";

const values = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });

test("an odd number of values has its middle one as the median", () => {
  expect(summarize([9, 1, 5])).toEqual({ min: 1, median: 5, max: 9 });
  expect(summarize([7])).toEqual({ min: 7, median: 7, max: 7 });
});

test("an even number of values has the mean of the middle two", () => {
  expect(summarize([4, 1, 10, 2])).toEqual({ min: 1, median: 3, max: 10 });
});

test("numbers are sorted as numbers, and the list that was given stays as it was", () => {
  const given = [100, 20, 3];
  expect(summarize(given)).toEqual({ min: 3, median: 20, max: 100 });
  expect(given).toEqual([100, 20, 3]);
});

test("no values have no summary", () => {
  expect(summarize([])).toBeUndefined();
});

test("the median has as many values below as above it", () => {
  fc.assert(
    fc.property(values, (list) => {
      const { min, median, max } = summarize(list) ?? { min: 0, median: 0, max: 0 };
      expect(min).toBe(Math.min(...list));
      expect(max).toBe(Math.max(...list));
      const half = list.length / 2;
      expect(list.filter((v) => v < median).length).toBeLessThanOrEqual(half);
      expect(list.filter((v) => v > median).length).toBeLessThanOrEqual(half);
    }),
  );
});

test("ratios are those of pairs, not of summaries", () => {
  expect(ratios([1, 20], [2, 10])).toEqual([0.5, 2]);
  expect(ratios([], [])).toEqual([]);
});

test("lists of different lengths are refused", () => {
  expect(() => ratios([1, 2], [1])).toThrow("2 values beside 1 are no pairs");
});
