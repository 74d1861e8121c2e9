// berth vm: virtual machines beside containers.
import { buildCommand, buildRouteMap } from "@stricli/core";
import { attach, previewAttach } from "../attachment/attach.ts";
import { readConfig } from "../attachment/config-issues.ts";
import { describeKey, type Key } from "../attachment/key.ts";
import { arrive, leave } from "../attachment/presence.ts";
import { previewRepair } from "../attachment/repair.ts";
import { guestJson, tapPathOf } from "../attachment/guest.ts";
import type { GuestRecord } from "../attachment/record.ts";
import { explainPlan, explainUndo } from "../plan/plan.ts";
import { libvirtXml } from "../vm/libvirt.ts";
import { exportState, readState, type VmState } from "../vm/state.ts";
import { watchVm } from "../vm/watch.ts";
import * as flag from "./flags.ts";
import { inGuest, type TapFlags, tapFlags } from "./link-flags.ts";
import { findNetwork, listNetworks, type NetworkFlags } from "./networks.ts";
import { printJson, reporting } from "./output.ts";
import { name, vm, type VmFlags, vmRecord, vmRecords, vmRequest } from "./vm-flags.ts";
import { lines } from "./vm-lines.ts";
import { runCommand } from "./vm-run.ts";

/** The network of a machine that comes from another host: this host's of that name, or as it was there. */
function networkOf(flags: NetworkFlags, state: VmState): ReturnType<typeof findNetwork> {
  if (flags.network !== undefined || flags.config !== undefined) return findNetwork(flags);
  const { network } = state.key;
  if (listNetworks(flags.confDir, () => {}).some((n) => n.name === network)) return findNetwork({ ...flags, network });
  return { config: readConfig(state.config), text: JSON.stringify(state.config) };
}

async function jsonOf(
  guest: GuestRecord | undefined,
): Promise<{ readonly guest?: Awaited<ReturnType<typeof guestJson>> }> {
  return guest === undefined ? {} : { guest: await guestJson(guest) };
}

interface PrepareFlags extends NetworkFlags, TapFlags {
  readonly name?: string;
  readonly state: string;
  readonly json: boolean;
  readonly dryRun: boolean;
}

const prepare = buildCommand({
  docs: {
    brief: "make ready for a virtual machine that comes from another host",
    fullDescription:
      "Reserves the machine's addresses and makes its macvtap with the same MAC, kept down until the machine runs here (berth vm switch, or berth vm watch).",
  },
  parameters: {
    flags: {
      ...flag.network,
      state: {
        kind: "parsed",
        parse: flag.text,
        brief: "the file that berth vm export made on the other host; - reads it from standard input",
        placeholder: "FILE",
      },
      name: { ...name.name, optional: true },
      ...tapFlags,
      json: flag.json,
      dryRun: flag.dryRun,
    },
  },
  async func(flags: PrepareFlags) {
    await reporting(flags.json, async () => {
      const state = readState(flags.state);
      const machine = flags.name ?? state.key.containerId;
      const request = vmRequest(networkOf(flags, state), machine, flags, { held: true }, state);
      if (flags.dryRun) {
        const { plan, guest } = await previewAttach(request);
        const commands = await explainPlan(plan, request.netns);
        if (flags.json) printJson({ key: request.key, plan, commands, ...(await jsonOf(guest)) });
        else for (const line of [...commands, ...(await inGuest(guest))]) console.log(line);
        return;
      }
      const { record, remarks } = await attach(request);
      const tap = tapPathOf(record);
      if (flags.json) return printJson({ key: record.key, ...(await jsonOf(record.guest)), tap, remarks });
      for (const remark of remarks) console.error(`berth: ${remark}`);
      console.log(
        `prepared ${describeKey(record.key)}: MAC ${record.guest?.mac ?? "?"}, kept down; its device is ${tap}`,
      );
      for (const line of await inGuest(record.guest)) console.log(line);
    });
  },
});

const exportCommand = buildCommand({
  docs: {
    brief: "print what a virtual machine takes along to another host",
    fullDescription: "For berth vm prepare there: its MAC, its addresses, its network's configuration.",
  },
  parameters: { flags: { ...vm } },
  async func(flags: VmFlags) {
    await reporting(false, async () => printJson(exportState(vmRecord(flags))));
  },
});

interface SwitchFlags extends VmFlags {
  readonly away: boolean;
  readonly json: boolean;
  readonly dryRun: boolean;
}

/** The commands that would switch, as far as the kernel is not yet as they make it. */
async function switchCommands({ away, ...flags }: SwitchFlags): Promise<string[]> {
  const commands: string[] = [];
  for (const record of vmRecords(flags)) {
    if (record.guest === undefined) continue;
    const { held: _, ...guest } = record.guest;
    const moved = { ...record, guest: away ? { ...guest, held: true as const } : guest };
    const { plan, obsolete } = await previewRepair(moved);
    commands.push(...(await explainUndo(obsolete, record.netns)), ...(await explainPlan(plan, record.netns)));
  }
  return commands;
}

const switchCommand = buildCommand({
  docs: {
    brief: "say that a virtual machine runs here now, or no longer",
    fullDescription:
      "Sets its links up, announces its addresses and gives the host its way to it; with --away sets them down and takes that way back. Of all its networks, or of one.",
  },
  parameters: {
    flags: {
      ...vm,
      away: { kind: "boolean", brief: "it has left, or is about to", default: false, withNegated: false },
      json: flag.json,
      dryRun: flag.dryRun,
    },
  },
  async func(flags: SwitchFlags) {
    await reporting(flags.json, async () => {
      if (flags.dryRun) {
        const commands = await switchCommands(flags);
        if (flags.json) printJson({ commands });
        else for (const line of commands) console.log(line);
        return;
      }
      const keys: Key[] = [];
      const records = vmRecords(flags);
      if (records.length === 0) vmRecord(flags); // says that there is none
      for (const { key } of records) {
        await (flags.away ? leave(key) : arrive(key));
        keys.push(key);
      }
      if (flags.json) printJson({ switched: keys, here: !flags.away });
      else for (const key of keys) console.log(`${flags.away ? "away" : "here"} ${describeKey(key)}`);
    });
  },
});

interface WatchFlags extends VmFlags {
  readonly qmp: string;
  readonly json: boolean;
}

const watchCommand = buildCommand({
  docs: {
    brief: "follow a virtual machine by QEMU's monitor, on both hosts of a migration",
    fullDescription:
      "Does what berth vm switch does whenever the machine resumes here, and what berth vm switch --away does whenever it stops, until QEMU ends. The monitor must be Berth's alone: -qmp unix:PATH,server=on,wait=off.",
  },
  parameters: {
    flags: {
      ...vm,
      qmp: { kind: "parsed", parse: flag.text, brief: "path of a QMP socket", placeholder: "PATH" },
      json: flag.json,
    },
  },
  async func(flags: WatchFlags) {
    await reporting(flags.json, async () => {
      const keys = vmRecords(flags).map((r) => r.key);
      if (keys.length === 0) vmRecord(flags); // says that there is none
      await watchVm(
        keys,
        flags.qmp,
        lines(flags.name, flags.json, (line) => console.log(line)),
      );
    });
  },
});

const guestCommand = buildCommand({
  docs: {
    brief: "print the commands that give a guest its addresses and its way to this host",
    fullDescription:
      "A machine that moves is given those of every host that it may run on; they may be given again. In them eth0 is the NIC with the attachment's MAC.",
  },
  parameters: { flags: { ...vm, json: flag.json } },
  async func(flags: VmFlags & { readonly json: boolean }) {
    await reporting(flags.json, async () => {
      const { guest } = vmRecord(flags);
      if (flags.json) printJson((await jsonOf(guest)).guest);
      else for (const line of await inGuest(guest)) console.log(line);
    });
  },
});

const libvirtCommand = buildCommand({
  docs: {
    brief: "print a virtual machine's attachment as libvirt's <interface>",
    fullDescription:
      "type='direct' where the link was left to libvirt (berth attach --foreign-link), type='ethernet' of Berth's macvtap otherwise.",
  },
  parameters: { flags: { ...vm, json: flag.json } },
  async func(flags: VmFlags & { readonly json: boolean }) {
    await reporting(flags.json, async () => {
      const xml = libvirtXml(vmRecord(flags));
      if (flags.json) printJson({ xml });
      else console.log(xml);
    });
  },
});

/** `berth vm`. */
export const vmRoutes = buildRouteMap({
  docs: { brief: "virtual machines on macvtaps: run them, describe them, move them" },
  routes: {
    run: runCommand,
    guest: guestCommand,
    "libvirt-xml": libvirtCommand,
    export: exportCommand,
    prepare,
    switch: switchCommand,
    watch: watchCommand,
  },
});
