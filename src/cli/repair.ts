import { buildCommand } from "@stricli/core";
import { describeKey, type Key } from "../attachment/key.ts";
import { type AttachmentRecord, isOrphan } from "../attachment/record.ts";
import { previewRepair, repair } from "../attachment/repair.ts";
import { keepError } from "../attachment/last-errors.ts";
import { watch, type WatchReport } from "../attachment/watch.ts";
import { log } from "../report/log.ts";
import { explainPlan, explainUndo } from "../plan/plan.ts";
import { asFailure, Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import type { NetworkFlags } from "./networks.ts";
import { describeFailure, failureJson, printJson, reporting } from "./output.ts";
import { allRecords, chosenRecords } from "./records.ts";
import type { PlaceFlags } from "./target.ts";

interface Flags extends NetworkFlags, PlaceFlags {
  readonly json: boolean;
  readonly dryRun: boolean;
  readonly watch: boolean;
}

interface Outcome {
  readonly key: Key;
  readonly found: readonly string[];
  /** Of a dry run. */
  readonly commands?: readonly string[];
  readonly failure?: Failure;
}

async function repairOne(record: AttachmentRecord, dryRun: boolean): Promise<Outcome> {
  const { key, netns } = record;
  try {
    if (!dryRun) return { key, found: (await repair(record)).found };
    const { found, plan, obsolete } = await previewRepair(record);
    return { key, found, commands: [...(await explainUndo(obsolete, netns)), ...(await explainPlan(plan, netns))] };
  } catch (e) {
    return { key, found: [], failure: asFailure(e, `repair ${describeKey(key)}`) };
  }
}

function print({ key, found, commands, failure }: Outcome): void {
  if (failure !== undefined) {
    console.log(`failed  ${describeFailure(failure)}`);
    return;
  }
  const verb = commands === undefined ? "mended " : "would mend";
  if (found.length === 0) console.log(`good    ${describeKey(key)}`);
  for (const sentence of found) console.log(`${verb} ${describeKey(key)}: ${sentence}`);
  for (const command of commands ?? []) console.log(`    ${command}`);
}

const textLines: WatchReport = {
  mended: (key, sentence) => console.log(`mended  ${describeKey(key)}: ${sentence}`),
  hindered: (key, sentence) => console.log(`hinders ${describeKey(key)}: ${sentence}`),
  over: (key, sentence) => console.log(`over    ${describeKey(key)}: ${sentence}`),
  failed: (key, failure) => console.log(`failed  ${describeKey(key)}: ${describeFailure(failure)}`),
};

/** The same, and in the log, and failures kept. */
function noting(report: WatchReport): WatchReport {
  return {
    mended(key, sentence) {
      log("info", "mended", () => ({ ...key, found: sentence }));
      report.mended(key, sentence);
    },
    hindered(key, sentence) {
      log("warn", "hindered", () => ({ ...key, found: sentence }));
      report.hindered(key, sentence);
    },
    over(key, sentence) {
      log("info", "over", () => ({ ...key, found: sentence }));
      report.over(key, sentence);
    },
    failed(key, failure) {
      log("error", "failed", () => ({ ...key, message: failure.message, advice: failure.advice }));
      keepError("berth repair --watch", failure);
      report.failed(key, failure);
    },
  };
}

const jsonLines: WatchReport = {
  mended: (key, sentence) => console.log(JSON.stringify({ key, mended: sentence })),
  hindered: (key, sentence) => console.log(JSON.stringify({ key, hinders: sentence })),
  over: (key, sentence) => console.log(JSON.stringify({ key, over: sentence })),
  failed: (key, failure) => console.log(JSON.stringify({ key, error: failureJson(failure) })),
};

/** `berth repair`. */
export const repairCommand = buildCommand({
  docs: {
    brief: "make attachments hold again as the host is now",
    fullDescription:
      "Compares one container's attachments, or all, with what the host is now (its addresses, the parent) and makes anew what is missing, the link in the namespace included, with the same MAC and addresses. What has lost its namespace is for berth gc.",
  },
  parameters: {
    flags: {
      ...flag.network,
      ...flag.place,
      json: flag.json,
      dryRun: flag.dryRun,
      watch: {
        kind: "boolean",
        brief: "stay, and repair whatever changes at once; a line for each thing that is mended",
        default: false,
        withNegated: false,
      },
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      if (flags.watch) return watch(noting(flags.json ? jsonLines : textLines));
      const named = flags.id !== undefined || flags.netns !== undefined || flags.pid !== undefined;
      const records = named ? chosenRecords(flags) : allRecords().filter((r) => !isOrphan(r));
      if (named && records.length === 0) {
        throw new Failure("missing", "repair the attachment: there is no such attachment", {
          advice: '"berth ls" lists them.',
        });
      }
      const outcomes: Outcome[] = [];
      for (const record of records) outcomes.push(await repairOne(record, flags.dryRun));
      if (outcomes.some((o) => o.failure !== undefined)) process.exitCode = 1;
      if (flags.json) {
        printJson(
          outcomes.map(({ failure, ...o }) => ({
            ...o,
            ...(failure === undefined ? {} : { error: failureJson(failure) }),
          })),
        );
        return;
      }
      for (const outcome of outcomes) print(outcome);
      if (outcomes.length === 0) console.log("no attachments");
    });
  },
});
