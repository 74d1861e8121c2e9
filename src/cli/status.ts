import { buildCommand } from "@stricli/core";
import { delegateFor } from "../attachment/allocation.ts";
import { status } from "../attachment/status.ts";
import { readConfig } from "../attachment/config-issues.ts";
import { kindOf } from "../attachment/sub-interface.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { findNetwork, listNetworks, type NetworkFlags } from "./networks.ts";
import { describeFailure, failureJson, printJson, reporting } from "./output.ts";

interface Flags extends NetworkFlags {
  readonly json: boolean;
  readonly probe: boolean;
}

/** The configurations to look at: the one that is named, or all. */
function chosen(flags: Flags): { name: string; text: string }[] {
  if (flags.network === undefined && flags.config === undefined) {
    const all = listNetworks(flags.confDir, (f) => console.error(`berth: ${describeFailure(f)}`));
    return all.map((n) => ({ name: n.name, text: JSON.stringify(n.json) }));
  }
  const { config, text } = findNetwork(flags);
  return [{ name: config.name, text }];
}

async function statusOf(text: string, probe: boolean): Promise<{ remarks: readonly string[]; failure?: Failure }> {
  try {
    const config = readConfig(JSON.parse(text));
    const key = { network: config.name, containerId: "", ifName: "" };
    const delegate = delegateFor(text, config.cniVersion, key, undefined);
    return { remarks: await status(config, kindOf(config, ""), delegate, probe) };
  } catch (e) {
    return { remarks: [], failure: asFailure(e, "status") };
  }
}

/** `berth status`. */
export const statusCommand = buildCommand({
  docs: {
    brief: "say whether networks can take another attachment",
    fullDescription:
      "Looks at the parent, at the kernel and at IPAM. With --probe a neighbour on the parent's LAN is asked by another MAC than the parent's: inside a virtual machine, what is outside may let frames to one MAC only come in. The answer is remembered until the next boot, and CNI's STATUS says it too. Exit status 1 where a network cannot.",
  },
  parameters: {
    flags: {
      ...flag.network,
      json: flag.json,
      probe: {
        kind: "boolean",
        brief: "ask the LAN whether frames to other MACs than the parent's come in",
        default: false,
        withNegated: false,
      },
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      const results = [];
      for (const { name, text } of chosen(flags)) results.push({ name, ...(await statusOf(text, flags.probe)) });
      if (results.some((r) => r.failure !== undefined)) process.exitCode = 1;
      if (flags.json) {
        printJson(
          results.map((r) => ({
            network: r.name,
            ready: r.failure === undefined,
            remarks: r.remarks,
            ...(r.failure === undefined ? {} : { error: failureJson(r.failure) }),
          })),
        );
        return;
      }
      if (results.length === 0) console.log(`no network in ${flags.confDir} is Berth's`);
      for (const { name, failure, remarks } of results) {
        console.log(failure === undefined ? `ready     ${name}` : `not ready ${describeFailure(failure)}`);
        for (const remark of remarks) console.log(`          ${remark}`);
      }
    });
  },
});
