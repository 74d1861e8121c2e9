import { buildCommand } from "@stricli/core";
import { delegateFor } from "../attachment/allocation.ts";
import { detachRecorded } from "../attachment/collect.ts";
import { detach, type DetachRequest, recognise } from "../attachment/detach.ts";
import { describeKey } from "../attachment/key.ts";
import { type AttachmentRecord } from "../attachment/record.ts";
import { Places } from "../plan/places.ts";
import { explainUndo } from "../plan/plan.ts";
import { Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { findNetwork, type NetworkFlags } from "./networks.ts";
import { printJson, reporting } from "./output.ts";
import { chosenRecords } from "./records.ts";
import { placeOf, type PlaceFlags } from "./target.ts";

interface Flags extends NetworkFlags, PlaceFlags {
  readonly keepAddresses: boolean;
  readonly json: boolean;
  readonly dryRun: boolean;
}

/** An attachment without a record: the flags alone say what it is. */
function unrecorded(flags: Flags): DetachRequest {
  const { netns, containerId } = placeOf(flags);
  if (containerId === undefined) {
    throw new Failure("request", "choose an attachment: none of --id, --netns and --pid is given", {
      advice: '"berth ls" lists the attachments.',
    });
  }
  if (flags.network === undefined && flags.config === undefined) {
    throw new Failure("missing", `detach ${containerId}: there is no record of such an attachment`, {
      advice:
        'If it was there, name its network too (--network or --config), so that its addresses are released. "berth ls" lists the recorded ones.',
    });
  }
  const { config, text } = findNetwork(flags);
  const key = { network: config.name, containerId, ifName: flags.ifname };
  return { key, netns, config, knownIps: [], delegate: delegateFor(text, config.cniVersion, key, netns) };
}

async function commandsFor(
  records: readonly AttachmentRecord[],
  request: DetachRequest | undefined,
): Promise<string[]> {
  if (request === undefined) {
    const commands: string[] = [];
    for (const { plan, netns } of records) commands.push(...(await explainUndo(plan, netns)));
    return commands;
  }
  using places = Places.find(request.netns);
  return await explainUndo(recognise(request, places), request.netns ?? "");
}

/** `berth detach`. */
export const detachCommand = buildCommand({
  docs: {
    brief: "detach a namespace from a network",
    fullDescription:
      "Undoes what attach did and releases the addresses. Needs neither the namespace nor the parent; without --network it detaches the container from all its networks.",
  },
  parameters: {
    flags: {
      ...flag.network,
      ...flag.place,
      keepAddresses: {
        kind: "boolean",
        brief: "leave them reserved: a virtual machine has taken them to a host that reserves in the same store",
        default: false,
        withNegated: false,
      },
      json: flag.json,
      dryRun: flag.dryRun,
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      const records = chosenRecords(flags);
      const request = records.length === 0 ? unrecorded(flags) : undefined;
      if (flags.dryRun) {
        const commands = await commandsFor(records, request);
        if (flags.json) printJson({ keys: records.map((r) => r.key), commands });
        else for (const line of commands) console.log(line);
        return;
      }
      if (request !== undefined) await detach(request);
      const keep = flags.keepAddresses ? ({ keepsAddresses: true } as const) : {};
      for (const record of records) await detachRecorded(record, keep);
      const keys = request === undefined ? records.map((r) => r.key) : [request.key];
      if (flags.json) printJson({ detached: keys });
      else for (const key of keys) console.log(`detached ${describeKey(key)}`);
    });
  },
});
