// What explains a plan is pasted into root's shell: whatever names are in it, a shell reads them back as the same words.
import { expect, test } from "bun:test";
import fc from "fast-check";
import { explainPlan, explainUndo } from "../../src/plan/plan.ts";
import { quote, shellFor } from "../../src/plan/shell.ts";
import { recordSamples } from "../fuzz/targets/records.ts";

const signs = String.raw`'"\$;&|<>(){}[]*?!#~=-%^,`.split("").concat("`", " ", "\t", "\n");
const nasty = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ unit: fc.constantFrom(...signs), maxLength: 20 }),
  fc.constantFrom(
    "$(touch /run/x)",
    "`id`",
    "'; rm -rf / #",
    "-n",
    "--",
    "",
    "a\nb",
    "\\",
    "\u2024\u2024/etc",
    "\u202e",
  ),
);
/** What the kernel and CNI let pass at most: no NUL, and whole characters. */
const word = nasty.filter((text) => !text.includes("\0") && text.isWellFormed());

/** The words that a real shell reads in a line. */
function words(line: string): string[] {
  const r = Bun.spawnSync(["sh", "-c", `printf '%s\\0' ${line}`], { env: { PATH: "/usr/bin:/bin" } });
  if (r.exitCode !== 0) throw new Error(`${line}: ${r.stderr.toString()}`);
  return r.stdout.toString().split("\0").slice(0, -1);
}

test("a quoted word is read back", () => {
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 30 }), (list) => {
      expect(words(list.map((w) => quote(w)).join(" "))).toEqual(list);
    }),
    { numRuns: 200 },
  );
});

test("a namespace's path, in every form that it takes", () => {
  fc.assert(
    fc.property(word, fc.boolean(), (name, named) => {
      const netns = `${named ? "/run/netns/" : "/x/"}${name}`;
      const shell = shellFor(netns);
      const expected = named ? name : netns;
      expect(words(shell.netns ?? "")).toEqual([expected]);
      expect(words(shell.ip("container"))).toEqual(named ? ["ip", "-n", name] : ["nsenter", `--net=${netns}`, "ip"]);
      expect(words(shell.within("container"))).toEqual(["nsenter", `--net=${netns}`]);
    }),
    { numRuns: 200 },
  );
});

/** The commands of every type of step, with a hostile parent and namespace. */
async function run(name: string): Promise<string[]> {
  const link = `a${name}`.replaceAll(/[\s/:\p{Cc}]/gu, "_").slice(0, 15);
  const text = JSON.stringify(recordSamples.map((r) => r.plan)).replaceAll('"eth1"', () => JSON.stringify(link));
  const plans = JSON.parse(text) as (typeof recordSamples)[number]["plan"][];
  const netns = `/x/${name}`;
  return (await Promise.all(plans.flatMap((plan) => [explainPlan(plan, netns), explainUndo(plan, netns)]))).flat();
}

test("every command of every type of step: valid to a shell, and without a word that was not meant", async () => {
  const lines = new Set<string>();
  const plain = (await run("b")).map(shape);
  await fc.assert(
    fc.asyncProperty(word, async (name) => {
      const hostile = await run(name);
      expect(hostile.map(shape)).toEqual(plain);
      for (const line of hostile) lines.add(line);
    }),
    { numRuns: 300 },
  );
  const r = Bun.spawnSync(["sh", "-n"], { stdin: Buffer.from([...lines].join("\n")) });
  expect([r.exitCode, r.stderr.toString()]).toEqual([0, ""]);
});

/** A line's words as a shell splits them, each only as "a word": whatever a name is, it is one. */
function shape(line: string): string {
  return line.replaceAll(/(?:'[^']*'|\\'|[\w@%+=:,./-])+/gu, "w");
}
