import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { joined } from "../../src/openstack/joined.ts";
import { Failure } from "../../src/report/failure.ts";
import { failing } from "./server.ts";

const source = JSON.stringify(new URL("../../src/openstack/joined.ts", import.meta.url).pathname);

test("every wish of many processes is carried out once, and nothing of it is left", async () => {
  const directory = mkdtempSync("/run/joined-");
  const done = `${directory}.done`;
  const script = (name: string): string => `
    import { appendFileSync } from "node:fs";
    import { joined } from ${source};
    for (let n = 0; n < 150; n++)
      await joined(${JSON.stringify(directory)}, "${name}" + n, async (wishes) => {
        appendFileSync(${JSON.stringify(done)}, wishes.map((w) => w + "\\n").join(""));
        return wishes.map(() => undefined);
      });`;
  const names = ["a", "b", "c", "d", "e", "f"];
  const children = names.map((name) => Bun.spawn([process.execPath, "-e", script(name)]));
  expect(await Promise.all(children.map((c) => c.exited))).toEqual(names.map(() => 0));
  const carriedOut = readFileSync(done, "utf8").trim().split("\n").toSorted();
  const wished = names.flatMap((name) => Array.from({ length: 150 }, (_, n) => `${name}${n}`));
  expect(carriedOut).toEqual(wished.toSorted());
  expect(readdirSync(directory)).toEqual(["lock"]);
}, 60_000);

async function refuseOdd(wishes: readonly number[]): Promise<(Failure | undefined)[]> {
  await Bun.sleep(5);
  return wishes.map((w) => (w % 2 === 0 ? undefined : new Failure("cloud", `no ${w}`, { advice: "Wish less." })));
}

test("each learns what became of its own", async () => {
  const directory = mkdtempSync("/run/joined-");
  const all = Array.from({ length: 10 }, (_, n) => joined(directory, n, refuseOdd));
  const outcomes = await Promise.allSettled(all);
  expect(outcomes.map((o) => o.status === "fulfilled")).toEqual(outcomes.map((_, n) => n % 2 === 0));
  expect(outcomes[7]).toMatchObject({ reason: { reason: "cloud", message: "no 7", advice: "Wish less." } });
  expect(readdirSync(directory)).toEqual(["lock"]);
});

test("a leader that breaks down tells all whose wishes it had", async () => {
  const directory = mkdtempSync("/run/joined-");
  const failure = await failing(
    joined(directory, 1, async () => {
      await Bun.sleep(1);
      throw new TypeError("a defect");
    }),
  );
  expect(failure).toMatchObject({ reason: "internal", message: "carry out what was wished: a defect" });
  expect(readdirSync(directory)).toEqual(["lock"]);
});
