import { buildCommand } from "@stricli/core";
import { collectOrphans, orphans } from "../attachment/collect.ts";
import { describeKey } from "../attachment/key.ts";
import { explainUndo } from "../plan/plan.ts";
import * as flag from "./flags.ts";
import { describeFailure, printJson, reporting } from "./output.ts";

interface Flags {
  readonly json: boolean;
  readonly dryRun: boolean;
}

/** `berth gc`. */
export const gcCommand = buildCommand({
  docs: {
    brief: "detach every attachment whose namespace is gone",
    fullDescription:
      "Removes their routes on the host, their access links where nobody else uses them, and their reservations.",
  },
  parameters: { flags: { json: flag.json, dryRun: flag.dryRun } },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      if (flags.dryRun) {
        const found = orphans((f) => console.error(`berth: ${describeFailure(f)}`));
        const commands = found.flatMap((r) => [
          `# ${describeKey(r.key)}`,
          ...explainUndo(
            r.plan.filter((s) => s.where === "host"),
            r.netns,
          ),
        ]);
        if (flags.json) printJson({ keys: found.map((r) => r.key), commands });
        else for (const line of found.length === 0 ? ["# nothing to collect"] : commands) console.log(line);
        return;
      }
      const { attachments } = await collectOrphans();
      if (flags.json) printJson({ collected: attachments });
      else if (attachments.length === 0) console.log("nothing to collect");
      else for (const key of attachments) console.log(`collected ${describeKey(key)}`);
    });
  },
});
