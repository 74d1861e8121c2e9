// Attachments of virtual machines: the link's frames go to a program by its character device, and the addresses are the
// guest's. What Berth does on the host and what is to be done in the guest are two parts of the same plan.
import { readLink } from "../kernel/files.ts";
import type { ProcessIdentity } from "../kernel/processes.ts";
import { explainInside, type Plan } from "../plan/plan.ts";
import type { Step, TapStep } from "../plan/step.ts";
import { TAPS } from "../plan/taps-directory.ts";
import type { NetworkConfig } from "./config.ts";
import type { Key } from "./key.ts";
import { aliasOf } from "./marks.ts";
import type { Link } from "../kernel/links.ts";
import type { AttachmentRecord, GuestRecord } from "./record.ts";

/** The name of the guest's NIC in what is said of it; the guest may call it otherwise. */
const GUEST_LINK = "eth0";
const DEFAULT_MODE = "0660";
const MAX_LINK_NAME = 15;

/** What a plan needs to know of a guest. */
export interface GuestInput {
  /** Its device's node; absent: the virtual machine's manager makes the link, with the attachment's MAC. */
  readonly tap?: TapStep;
  /** The guest is not here, or not yet: the link is kept down, and the host has no way to it. */
  readonly held: boolean;
}

/** The name of a virtual machine's link in the host's namespace: unique by a hash where the machine's name is long. */
function linkName(machine: string, leg: number): string {
  const end = leg === 1 ? "" : `-${leg}`;
  const whole = `tap-${machine}${end}`;
  if (whole.length <= MAX_LINK_NAME) return whole;
  const hash = Bun.hash.xxHash32(machine).toString(36).padStart(7, "0").slice(-5);
  return `${whole.slice(0, MAX_LINK_NAME - 1 - hash.length - end.length)}-${hash}${end}`;
}

/** The name of a virtual machine's link on a network: the one that it has, or the first that no other attachment has. */
export function guestLinkName(network: string, machine: string, records: readonly AttachmentRecord[]): string {
  const own = records.find((r) => r.guest !== undefined && r.key.network === network && r.key.containerId === machine);
  if (own !== undefined) return own.key.ifName;
  const taken = new Set(records.map((r) => r.key.ifName));
  let leg = 1;
  while (taken.has(linkName(machine, leg))) leg++;
  return linkName(machine, leg);
}

function mountsOf(process: string): string | undefined {
  try {
    return readLink(`/proc/${process}/ns/mnt`);
  } catch {
    return undefined; // gone, or not ours to look at: then nothing can be made there either
  }
}

/** A process of the namespace that has a root directory of its own; undefined where the path names none, or it shares the host's. */
function containerProcess(netns: string): number | undefined {
  const pid = /^\/proc\/(\d+)\/ns\/net$/u.exec(netns)?.[1];
  if (pid === undefined) return undefined;
  const own = mountsOf(pid);
  return own === undefined || own === mountsOf("self") ? undefined : Number(pid);
}

/** The step that makes the node that a configuration asks for; undefined where it asks for none. */
function tapStepOf({ tap }: NetworkConfig, key: Key, netns: string): TapStep | undefined {
  if (tap === undefined) return undefined;
  const process = containerProcess(netns);
  const { network, containerId, ifName } = key;
  const usual = process === undefined ? `${TAPS}/${network}:${containerId}:${ifName}` : `/dev/tap-${ifName}`;
  return {
    type: "tap",
    where: process === undefined ? "host" : "container",
    tapOf: ifName,
    owner: aliasOf(key),
    path: tap.path ?? usual,
    ...(process === undefined ? {} : { process }),
    uid: tap.owner ?? 0,
    gid: tap.group ?? 0,
    mode: Number.parseInt(tap.mode ?? DEFAULT_MODE, 8),
  };
}

/** What a caller says of a guest beside the configuration. */
export interface GuestRequest {
  /** It is expected, or it has left. */
  readonly held?: true;
  /** The virtual machine's manager makes the link, with the attachment's MAC. */
  readonly foreignLink?: true;
  /** The process that it is for; see `GuestRecord`. */
  readonly process?: ProcessIdentity;
}

/** The guest of an attachment; undefined where it is a container's. */
export function guestOf(
  config: NetworkConfig,
  key: Key,
  netns: string,
  request: GuestRequest | undefined,
): GuestInput | undefined {
  const held = request?.held === true;
  if (request?.foreignLink === true) return { held };
  const tap = tapStepOf(config, key, netns);
  return tap === undefined ? undefined : { tap, held };
}

/** What is remembered of a guest for whom this was planned. `whole` is the plan as a container's would be. */
export function guestRecord(
  whole: Plan,
  { mac, mtu, parent }: { readonly mac?: string; readonly mtu?: number; readonly parent: Link },
  request: Omit<GuestRecord, "mac" | "mtu" | "steps"> | undefined,
): GuestRecord {
  return { mac: mac ?? parent.mac ?? "", mtu: mtu ?? parent.mtu, steps: guestPart(whole), ...request };
}

/** What of a container's plan the host does for a guest: the link without addresses, its device, and the host's way to it. */
export function besideGuest(plan: Plan, key: Key, guest: GuestInput, alias: string): Plan {
  const link = key.ifName;
  const own: Step[] = [];
  if (guest.tap !== undefined) {
    for (const step of plan) if (step.type === "link") own.push({ ...step, alias });
    // the host's own IPv6 stack would be heard with the guest's MAC
    const key6 = `net/ipv6/conf/${link}/disable_ipv6`;
    own.push({ type: "sysctl", where: "container", key: key6, value: "1", ifThere: true }, guest.tap);
    own.push(
      guest.held
        ? { type: "down", where: "container", link }
        : { type: "up", where: "container", link, alias, guest: true },
    );
  }
  const cloud = plan.filter((s) => s.where === "cloud");
  if (guest.held) return [...cloud, ...own];
  const onHost = plan.filter((s) => s.where === "host" || (s.type === "probe" && guest.tap !== undefined));
  return [...cloud, ...own, ...onHost];
}

const guestTypes: ReadonlySet<Step["type"]> = new Set(["address", "settle", "route", "rule", "neighbour"]);

/** What of a container's plan is the guest's own to do. */
function guestPart(plan: Plan): Plan {
  return plan.flatMap((step): Plan => {
    if (step.where !== "container" || !guestTypes.has(step.type)) return [];
    return ["link" in step ? { ...step, link: GUEST_LINK } : step];
  });
}

/** A guest as it is told to machines: with the commands that give it its part. */
export async function guestJson(guest: GuestRecord): Promise<GuestRecord & { readonly commands: readonly string[] }> {
  return { ...guest, commands: await guestCommands(guest) };
}

/** The commands that give a guest its part; they may be given again, and those of several hosts, so that it can move. */
export async function guestCommands({ mtu, steps }: GuestRecord): Promise<string[]> {
  return [`ip link set dev ${GUEST_LINK} mtu ${mtu} up`, ...(await explainInside(steps))];
}

/** Where the node of a virtual machine's device is: for the container where it is in one, else for the host. */
export function tapPathOf({ plan }: Pick<AttachmentRecord, "plan">): string | undefined {
  return plan.find((s) => s.type === "tap")?.path;
}
