import { expect, test } from "bun:test";
import { pageOf } from "../../bench/page.ts";
import { inPairs } from "../../bench/pairs.ts";
import type { Row } from "../../bench/series.ts";

const run = { where: "a machine", pairs: 3, trace: undefined };
const missed = (name: string): Row => ({ name, unit: "ms", limit: 1, berth: [2, 2, 2], peer: [] });

function row(name: string, berth: number, peer: number): Row {
  return { name, unit: "ms", berth: [berth], peer: [peer] };
}

test("a row that misses its target without a reason is named in the page as such, and told to the caller", () => {
  const { text, unexplained } = pageOf({ ...run, rows: [missed("something new"), missed("CHECK")] });
  expect(unexplained).toEqual(["something new"]);
  expect(text).toContain("- **something new**: nobody has said yet why.");
  expect(text).toContain("- **CHECK**: a process that answers VERSION takes");
});

test("where all targets are met the page says so", () => {
  const { text, unexplained } = pageOf({ ...run, rows: [{ ...missed("anything"), limit: 3 }] });
  expect(unexplained).toEqual([]);
  expect(text).toContain("All targets were met.");
});

test("pairs end when their time is up, but not before there are some", async () => {
  const plugins = (["berth", "peer"] as const).map((side) => ({ side, executable: "", cniPath: "" }));
  const count = { pairs: 100, warmUp: 2, limitS: 0 };
  const { done } = await inPairs(plugins, count, { done: async (_, pair) => pair });
  expect(done).toEqual({ berth: [2, 3, 4, 5, 6], peer: [2, 3, 4, 5, 6] });
});

test("a row without a peer whose quickest met its limit says so; one whose quickest did not has no reason", () => {
  const docker = { ...missed("Docker: CreateEndpoint and Join"), berth: [0.5, 2, 9] };
  expect(pageOf({ ...run, rows: [docker] }).text).toContain("the quickest of 3 took 0.50 ms");
  expect(pageOf({ ...run, rows: [{ ...docker, berth: [2, 2, 9] }] }).unexplained).toEqual([docker.name]);
});

test("an ADD among many: the ratio that only the kernel's part would make is told beside what Berth adds", () => {
  const { text, unexplained } = pageOf({
    ...run,
    rows: [
      { ...row("Berth's ADD with 4000 attachments / with none", 13, 5), target: 1.3 },
      row("the kernel's part with 4000 attachments / with none", 8, 1),
      row("bound: Berth's ADD with 4000 attachments, if only the kernel's part grew / with none", 12, 5),
    ],
  });
  expect(unexplained).toEqual([]);
  expect(text).toContain("the kernel's own part grows by 7.00 ms");
  expect(text).toContain("the ratio would be 2.40, as the target leaves 1.50 ms");
  expect(text).toContain("What Berth adds is 1.00 ms.");
});
