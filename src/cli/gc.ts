import { buildCommand } from "@stricli/core";
import { delegateFor } from "../attachment/allocation.ts";
import { type CloudStray, cloudStrays, collectOrphans, orphans } from "../attachment/collect.ts";
import { readConfig } from "../attachment/config.ts";
import { describeKey } from "../attachment/key.ts";
import { explainUndo } from "../plan/plan.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { findNetwork, listNetworks, type NetworkFlags } from "./networks.ts";
import { describeFailure, failureJson, printJson, reporting } from "./output.ts";

interface Flags extends NetworkFlags {
  readonly json: boolean;
  readonly dryRun: boolean;
}

/** What the clouds of networks keep for containers that are gone, and of which networks that could not be learnt. */
async function straysOf(flags: Flags): Promise<{ strays: CloudStray[]; failures: Failure[] }> {
  const named = flags.network !== undefined || flags.config !== undefined;
  const texts = named
    ? [findNetwork(flags).text]
    : listNetworks(flags.confDir, () => {}).map((n) => JSON.stringify(n.json));
  const strays: CloudStray[] = [];
  const failures: Failure[] = [];
  for (const text of texts) {
    try {
      const config = readConfig(JSON.parse(text));
      const key = { network: config.name, containerId: "", ifName: "" };
      strays.push(...(await cloudStrays(config, delegateFor(text, config.cniVersion, key, undefined))));
    } catch (e) {
      failures.push(asFailure(e, "look for what a cloud keeps"));
    }
  }
  return { strays, failures };
}

/** `berth gc`. */
export const gcCommand = buildCommand({
  docs: {
    brief: "detach every attachment whose namespace is gone",
    fullDescription:
      "Removes their routes on the host, their access links where nobody else uses them, and their reservations; and, of networks with ipam of type neutron, the ports and address pairs of this machine's containers that are gone. Networks are those of --conf-dir, or the one that is named.",
  },
  parameters: { flags: { ...flag.network, json: flag.json, dryRun: flag.dryRun } },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      if (flags.dryRun) {
        const found = orphans((f) => console.error(`berth: ${describeFailure(f)}`));
        const { strays, failures } = await straysOf(flags);
        const commands: string[] = [];
        for (const { key, plan, netns } of found) {
          const onHost = plan.filter((s) => s.where !== "container");
          commands.push(`# ${describeKey(key)}`, ...(await explainUndo(onHost, netns)));
        }
        commands.push(...strays.flatMap((s) => [`# ${s.what}`, ...s.commands]));
        for (const failure of failures) console.error(`berth: ${describeFailure(failure)}`);
        if (failures.length > 0) process.exitCode = 1;
        if (flags.json) printJson({ keys: found.map((r) => r.key), cloud: strays.map((s) => s.what), commands });
        else for (const line of commands.length === 0 ? ["# nothing to collect"] : commands) console.log(line);
        return;
      }
      const { attachments } = await collectOrphans();
      const { strays, failures } = await straysOf(flags); // what is orphaned has just given its port back
      for (const stray of strays) await stray.remove();
      if (flags.json) {
        printJson({ collected: attachments, cloud: strays.map((s) => s.what), errors: failures.map(failureJson) });
      } else {
        for (const key of attachments) console.log(`collected ${describeKey(key)}`);
        for (const stray of strays) console.log(`removed ${stray.what}`);
        if (attachments.length + strays.length === 0) console.log("nothing to collect");
        for (const failure of failures) console.error(`berth: ${describeFailure(failure)}`);
      }
      if (failures.length > 0) process.exitCode = 1;
    });
  },
});
