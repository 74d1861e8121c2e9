import { buildCommand } from "@stricli/core";
import { delegateFor } from "../attachment/allocation.ts";
import { configOf } from "../attachment/recorded-config.ts";
import { check } from "../attachment/check.ts";
import { describeKey, type Key } from "../attachment/key.ts";
import type { AttachmentRecord } from "../attachment/record.ts";
import { asFailure, Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import type { NetworkFlags } from "./networks.ts";
import { describeFailure, failureJson, printJson, reporting } from "./output.ts";
import { allRecords, chosenRecords } from "./records.ts";
import type { PlaceFlags } from "./target.ts";

interface Flags extends NetworkFlags, PlaceFlags {
  readonly json: boolean;
}

interface Checked {
  readonly key: Key;
  readonly remarks: readonly string[];
  readonly failure?: Failure;
}

async function checkRecord(record: AttachmentRecord): Promise<Checked> {
  try {
    const config = configOf(record);
    const delegate = delegateFor(record.config, config.cniVersion, record.key, record.netns);
    const { key, netns } = record;
    return { key, remarks: await check({ key, netns, config, expectedIps: [], delegate }) };
  } catch (e) {
    return { key: record.key, remarks: [], failure: asFailure(e, `check ${describeKey(record.key)}`) };
  }
}

/** `berth check`. */
export const checkCommand = buildCommand({
  docs: {
    brief: "compare attachments with the kernel and with IPAM",
    fullDescription:
      "Checks one container's attachments, or all. Exit status 1 where anything is not as it was planned.",
  },
  parameters: { flags: { ...flag.network, ...flag.place, json: flag.json } },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      const named = flags.id !== undefined || flags.netns !== undefined || flags.pid !== undefined;
      const records = named ? chosenRecords(flags) : allRecords();
      if (named && records.length === 0) {
        throw new Failure("missing", "check the attachment: there is no such attachment", {
          advice: '"berth ls" lists them.',
        });
      }
      const results = [];
      for (const record of records) results.push(await checkRecord(record));
      if (results.some((r) => r.failure !== undefined)) process.exitCode = 1;
      if (flags.json) {
        printJson(
          results.map((r) => ({
            key: r.key,
            ok: r.failure === undefined,
            remarks: r.remarks,
            ...(r.failure === undefined ? {} : { error: failureJson(r.failure) }),
          })),
        );
        return;
      }
      for (const { key, failure, remarks } of results) {
        console.log(failure === undefined ? `ok    ${describeKey(key)}` : `wrong ${describeFailure(failure)}`);
        for (const remark of remarks) console.log(`      ${remark}`);
      }
      if (results.length === 0) console.log("no attachments");
    });
  },
});
