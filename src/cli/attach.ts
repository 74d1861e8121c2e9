import { buildCommand } from "@stricli/core";
import { delegateFor } from "../attachment/allocation.ts";
import { parseIp } from "../address/ip.ts";
import { parseCidr } from "../address/cidr.ts";
import { parseMac } from "../address/mac.ts";
import { attach, previewAttach } from "../attachment/attach.ts";
import type { AttachRequest } from "../attachment/prepare.ts";
import { kindOf } from "../attachment/sub-interface.ts";
import { describeKey } from "../attachment/key.ts";
import { explainPlan } from "../plan/plan.ts";
import { Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { findNetwork, type NetworkFlags } from "./networks.ts";
import { printJson, reporting } from "./output.ts";
import { placeOf, type PlaceFlags } from "./target.ts";

function ipText(value: string): string {
  if (parseIp(value) !== undefined || parseCidr(value) !== undefined) return value;
  throw new SyntaxError(`${value} is no IP address`);
}

function macText(value: string): string {
  const mac = parseMac(value);
  if (mac !== undefined) return mac;
  throw new SyntaxError(`${value} is no MAC address`);
}

interface Flags extends NetworkFlags, PlaceFlags {
  readonly ip?: readonly string[];
  readonly mac?: string;
  readonly json: boolean;
  readonly dryRun: boolean;
}

function requestOf(flags: Flags): AttachRequest {
  const { config, text } = findNetwork(flags);
  const { netns, containerId } = placeOf(flags);
  if (netns === undefined || containerId === undefined) {
    throw new Failure("request", "choose a namespace: neither --netns nor --pid is given", {
      advice: "Give --netns NAME (ip netns), --netns PATH, or --pid N.",
    });
  }
  const key = { network: config.name, containerId, ifName: flags.ifname };
  const ips = flags.ip ?? [];
  const asked = { ips, ...(flags.mac === undefined ? {} : { mac: flags.mac }) };
  return {
    key,
    kind: kindOf(config, ""),
    netns,
    config,
    mac: flags.mac ?? config.args?.cni?.mac,
    ips: [...ips, ...(ips.length === 0 ? (config.args?.cni?.ips ?? []) : [])],
    delegate: delegateFor(text, config.cniVersion, key, netns, asked),
  };
}

async function dryRun(request: AttachRequest, json: boolean): Promise<void> {
  const { plan, allocation } = await previewAttach(request);
  const commands = [...(allocation.port?.commands ?? []), ...(await explainPlan(plan, request.netns))];
  if (json) printJson({ key: request.key, allocation, plan, commands });
  else for (const line of commands) console.log(line);
}

/** `berth attach`. */
export const attachCommand = buildCommand({
  docs: {
    brief: "attach a namespace to a network",
    fullDescription:
      "Reserves addresses, makes the sub-interface in the namespace, and its routes there and on the host. Whatever fails, nothing is left behind.",
  },
  parameters: {
    flags: {
      ...flag.network,
      ...flag.place,
      ip: {
        kind: "parsed",
        parse: ipText,
        brief: "an address to ask for; may be given several times",
        optional: true,
        variadic: true,
        placeholder: "IP",
      },
      mac: { kind: "parsed", parse: macText, brief: "the MAC to ask for", optional: true, placeholder: "MAC" },
      json: flag.json,
      dryRun: flag.dryRun,
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      const request = requestOf(flags);
      if (flags.dryRun) return await dryRun(request, flags.json);
      const { record, allocation, link, remarks } = await attach(request);
      if (flags.json) {
        printJson({
          key: record.key,
          kind: record.kind,
          parent: record.parent,
          netns: record.netns,
          mac: link?.mac,
          mtu: link?.mtu,
          allocation,
          remarks,
        });
        return;
      }
      for (const remark of remarks) console.error(`berth: ${remark}`);
      const addresses = allocation.ips.map((lease) => lease.address).join(", ");
      console.log(
        `attached ${describeKey(record.key)}: ${record.kind} on ${record.parent}, ${addresses === "" ? "no address" : addresses}, MAC ${link?.mac ?? "?"}, MTU ${link?.mtu ?? "?"}`,
      );
    });
  },
});
