// Repairing: an attachment's plan is made anew from what the host is now, and what no longer holds is made to hold, with
// the same MAC and addresses.
import { findLink, findLinkByIndex, type Link } from "../kernel/links.ts";
import type { Cloud } from "../plan/cloud.ts";
import { mendPlan, type Plan, undoPlan, verifyPlan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import type { Step } from "../plan/step.ts";
import { Failure } from "../report/failure.ts";
import { delegateOf, providersOf } from "./allocation.ts";
import { conflictDetectionOf, hostIps } from "./conflict-detection.ts";
import type { NetworkConfig } from "./config.ts";
import { gatherHost } from "./gather-host.ts";
import { type GuestInput, guestRecord } from "./guest.ts";
import { presentDevice } from "./device.ts";
import { hostAccessOf } from "./host-access.ts";
import { describeKey, type Key } from "./key.ts";
import { findParent } from "./parent.ts";
import { planAttachment, type PlanInput, wholePlan } from "./plan.ts";
import {
  type AttachmentRecord,
  attachmentsOn,
  type GuestRecord,
  isOfThisBoot,
  lockAttachment,
  lockShared,
  ownerOf,
  readRecord,
  writeRecord,
} from "./record.ts";
import { configOf } from "./recorded-config.ts";
import { routingOf } from "./source-routing.ts";
import { subInterfaceOf } from "./sub-interface.ts";

/** Whether a cloud is asked too, which takes its time. */
type Scope = "everything" | "host";

/** What a repair found, or would do. */
export interface Repair {
  /** What did not hold, a sentence each. */
  readonly found: readonly string[];
  /** The plan as it is now; of a preview only what does not hold. */
  readonly plan: Plan;
  /** Steps of the former plan that are no longer wanted, as the route to an address that the host has lost. */
  readonly obsolete: Plan;
}

/**
 * Mends an attachment. Throws `Failure`: `namespace` where its namespace is gone, `config` where its parent is, `differs`
 * where something still does not hold afterwards.
 */
export async function repair(record: AttachmentRecord, scope: Scope = "everything"): Promise<Repair> {
  return await enforce(record.key, scope, (current) => current);
}

/**
 * Makes an attachment hold as `wanted` makes its record be. Throws as {@link repair} does.
 * @param wanted the record as it shall be, of the record as it is
 */
export async function enforce(
  key: Key,
  scope: Scope,
  wanted: (current: AttachmentRecord) => AttachmentRecord,
): Promise<Repair> {
  using _lock = await lockAttachment(key);
  const recorded = readRecord(key);
  if (recorded === undefined) throw new Failure("missing", `repair ${describeKey(key)}: it is detached`);
  const current = wanted(recorded);
  if (current.inTransit === true) return { found: [], plan: current.plan, obsolete: [] };
  using places = openOwn(current, await cloudFor(current, scope));
  const { plan, guest, obsolete, parent } = replan(current, places);
  const lockHost = (): Disposable => lockShared(parent.name, [...obsolete, ...plan]);
  const changed = current !== recorded || JSON.stringify(plan) !== JSON.stringify(current.plan);
  // a killed repair can be undone whole
  const next = { ...current, ...(guest === undefined ? {} : { guest }), parent: parent.name };
  if (changed) writeRecord({ ...next, plan: [...obsolete, ...plan] });
  const [failure] = await undoPlan(obsolete, places, lockHost);
  if (failure !== undefined) throw failure;
  const found = await mendPlan(plan, places, {
    ownerOf: (ip) => ownerOf(ip, current.key),
    attachmentsOn: (name) => attachmentsOn(name, current.key),
    lockHost,
  });
  if (changed) writeRecord({ ...next, plan });
  const left = await verifyPlan(plan, places);
  if (left.length === 0) return { found, plan, obsolete };
  throw new Failure("differs", `repair ${describeKey(current.key)}: ${left.join("; ")}`, {
    advice: "This cannot be mended in place: detach it and attach it again.",
  });
}

/** What {@link repair} would do, and nothing else. Throws `Failure` as it does. */
export async function previewRepair(record: AttachmentRecord): Promise<Repair> {
  if (record.inTransit === true) return { found: [], plan: [], obsolete: [] };
  using places = openOwn(record, await cloudFor(record, "everything"));
  const { plan, obsolete } = replan(record, places);
  const found: string[] = [];
  const lacking: Step[] = [];
  for (const step of plan) {
    const wrong = await verifyPlan([step], places);
    found.push(...wrong);
    if (wrong.length > 0) lacking.push(step);
  }
  return { found, plan: lacking, obsolete };
}

async function cloudFor(record: AttachmentRecord, scope: Scope): Promise<Cloud | undefined> {
  if (scope === "host") return undefined;
  const config = configOf(record);
  return (await providersOf(config, delegateOf(record, config))).cloud;
}

function openOwn(record: AttachmentRecord, cloud: Cloud | undefined): Places {
  const places = Places.open(record.netns, cloud);
  if (isOfThisBoot(record) && places.container?.inode === record.netnsInode) return places;
  places[Symbol.dispose]();
  throw new Failure("namespace", `repair ${describeKey(record.key)}: ${record.netns} is another namespace now`, {
    advice: '"berth gc" detaches what has lost its namespace.',
  });
}

/** Steps that are changed in place where the new plan has them otherwise, or are others' too. */
const lasting: ReadonlySet<Step["type"]> = new Set(["link", "device", "up", "down", "access-link"]);

/** The plan as the host is now, with the MAC and the addresses that the attachment has. */
function replan(
  record: AttachmentRecord,
  places: Places,
): { plan: Plan; guest?: GuestRecord; obsolete: Plan; parent: Link } {
  const { allocation } = record;
  if (allocation === undefined) {
    throw new Failure("missing", `repair ${describeKey(record.key)}: it was never finished`, {
      advice: "Detach it, and attach it again.",
    });
  }
  const config = configOf(record);
  const detail = subInterfaceOf(config, record.kind, allocation.port);
  const former = record.plan.find((s) => s.type === "link" || s.type === "device");
  const device = former?.type === "device" ? former.former : undefined;
  const parent = (device === undefined ? presentParent : presentDevice)(record, config, places);
  const options = hostAccessOf(config);
  const host = options === undefined ? undefined : gatherHost(places.host.netlink, options, detail, parent);
  const detection = conflictDetectionOf(config, detail);
  const mac = record.guest?.foreignLink === true ? record.guest.mac : former?.mac;
  const guest = formerGuest(record);
  const input: PlanInput = {
    key: record.key,
    detail,
    parent,
    parentWhere: config.linkInContainer ? "container" : "host",
    allocation,
    hostIps: hostIps(places, host, detection),
    // the parent's may have been lowered, or raised again
    ...(device === undefined
      ? { mtu: Math.min(config.mtu || allocation.port?.mtu || parent.mtu, parent.mtu) }
      : config.mtu
        ? { mtu: config.mtu }
        : {}),
    ...routingOf(config, host !== undefined && guest === undefined),
    ...(detection === undefined ? {} : { conflictDetection: detection }),
    ...(mac === undefined ? {} : { mac }),
    ...(host === undefined ? {} : { host }),
    ...(device === undefined ? {} : { device }),
    ...(guest === undefined ? {} : { guest }),
  };
  const plan = planAttachment(input);
  const kept = new Set(plan.map((s) => JSON.stringify(s)));
  const obsolete = record.plan.filter((s) => !lasting.has(s.type) && !kept.has(JSON.stringify(s)));
  if (record.guest === undefined) return { plan, obsolete, parent };
  const { mac: _, mtu: __, steps: ___, ...request } = record.guest;
  return { plan, obsolete, parent, guest: guestRecord(wholePlan(input), input, request) };
}

/** The guest as it was attached: its node is where it was made, whatever became of the process that it was made for. */
function formerGuest({ guest, plan }: AttachmentRecord): GuestInput | undefined {
  if (guest === undefined) return undefined;
  const tap = plan.find((s) => s.type === "tap");
  return { held: guest.held === true, ...(tap === undefined ? {} : { tap }) };
}

/** The parent: of the link where that is there (it may have been renamed), else as the configuration names it. */
function presentParent(record: AttachmentRecord, config: NetworkConfig, places: Places): Link {
  const place = config.linkInContainer ? places.container : places.host;
  const nl = (place ?? places.host).netlink;
  const link = places.container === undefined ? undefined : findLink(places.container.netlink, record.key.ifName);
  const own = link?.parentIndex === undefined ? undefined : findLinkByIndex(nl, link.parentIndex);
  return own ?? findParent(nl, config.master);
}
