import { describe, expect, test } from "bun:test";
import { mkdtempSync } from "node:fs";
import { compile } from "../../scripts/compile.ts";
import { runScenario, scenarios } from "./run.ts";

/** Points of each scenario, evenly spread; which ones changes from day to day. */
const SAMPLE = 9;
const offset = Math.floor(Date.now() / 86_400_000);

describe.skipIf(Bun.which("strace") === null)("faults, a sample (skipped where strace is not installed)", () => {
  const executable = `${mkdtempSync("/run/berth-")}/berth`;
  test("the executable is built", () => compile(executable));
  test.each(scenarios(executable).map((s) => [`${s.verb}, ${s.network.name}`, s] as const))(
    "%s",
    async (_, scenario) => {
      const tally = await runScenario(scenario, (n, points) => {
        const distance = Math.max(1, Math.floor(points / SAMPLE));
        return n % distance === offset % distance;
      });
      expect(tally.violations).toEqual([]);
      expect(tally.tried.killed + tally.tried.failed + tally.tried.refused).toBeGreaterThanOrEqual(SAMPLE);
    },
  );
});
