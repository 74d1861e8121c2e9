import { buildCommand } from "@stricli/core";
import { delegateFor } from "../attachment/allocation.ts";
import { attach, previewAttach } from "../attachment/attach.ts";
import type { AttachRequest } from "../attachment/prepare.ts";
import { guestJson, guestLinkName, tapPathOf } from "../attachment/guest.ts";
import { kindOf } from "../attachment/sub-interface.ts";
import { describeKey } from "../attachment/key.ts";
import type { NetworkConfig } from "../attachment/config.ts";
import { OWN_NAMESPACE } from "../kernel/namespaces.ts";
import { explainPlan } from "../plan/plan.ts";
import { Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { inGuest, type LinkFlags, linkFlags, withLinkFlags } from "./link-flags.ts";
import { findNetwork, type NetworkFlags } from "./networks.ts";
import { printJson, reporting } from "./output.ts";
import { allRecords } from "./records.ts";
import { placeOf, type PlaceFlags } from "./target.ts";

interface Flags extends NetworkFlags, PlaceFlags, LinkFlags {
  readonly foreignLink: boolean;
  readonly ip?: readonly string[];
  readonly mac?: string;
  readonly json: boolean;
  readonly dryRun: boolean;
}

function requestOf(flags: Flags): AttachRequest {
  const { foreignLink } = flags;
  const { config, text } = withLinkFlags(findNetwork(flags), foreignLink ? { ...flags, kind: "macvtap" } : flags);
  const { netns, containerId, ifName } = attachPlace(flags, config);
  const key = { network: config.name, containerId, ifName };
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
    ...(foreignLink ? { guest: { foreignLink } } : {}),
  };
}

/** Where an attachment is made: a virtual machine's in the host's own namespace, unless another is named. */
function attachPlace(flags: Flags, config: NetworkConfig): { netns: string; containerId: string; ifName: string } {
  const { netns, containerId } = placeOf(flags);
  const usual = flags.ifname === flag.place.ifname.default;
  if (netns !== undefined && containerId !== undefined) return { netns, containerId, ifName: flags.ifname };
  if ((config.tap !== undefined || flags.foreignLink) && containerId !== undefined) {
    return {
      netns: OWN_NAMESPACE,
      containerId,
      ifName: usual ? guestLinkName(config.name, containerId, allRecords()) : flags.ifname,
    };
  }
  throw new Failure("request", "choose a namespace: neither --netns nor --pid is given", {
    advice:
      config.tap === undefined
        ? "Give --netns NAME (ip netns), --netns PATH, or --pid N."
        : "Give --id NAME for a virtual machine in the host's namespace, or --netns or --pid.",
  });
}

async function dryRun(request: AttachRequest, json: boolean): Promise<void> {
  const { plan, allocation, guest } = await previewAttach(request);
  const commands = [...(allocation.port?.commands ?? []), ...(await explainPlan(plan, request.netns))];
  if (json) {
    const told = guest === undefined ? {} : { guest: await guestJson(guest) };
    printJson({ key: request.key, allocation, plan, commands, ...told });
  } else for (const line of [...commands, ...(await inGuest(guest))]) console.log(line);
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
      ...flag.asked,
      ...linkFlags,
      foreignLink: {
        kind: "boolean",
        brief:
          "a virtual machine's manager (libvirt) makes the link: only reserve addresses and make the host's way to it",
        default: false,
        withNegated: false,
      },
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
          ...(record.guest === undefined ? {} : { guest: await guestJson(record.guest), tap: tapPathOf(record) }),
        });
        return;
      }
      for (const remark of remarks) console.error(`berth: ${remark}`);
      const addresses = allocation.ips.map((lease) => lease.address).join(", ");
      console.log(
        `attached ${describeKey(record.key)}: ${record.kind} on ${record.parent}, ${addresses === "" ? "no address" : addresses}, MAC ${link?.mac ?? record.guest?.mac ?? "?"}, MTU ${link?.mtu ?? record.guest?.mtu ?? "?"}`,
      );
      const tap = tapPathOf(record);
      if (tap !== undefined) console.log(`its device is ${tap}`);
      for (const line of await inGuest(record.guest)) console.log(line);
    });
  },
});
