// berth up and berth down: a site file's attachments.
import { readFileSync, realpathSync } from "node:fs";
import { buildCommand } from "@stricli/core";
import { describeKey } from "../attachment/key.ts";
import { previewAttach } from "../attachment/attach.ts";
import { explainPlan, explainUndo } from "../plan/plan.ts";
import { Failure } from "../report/failure.ts";
import { applyChanges, type Outcome, requestFor, takeDown } from "../site/apply.ts";
import { type Change, differenceOf } from "../site/difference.ts";
import { readSite, type Wanted } from "../site/site-file.ts";
import * as flag from "./flags.ts";
import { isOurs, readNetworkFile } from "./networks.ts";
import { describeFailure, failureJson, printJson, reporting } from "./output.ts";
import { Progress } from "./progress.ts";
import { allRecords } from "./records.ts";

/** So many attachments run the same code often enough for its compilation to pay. */
const MANY = 300;

interface Flags {
  readonly json: boolean;
  readonly dryRun: boolean;
}

const file = {
  kind: "tuple",
  parameters: [{ parse: flag.text, brief: "the site file", placeholder: "FILE" }],
} as const;

function readNetwork(path: string, name: string): Readonly<Record<string, unknown>> {
  const found = readNetworkFile(path).find((n) => isOurs(n.json) && n.name === name);
  if (found !== undefined) return found.json;
  throw new Failure("config", `use ${path} for network ${name}: it holds no configuration of Berth's of that name`, {
    advice: '"berth network check FILE" says what a file holds.',
  });
}

/** The file's path, under which records remember it, and what it wants. */
function load(path: string): { site: string; wanted: Wanted[] } {
  try {
    const site = realpathSync(path);
    return { site, wanted: readSite(site, readFileSync(site, "utf8"), readNetwork) };
  } catch (e) {
    if (e instanceof Failure) throw e;
    throw new Failure("io", `read ${path}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
}

/** What an attachment's change is called while it is made, and when it was. */
const words = {
  keep: ["keep", "kept"],
  attach: ["attach", "attached"],
  replace: ["replace", "replaced"],
  detach: ["detach", "detached"],
} as const satisfies Record<Change["todo"], readonly [string, string]>;

function outcomeJson({ failure, ...rest }: Outcome): unknown {
  return { ...rest, ...(failure === undefined ? {} : { error: failureJson(failure) }) };
}

/** Prints the outcomes as they come: a line for each that is no mere "kept", and a count of all on a terminal. */
class Report {
  readonly outcomes: Outcome[] = [];
  readonly #json: boolean;
  readonly #progress: Progress;

  constructor(json: boolean, total: number) {
    this.#json = json;
    this.#progress = new Progress(json ? 0 : total);
  }

  readonly add = (outcome: Outcome): void => {
    this.outcomes.push(outcome);
    this.#progress.step();
    if (outcome.failure !== undefined) process.exitCode = 1;
    if (this.#json || (outcome.todo === "keep" && outcome.failure === undefined)) return;
    this.#progress.print(lineOf(outcome));
    for (const remark of outcome.remarks) this.#progress.print(`berth: ${remark}`);
  };

  end(failures: readonly Failure[]): void {
    this.#progress.end();
    if (failures.length > 0) process.exitCode = 1;
    if (this.#json) {
      printJson({ attachments: this.outcomes.map(outcomeJson), errors: failures.map((f) => failureJson(f)) });
      return;
    }
    for (const failure of failures) console.log(`failed    ${describeFailure(failure)}`);
    const failed = this.outcomes.filter((o) => o.failure !== undefined).length + failures.length;
    const counts = (Object.keys(words) as Change["todo"][]).flatMap((todo) => {
      const n = this.outcomes.filter((o) => o.todo === todo && o.failure === undefined).length;
      return n === 0 ? [] : [`${n} ${words[todo][1]}`];
    });
    console.log([...counts, ...(failed === 0 ? [] : [`${failed} failed`])].join(", ") || "nothing to do");
  }
}

function lineOf({ key, todo, addresses, why, failure }: Outcome): string {
  if (failure !== undefined) return `failed    ${describeFailure(failure)}`;
  const has = addresses.length === 0 ? "" : `: ${addresses.join(", ")}`;
  return `${words[todo][1].padEnd(8)}  ${describeKey(key)}${has}${why === undefined ? "" : ` (${why})`}`;
}

async function commandsFor(change: Change, site: string): Promise<string[]> {
  const undo =
    "record" in change && change.todo !== "keep" ? await explainUndo(change.record.plan, change.record.netns) : [];
  if (change.todo === "keep" || change.todo === "detach") return undo;
  const { create, netns } = change.wanted;
  try {
    const { plan } = await previewAttach(requestFor(change.wanted, site));
    return [...undo, ...(await explainPlan(plan, netns))];
  } catch (e) {
    if (create === undefined) throw e;
    return [...undo, `ip netns add ${create} # then its commands can be told`]; // it is not there yet
  }
}

async function printDifference(site: string, changes: readonly Change[], json: boolean): Promise<void> {
  const told: { key: unknown; todo: string; why?: string; commands: string[] }[] = [];
  for (const change of changes) {
    const key = change.todo === "detach" ? change.record.key : change.wanted.key;
    const why = "why" in change ? { why: change.why } : {};
    const commands = await commandsFor(change, site);
    told.push({ key, todo: change.todo, ...why, commands });
    if (json) continue;
    console.log(`${change.todo.padEnd(8)}  ${describeKey(key)}${"why" in change ? ` (${change.why})` : ""}`);
    for (const command of commands) console.log(`    ${command}`);
  }
  if (json) printJson(told);
}

/** `berth up`. */
export const upCommand = buildCommand({
  docs: {
    brief: "make a host have the attachments of a site file",
    fullDescription:
      "Attaches what is missing, replaces what is otherwise than the file says, detaches what the file had once and has no more; what is as it shall be is not touched. Each attachment is made whole or not at all, whatever comes of the others.",
  },
  parameters: { positional: file, flags: { json: flag.json, dryRun: flag.dryRun } },
  async func(flags: Flags, path: string) {
    await reporting(flags.json, async () => {
      const { site, wanted } = load(path);
      const { changes, failures } = differenceOf(site, wanted, allRecords());
      if (flags.dryRun) {
        await printDifference(site, changes, flags.json);
        const [first] = failures;
        if (first !== undefined) throw first;
        return;
      }
      // the executable is built for calls that end before anything is worth compiling
      if (changes.length >= MANY) Bun.unsafe.setJITPolicy(1);
      const report = new Report(flags.json, changes.length);
      await applyChanges(site, changes, report.add);
      report.end(failures);
    });
  },
});

/** `berth down`. */
export const downCommand = buildCommand({
  docs: {
    brief: "detach what a site file attached",
    fullDescription:
      "Detaches all that berth up attached for this file, also what the file has no more, and deletes the namespaces that the file creates.",
  },
  parameters: { positional: file, flags: { json: flag.json, dryRun: flag.dryRun } },
  async func(flags: Flags, path: string) {
    await reporting(flags.json, async () => {
      const { site, wanted } = load(path);
      const records = allRecords().filter((r) => r.site === site);
      if (flags.dryRun) {
        const changes = records.map((record): Change => ({ todo: "detach", record, why: "the site goes down" }));
        return await printDifference(site, changes, flags.json);
      }
      const report = new Report(flags.json, records.length);
      await takeDown(records, wanted, report.add);
      report.end([]);
    });
  },
});
