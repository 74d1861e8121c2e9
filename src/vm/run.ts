// Running a virtual machine's program on an attachment: the device's descriptors go to it, and the attachment with it.
import { constants } from "node:os";
import type { AttachmentRecord } from "../attachment/record.ts";
import { close, open } from "../kernel/libc.ts";
import { SysError } from "../kernel/errno.ts";
import { Failure } from "../report/failure.ts";

const O_RDWR = 2;
const VHOST = "/dev/vhost-net";
/** The first descriptor that a child can be given beside the standard ones. */
export const FIRST = 3;
/** What ends a program, or tells it something, reaches it though Berth stands before it. */
const FORWARDED = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;

/** How a machine's program is connected. */
export interface Connection {
  /** Pairs of queues: so many descriptors of the device. */
  readonly queues: number;
  /** With as many descriptors of the kernel's virtio back end. */
  readonly vhost: boolean;
}

const known = ["fd", "fds", "vhostfd", "vhostfds", "mac", "ip", "ips", "ifname", "mtu"] as const;

/** What of a record fills in placeholders. */
type LegRecord = Pick<AttachmentRecord, "key" | "guest" | "allocation">;

/** One of a machine's NICs. */
export interface Leg {
  readonly record: LegRecord;
  /** Path of its device's node. */
  readonly tap: string;
}

/** How many descriptors a leg has. */
function descriptors({ queues, vhost }: Connection): number {
  return vhost ? 2 * queues : queues;
}

/** What stands for the placeholders of one leg. */
function placeholders({ key, guest, allocation }: LegRecord, leg: number, connection: Connection): Map<string, string> {
  const { queues, vhost } = connection;
  const first = FIRST + leg * descriptors(connection);
  const numbers = (from: number): string[] => Array.from({ length: queues }, (_, i) => `${from + i}`);
  const [taps, vhosts] = [numbers(first), vhost ? numbers(first + queues) : []];
  const ips = (allocation?.ips ?? []).map((lease) => lease.address.replace(/\/.*/u, ""));
  return new Map([
    ["fd", taps[0] ?? ""],
    ["fds", taps.join(":")],
    ...(vhost
      ? ([
          ["vhostfd", vhosts[0] ?? ""],
          ["vhostfds", vhosts.join(":")],
        ] as const)
      : []),
    ["mac", guest?.mac ?? ""],
    ["ip", ips[0] ?? ""],
    ["ips", ips.join(",")],
    ["ifname", key.ifName],
    ["mtu", `${guest?.mtu ?? ""}`],
  ]);
}

/**
 * A command with its placeholders filled in: `{fd}` is the first leg's, `{fd2}` the second's. What is in braces and no
 * placeholder is the program's own. Throws `Failure` (`request`) where one cannot be filled in, or a leg is not connected.
 */
export function fillIn(argv: readonly string[], records: readonly LegRecord[], connection: Connection): string[] {
  const legs = records.map((record, i) => placeholders(record, i, connection));
  const connected = new Set<number>();
  const filled = argv.map((word) =>
    word.replaceAll(/\{([a-z]+)([2-9])?\}/gu, (whole, name: string, number = "1") => {
      const leg = Number(number) - 1;
      if (!(known as readonly string[]).includes(name)) return whole;
      const value = legs[leg]?.get(name);
      if (value === undefined) {
        const why =
          legs[leg] === undefined ? "there is no such network" : "the kernel's virtio back end was not asked for";
        throw new Failure("request", `fill in ${whole}: ${why}`, {
          advice: legs[leg] === undefined ? "Give --network once for each of the machine's NICs." : "Give --vhost.",
        });
      }
      if (name === "fd" || name === "fds") connected.add(leg);
      return value;
    }),
  );
  const missing = records.findIndex((_, i) => !connected.has(i));
  if (missing < 0) return filled;
  const end = missing === 0 ? "" : `${missing + 1}`;
  throw new Failure(
    "request",
    `connect the program to ${records[missing]?.key.network ?? ""}: its command has neither {fd${end}} nor {fds${end}}`,
    { advice: `For QEMU: -netdev tap,id=n0,fd={fd${end}} -device virtio-net-pci,netdev=n0,mac={mac${end}}` },
  );
}

function openDevice(path: string): number {
  try {
    return open(path, O_RDWR);
  } catch (e) {
    if (!(e instanceof SysError)) throw e;
    throw new Failure("unavailable", `connect to ${path}: ${e.message}`, {
      advice: path === VHOST ? "Load its module (modprobe vhost_net), or do without --vhost." : "Is it taken already?",
      cause: e,
    });
  }
}

/** The devices whose descriptors a program gets, from {@link FIRST} on. */
export function devicesOf(legs: readonly Leg[], { queues, vhost }: Connection): string[] {
  const times = (path: string): string[] => Array.from({ length: queues }, () => path);
  return legs.flatMap(({ tap }) => [...times(tap), ...(vhost ? times(VHOST) : [])]);
}

/** A program that runs. */
export interface Running {
  readonly pid: number;
  /** Its exit status; of one that a signal ended, 128 and the signal's number. */
  readonly exited: Promise<number>;
}

/** Starts a program with the device's descriptors. Throws `Failure` (`unavailable`, `delegate`). */
export function start(legs: readonly Leg[], argv: readonly string[], connection: Connection): Running {
  const command = fillIn(
    argv,
    legs.map((leg) => leg.record),
    connection,
  );
  const opened: number[] = [];
  try {
    for (const path of devicesOf(legs, connection)) opened.push(openDevice(path));
    let child: Bun.Subprocess;
    try {
      child = Bun.spawn(command, { stdio: ["inherit", "inherit", "inherit", ...opened] });
    } catch (e) {
      throw new Failure("delegate", `start ${command[0] ?? ""}: ${e instanceof Error ? e.message : String(e)}`, {
        cause: e,
      });
    }
    const forward = (signal: NodeJS.Signals): void => child.kill(signal);
    for (const signal of FORWARDED) process.on(signal, forward);
    const exited = (async (): Promise<number> => {
      const code = await child.exited;
      for (const signal of FORWARDED) process.off(signal, forward);
      const signal = Object.entries(constants.signals).find(([n]) => n === child.signalCode)?.[1];
      return signal === undefined ? code : 128 + signal;
    })();
    return { pid: child.pid, exited };
  } finally {
    for (const fd of opened) close(fd);
  }
}
