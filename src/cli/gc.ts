import { buildCommand } from "@stricli/core";
import { delegateFor } from "../attachment/allocation.ts";
import { type CloudStray, cloudStrays, collectOrphans, orphans } from "../attachment/collect.ts";
import { readConfig } from "../attachment/config-issues.ts";
import { describeKey } from "../attachment/key.ts";
import { explainUndo } from "../plan/plan.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import {
  describeLeftovers,
  describeUnrecorded,
  explainLeftovers,
  findLeftovers,
  removeLeftovers,
} from "./leftovers.ts";
import { findNetwork, listNetworks, type NetworkFlags } from "./networks.ts";
import { describeFailure, failureJson, printJson, reporting } from "./output.ts";

interface Flags extends NetworkFlags {
  readonly json: boolean;
  readonly dryRun: boolean;
  readonly yes: boolean;
  /** Seconds. */
  readonly grace: number;
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

function countOfSeconds(text: string): number {
  if (/^\d{1,9}$/u.test(text)) return Number(text);
  throw new SyntaxError(`${text} is no number of seconds`);
}

function complain(failures: readonly Failure[]): void {
  for (const failure of failures) console.error(`berth: ${describeFailure(failure)}`);
  if (failures.length > 0) process.exitCode = 1;
}

async function preview(flags: Flags): Promise<void> {
  const unreadable: Failure[] = [];
  const found = orphans((f) => unreadable.push(f));
  const { strays, failures } = await straysOf(flags);
  const left = findLeftovers(flags.confDir, flags.grace);
  const commands: string[] = [];
  for (const { key, plan, netns } of found) {
    const onHost = plan.filter((s) => s.where !== "container");
    commands.push(`# ${describeKey(key)}`, ...(await explainUndo(onHost, netns)));
  }
  commands.push(
    ...strays.flatMap((s) => [`# ${s.what}`, ...s.commands]),
    ...describeLeftovers(left).map((what) => `# of no record, with --yes: ${what}`),
    ...(await explainLeftovers(left)),
  );
  // the records that cannot be read are named by both
  complain([...(left.failures.length > 0 ? [] : unreadable), ...failures, ...left.failures]);
  const unrecorded = describeUnrecorded(left);
  if (flags.json) {
    const cloud = strays.map((s) => s.what);
    printJson({ keys: found.map((r) => r.key), cloud, strays: describeLeftovers(left), unrecorded, commands });
    return;
  }
  for (const line of commands.length === 0 ? ["# nothing to collect"] : commands) console.log(line);
  for (const line of unrecorded) console.log(`# ${line}`);
}

/** `berth gc`. */
export const gcCommand = buildCommand({
  docs: {
    brief: "detach every attachment whose namespace is gone, and find what no record knows of",
    fullDescription:
      "Removes their routes on the host, their access links where nobody else uses them, and their reservations; and, of networks with ipam of type neutron, the ports and address pairs of this machine's containers that are gone. Networks are those of --conf-dir, or the one that is named. What is Berth's by its marks (links, routes, rules, neighbours, on the host and in the namespaces that can be reached) and of no record is printed, and so are reservations of this boot whose container has neither a record nor a link; with --yes they are removed. An attachment without a record in a namespace that has processes is printed, and stays.",
  },
  parameters: {
    flags: {
      ...flag.network,
      json: flag.json,
      dryRun: flag.dryRun,
      yes: {
        kind: "boolean",
        brief: "remove what is Berth's and of no record, too",
        default: false,
        withNegated: false,
      },
      grace: {
        kind: "parsed",
        parse: countOfSeconds,
        brief: "how old a reservation of no record must be, seconds",
        default: "600",
        placeholder: "SECONDS",
      },
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      if (flags.dryRun) {
        await preview(flags);
        return;
      }
      const { attachments } = await collectOrphans();
      const { strays, failures } = await straysOf(flags); // what is orphaned has just given its port back
      for (const stray of strays) await stray.remove();
      const left = findLeftovers(flags.confDir, flags.grace);
      const done = flags.yes ? await removeLeftovers(left) : { removed: [], failures: [] };
      const stays = flags.yes ? [] : describeLeftovers(left);
      const unrecorded = describeUnrecorded(left);
      const errors = [...failures, ...left.failures, ...done.failures];
      const cloud = strays.map((s) => s.what);
      if (flags.json) {
        const { removed } = done;
        printJson({
          collected: attachments,
          cloud,
          removed,
          strays: stays,
          unrecorded,
          errors: errors.map(failureJson),
        });
        if (errors.length > 0) process.exitCode = 1;
        return;
      }
      for (const key of attachments) console.log(`collected ${describeKey(key)}`);
      for (const what of [...cloud, ...done.removed]) console.log(`removed ${what}`);
      for (const what of stays) console.log(`of no record: ${what}`);
      if (stays.length > 0) console.log('"berth gc --yes" removes what is of no record');
      for (const line of unrecorded) console.log(line);
      const count = attachments.length + cloud.length + done.removed.length + stays.length + unrecorded.length;
      if (count === 0) console.log("nothing to collect");
      complain(errors);
    });
  },
});
