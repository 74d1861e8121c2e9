// berth vm run: a virtual machine's program, connected as long as it runs.
import { buildCommand } from "@stricli/core";
import { attach, previewAttach } from "../attachment/attach.ts";
import { detachRecorded } from "../attachment/collect.ts";
import { guestJson, tapPathOf } from "../attachment/guest.ts";
import { describeKey } from "../attachment/key.ts";
import { assign } from "../attachment/presence.ts";
import type { AttachmentRecord } from "../attachment/record.ts";
import { identify } from "../kernel/processes.ts";
import { explainPlan } from "../plan/plan.ts";
import { quote } from "../plan/shell.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { type Connection, devicesOf, fillIn, FIRST, type Leg, start } from "../vm/run.ts";
import { watchVm } from "../vm/watch.ts";
import * as flag from "./flags.ts";
import { inGuest, tapFlags } from "./link-flags.ts";
import { findNetwork, type NetworkFlags } from "./networks.ts";
import { describeFailure, printJson, reporting } from "./output.ts";
import { name, vmRecords, vmRequest, type Wishes } from "./vm-flags.ts";
import { lines } from "./vm-lines.ts";

interface Flags extends Wishes, Connection {
  readonly network?: readonly string[];
  readonly config?: readonly string[];
  readonly confDir: string;
  readonly name: string;
  readonly qmp?: string;
  readonly keepAddresses: boolean;
  readonly json: boolean;
  readonly dryRun: boolean;
}

function count(value: string): number {
  if (/^[1-9]\d?$/u.test(value)) return Number(value);
  throw new SyntaxError(`${value} is no number of queues`);
}

/** The networks, one for each of the machine's NICs, in their order. */
function networksOf({ network = [], config = [], confDir }: Flags): ReturnType<typeof findNetwork>[] {
  const named: NetworkFlags[] = [
    ...network.map((n) => ({ network: n, confDir })),
    ...config.map((c) => ({ config: c, confDir })),
  ];
  if (named.length === 0) return [findNetwork({ confDir })]; // says that none is named
  return named.map(findNetwork);
}

interface Attached extends Leg {
  readonly record: AttachmentRecord;
  /** It was there before, and stays. */
  readonly stays: boolean;
}

/** The machine's attachment on a network: one that is there, or was prepared, or a new one. Throws `Failure`. */
async function legOn(network: ReturnType<typeof findNetwork>, flags: Flags): Promise<Attached> {
  const [present] = vmRecords({ name: flags.name, network: network.config.name });
  if (present?.guest?.process !== undefined) {
    throw new Failure("exists", `run ${flags.name}: process ${present.guest.process.pid} runs it already`, {
      advice: "A virtual machine of this name has this network: end it, or choose another name.",
    });
  }
  const record = present ?? (await attachNew(network, flags));
  const tap = tapPathOf(record);
  if (tap === undefined) {
    throw new Failure("request", `run ${flags.name}: the link of ${describeKey(record.key)} is another program's`, {
      advice: "It was attached with --foreign-link: detach it first.",
    });
  }
  return { record, tap, stays: present !== undefined && present.guest?.held !== true };
}

async function attachNew(network: ReturnType<typeof findNetwork>, flags: Flags): Promise<AttachmentRecord> {
  const own = identify(process.pid);
  const guest = own === undefined ? {} : { process: own };
  const { record, remarks } = await attach(vmRequest(network, flags.name, flags, guest));
  for (const remark of remarks) console.error(`berth: ${remark}`);
  return record;
}

/** What the machine has, on standard error: standard output is its program's. */
async function tell(legs: readonly Leg[], json: boolean): Promise<void> {
  for (const { record, tap } of legs) {
    const { key, guest, allocation } = record;
    if (json) {
      console.error(
        JSON.stringify({ key, tap, allocation, ...(guest === undefined ? {} : { guest: await guestJson(guest) }) }),
      );
      continue;
    }
    const addresses = allocation?.ips.map((lease) => lease.address).join(", ") ?? "";
    console.error(`berth: ${describeKey(key)}: ${addresses || "no address"}, MAC ${guest?.mac}, MTU ${guest?.mtu}`);
    for (const line of await inGuest(guest)) console.error(line);
  }
}

/** The commands of a run; what is attached already is left out. */
async function dryRun(flags: Flags, argv: readonly string[]): Promise<void> {
  const commands: string[] = [];
  const legs: Leg[] = [];
  for (const network of networksOf(flags)) {
    const [present] = vmRecords({ name: flags.name, network: network.config.name });
    if (present !== undefined) {
      legs.push({ record: present, tap: tapPathOf(present) ?? "" });
      continue;
    }
    const request = vmRequest(network, flags.name, flags, {});
    const preview = await previewAttach(request);
    commands.push(...(await explainPlan(preview.plan, request.netns)), ...(await inGuest(preview.guest)));
    legs.push({ record: { key: request.key, ...preview }, tap: tapPathOf(preview) ?? "" });
  }
  const paths = devicesOf(legs, flags).map((path, i) => `${FIRST + i}<>${quote(path)}`);
  const program = fillIn(
    argv,
    legs.map((leg) => leg.record),
    flags,
  );
  commands.push([...program.map(quote), ...paths].join(" "));
  if (flags.json) printJson({ commands });
  else for (const line of commands) console.log(line);
}

/** Runs the program to its end; its exit status, and whether the machine moved to another host. */
async function runOn(
  legs: readonly Attached[],
  argv: readonly string[],
  flags: Flags,
): Promise<{ exitCode: number; moved: boolean }> {
  const running = start(legs, argv, flags);
  const identity = identify(running.pid);
  const keys = legs.map((leg) => leg.record.key);
  // should Berth be killed, the machine runs on, and gc takes the attachment back after its end
  if (identity !== undefined) for (const leg of legs) if (!leg.stays) await assign(leg.record.key, identity);
  const { qmp } = flags;
  if (qmp === undefined) return { exitCode: await running.exited, moved: false };
  let ended = false;
  const watching = watchVm(
    keys,
    qmp,
    lines(flags.name, flags.json, (line) => console.error(line)),
    () => !ended,
  ).catch((e: unknown) => {
    console.error(`berth: ${describeFailure(asFailure(e, `watch ${qmp}`))}`);
    return { moved: false };
  });
  const exitCode = await running.exited;
  ended = true;
  return { exitCode, moved: (await watching).moved };
}

/** `berth vm run`. */
export const runCommand = buildCommand({
  docs: {
    brief: "run a virtual machine's program on a network",
    fullDescription:
      "Attaches, gives the program the descriptors of its macvtap, and detaches when it ends, whatever way; its exit status is the program's. In the command {fd} stands for the descriptor ({fds} for several, separated by colons; {vhostfd}, {vhostfds}), {mac}, {ip}, {ips}, {mtu} and {ifname} for the NIC's; of a second network {fd2}, {mac2} and so on. An attachment that is there already (berth vm prepare, berth attach) is used.",
  },
  parameters: {
    flags: {
      network: {
        kind: "parsed",
        parse: flag.text,
        brief: "the network's name; several times for several NICs",
        optional: true,
        variadic: true,
        placeholder: "NAME",
      },
      config: {
        kind: "parsed",
        parse: flag.text,
        brief: "the network's configuration file",
        optional: true,
        variadic: true,
        placeholder: "FILE",
      },
      confDir: flag.network.confDir,
      ...name,
      ...flag.asked,
      ...tapFlags,
      queues: { kind: "parsed", parse: count, brief: "pairs of queues", default: "1", placeholder: "N" },
      vhost: {
        kind: "boolean",
        brief: "with the kernel's virtio back end (/dev/vhost-net)",
        default: false,
        withNegated: false,
      },
      qmp: {
        kind: "parsed",
        parse: flag.text,
        brief: "path of a QMP socket of the program's, for Berth alone: the network follows the machine when it moves",
        optional: true,
        placeholder: "PATH",
      },
      keepAddresses: {
        kind: "boolean",
        brief: "a machine that has moved keeps its reservations: both hosts reserve in one store",
        default: false,
        withNegated: false,
      },
      json: flag.json,
      dryRun: flag.dryRun,
    },
    positional: {
      kind: "array",
      minimum: 1,
      parameter: { parse: flag.text, brief: "after --, the program and its arguments", placeholder: "COMMAND" },
    },
  },
  async func(flags: Flags, ...argv: string[]) {
    await reporting(flags.json, async () => {
      if (flags.dryRun) return await dryRun(flags, argv);
      const networks = networksOf(flags);
      if (networks.length > 1 && (flags.mac ?? flags.ip) !== undefined) {
        throw new Failure("request", "ask for a MAC or an address: the machine is to be on several networks", {
          advice: "Attach it to each beforehand: berth attach --id NAME --network NAME --tap-mode 0660 --ip …",
        });
      }
      const legs: Attached[] = [];
      let moved = false;
      try {
        for (const network of networks) legs.push(await legOn(network, flags));
        await tell(legs, flags.json);
        const outcome = await runOn(legs, argv, flags);
        process.exitCode = outcome.exitCode;
        ({ moved } = outcome);
      } finally {
        await detachLegs(legs, moved && flags.keepAddresses);
      }
    });
  },
});

/** Detaches all that was not there before, whatever fails. Throws the first failure. */
async function detachLegs(legs: readonly Attached[], keepsAddresses: boolean): Promise<void> {
  let first: unknown;
  for (const { record, stays } of legs) {
    if (stays) continue;
    try {
      await detachRecorded(record, keepsAddresses ? { keepsAddresses } : {});
    } catch (e) {
      first ??= e;
    }
  }
  if (first !== undefined) throw first;
}
