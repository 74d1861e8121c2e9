// Attaching: from a request to an applied plan.
import { withoutPrefix } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import type { Allocation, IpamProvider } from "../ipam/provider.ts";
import { findLink, type Link } from "../kernel/links.ts";
import { AddressConflict } from "../plan/conflict.ts";
import { bootId } from "../kernel/namespaces.ts";
import { isRunning } from "../kernel/processes.ts";
import { KnownLinks } from "../plan/known-links.ts";
import { applyPlan, type Plan, type PlanOptions, rollBack, undoPlan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { mark } from "../report/trace.ts";
import { addressesOf, providersOf } from "./allocation.ts";
import type { Common } from "./common.ts";
import { quarantineOf } from "./conflict-detection.ts";
import { describeKey, type Key } from "./key.ts";
import type { Detail } from "./kinds.ts";
import { hostAccessOf } from "./host-access.ts";
import { deadParent, familyGaps, strayRoutes } from "./obstacles.ts";
import { type AttachRequest, type Facts, gather, planFor, prepare, type Prepared, seatOf } from "./prepare.ts";
import {
  type AttachmentRecord,
  type GuestRecord,
  attachmentsOn,
  lockAttachment,
  isOfThisBoot,
  lockShared,
  ownerOf,
  readRecord,
  remainingSteps,
  removeRecord,
  writeRecord,
} from "./record.ts";
import { subInterfaceOf } from "./sub-interface.ts";

/** So many addresses that others have are met in one call at most; the next call goes on where this one ended. */
const MAX_CONFLICTS = 8;

/** What came of it. */
export interface Attached {
  readonly record: AttachmentRecord;
  readonly allocation: Allocation;
  readonly detail: Detail;
  /** The attachment's link as the kernel has it; undefined when nothing was applied. */
  readonly link: Link | undefined;
  /** What the caller ought to know though it succeeded, a sentence each. */
  readonly remarks: readonly string[];
}

/** An attachment that is being made. */
interface Attaching {
  readonly request: AttachRequest;
  readonly ipam: IpamProvider;
  readonly prepared: Prepared;
  readonly facts: Facts;
  /** The record before there is an allocation. */
  readonly intent: AttachmentRecord;
  /** What the caller ought to know, so far. */
  readonly remarks: string[];
  readonly waiting: Waiting;
}

/** Told when an attachment begins to wait for seconds, so that others go on meanwhile; undefined where there are none. */
export type Waiting = (() => void) | undefined;

// What waits is kept small, here as in cni.ts: the runtime stores and restores whatever is alive while it does.

/**
 * Attaches: reserves addresses, plans, writes the record, applies. Whatever fails, nothing is left behind. Throws
 * `Failure`.
 * @param common where this process makes other attachments too
 * @param waiting where it makes them at the same time
 */
export async function attach(request: AttachRequest, common?: Common, waiting?: Waiting): Promise<Attached> {
  const { ipam, cloud } = await (common ?? { providersOf }).providersOf(request.config, request.delegate);
  mark("provider");
  const prepared = prepare(request, cloud, common);
  using places = prepared.places;
  mark("prepared");
  using _lock = await lockAttachment(request.key, request.ips.length === 0 ? waiting : undefined);
  mark("locked");
  const former = readRecord(request.key);
  if (former !== undefined) await replaceRemains(former, places, ipam);
  mark("no remains");
  const facts = await gather(request, prepared, common);
  mark("facts");
  const intent = intentOf(request, places, facts.parent);
  writeRecord(intent); // from here on a killed process leaves a record from which everything is released
  mark("intent");
  return await make({ request, ipam, prepared, facts, intent, remarks: [], waiting });
}

async function make(attaching: Attaching): Promise<Attached> {
  try {
    if (attaching.prepared.detail.kind === "ipvlan") await requireMode(attaching);
    for (;;) {
      const attached = await attempt(attaching);
      if (attached !== undefined) return attached;
    }
  } catch (thrown) {
    const { request, remarks } = attaching;
    const failure = asFailure(thrown, `attach ${describeKey(request.key)}`);
    if (!failure.incomplete) removeRecord(request.key); // else DEL and gc need it
    throw after(remarks, failure);
  }
}

/** Tries one allocation; undefined where somebody has its address, and another may be tried. Throws `Failure`. */
async function attempt(attaching: Attaching): Promise<Attached | undefined> {
  const { request, ipam, prepared, facts } = attaching;
  const common = request.moved === undefined ? undefined : await inCommonStore(ipam, request, request.moved);
  const allocation = common ?? (await ipam.allocate(request.key, askedOf(request), seatOf(request, prepared, facts)));
  try {
    mark("ipam");
    const record = planned(attaching, allocation, common !== undefined);
    const options = optionsFor(attaching, record.plan);
    const said = await applyPlan(record.plan, prepared.places, options);
    mark("applied");
    try {
      return attachedBy(attaching, record, allocation, said, options.links);
    } catch (thrown) {
      // the caller is not going to know of it
      const failure = asFailure(thrown, `describe ${describeKey(request.key)}`);
      throw await rollBack(failure, record.plan, prepared.places, options.lockHost);
    }
  } catch (thrown) {
    await setAside(thrown, attaching, allocation, common !== undefined);
    return undefined;
  }
}

/** Plans for an allocation, and writes the record of it. */
function planned(
  { request, prepared, facts, intent }: Attaching,
  allocation: Allocation,
  shared: boolean,
): AttachmentRecord {
  const plan = planFor(request, prepared, facts, allocation);
  mark("planned");
  const record = { ...intent, allocation, ...plan, ...(shared ? inCommon(plan.guest) : {}) };
  writeRecord(record);
  mark("record");
  return record;
}

interface Options extends PlanOptions {
  readonly links: KnownLinks;
  readonly lockHost: () => Disposable;
}

function optionsFor({ request: { key }, prepared, facts: { parent }, waiting }: Attaching, plan: Plan): Options {
  const links = new KnownLinks();
  links.add(prepared.parentWhere, parent.name, parent);
  return {
    links,
    waiting,
    ownerOf: (ip) => ownerOf(ip, key),
    attachmentsOn: (name) => attachmentsOn(name, key),
    lockHost: () => lockShared(parent.name, plan),
  };
}

function attachedBy(
  { request, prepared: { places }, facts, remarks }: Attaching,
  record: AttachmentRecord,
  allocation: Allocation,
  said: readonly string[],
  links: KnownLinks,
): Attached {
  const obstacles = obstaclesOf(request, places, facts.parent, { ...record, allocation });
  const { ifName } = request.key;
  const link =
    links.get("container", ifName) ??
    (places.container === undefined ? undefined : findLink(places.container.netlink, ifName));
  remarks.push(...said, ...obstacles);
  const detail = subInterfaceOf(request.config, request.kind, allocation.port);
  return { record, allocation, detail, link, remarks };
}

function inCommon(guest: GuestRecord | undefined): { guest?: GuestRecord } {
  return guest === undefined ? {} : { guest: { ...guest, commonStore: true } };
}

/**
 * One that moves here from another host has its own addresses already where both hosts reserve in one store: then they are
 * left as they are, whatever becomes of the attachment here. Undefined where it is another store.
 */
async function inCommonStore(
  ipam: IpamProvider,
  { key }: AttachRequest,
  moved: Allocation,
): Promise<Allocation | undefined> {
  try {
    await ipam.check(key, addressesOf(moved), moved.port);
    return moved;
  } catch (e) {
    if (e instanceof Failure) return undefined;
    throw e;
  }
}

function askedOf({ ips, moved }: AttachRequest): readonly string[] {
  return moved === undefined ? ips : addressesOf(moved);
}

/** Refuses an ipvlan that would change the links of others on the parent. Throws `Failure` (`config`). */
async function requireMode({
  request: { key },
  prepared: { detail, parentWhere, places },
  facts,
}: Pick<Attaching, "request" | "prepared" | "facts">): Promise<void> {
  if (detail.kind !== "ipvlan") return;
  const ipvlan = await import("./ipvlan-mode.ts");
  ipvlan.requireMode((places.at(parentWhere) ?? places.host).netlink, facts.parent, parentWhere, detail.mode, key);
}

/** What stands in its way from the start: what can be told at once, without reading firewalls or open files. */
function obstaclesOf(
  { config, kind }: AttachRequest,
  places: Places,
  parent: Link,
  { plan, allocation, guest }: { readonly plan: Plan; readonly allocation: Allocation; readonly guest?: GuestRecord },
): string[] {
  const hostAccess = hostAccessOf(config) !== undefined && guest?.held !== true;
  const attached = { plan, places, allocation, hostAccess };
  const found = kind === "device" ? [] : deadParent(parent); // a NIC is up by now
  found.push(...familyGaps(attached), ...strayRoutes(attached));
  return found;
}

/** A failure to which the addresses that were tried before belong. */
function after(remarks: readonly string[], failure: Failure): Failure {
  if (remarks.length === 0) return failure;
  const { reason, message, advice = "", incomplete, cause } = failure;
  return new Failure(reason, message, {
    advice: `${advice} Tried before: ${remarks.join("; ")}.`.trim(),
    incomplete,
    cause,
  });
}

/**
 * After a failure gives the addresses back, and throws it; where somebody else has this one and another may be tried, puts
 * it into quarantine and notes that.
 */
async function setAside(
  thrown: unknown,
  { request, ipam, intent, remarks }: Attaching,
  allocation: Allocation,
  shared: boolean,
): Promise<void> {
  const another = await quarantined(thrown, request, ipam, remarks.length);
  const failure = asFailure(thrown, `attach ${describeKey(request.key)}`);
  const settled = shared ? failure : await givenBack(failure, request.key, ipam, allocation);
  if (another === undefined || settled.incomplete) throw settled;
  remarks.push(another);
  writeRecord(intent);
}

/**
 * Puts an address that somebody else has into quarantine.
 * @returns what was done, in words; undefined where it was no conflict, or no other address can be had
 */
async function quarantined(
  thrown: unknown,
  { key, config, ips }: AttachRequest,
  ipam: IpamProvider,
  before: number,
): Promise<string | undefined> {
  if (!(thrown instanceof AddressConflict) || before >= MAX_CONFLICTS) return undefined;
  if (ips.some((ip) => parseIp(withoutPrefix(ip)) === thrown.ip)) return undefined;
  const seconds = quarantineOf(config);
  const done = await ipam.quarantine(key, thrown.ip, thrown.holder, seconds);
  return done ? `${thrown.ip} is in quarantine for ${seconds} s: ${thrown.holder} has it` : undefined;
}

/** Gives the addresses back after a failure, unless something that uses them could not be undone; the failure to report. */
async function givenBack(failure: Failure, key: Key, ipam: IpamProvider, allocation: Allocation): Promise<Failure> {
  if (failure.incomplete) return failure;
  try {
    await ipam.release(key, addressesOf(allocation), allocation.port);
    return failure;
  } catch (e) {
    const second = asFailure(e, "release the addresses");
    return new Failure(failure.reason, `${failure.message}. Then ${second.message}`, {
      cause: failure,
      incomplete: true,
      ...(failure.advice === undefined ? {} : { advice: failure.advice }),
    });
  }
}

/**
 * The plan that {@link attach} would apply, and nothing else: no address is reserved, no record written. Throws `Failure`.
 */
export async function previewAttach(
  request: AttachRequest,
): Promise<{ plan: Plan; allocation: Allocation; guest?: GuestRecord }> {
  const { ipam, cloud } = await providersOf(request.config, request.delegate);
  const prepared = prepare(request, cloud);
  using _places = prepared.places;
  const facts = await gather(request, prepared);
  await requireMode({ request, prepared, facts });
  const seat = seatOf(request, prepared, facts);
  const { moved } = request;
  const common = moved === undefined ? undefined : await inCommonStore(ipam, request, moved);
  const allocation = common ?? (await ipam.preview(request.key, askedOf(request), seat));
  return { ...planFor(request, prepared, facts, allocation), allocation };
}

/** An earlier attachment of this key: one that is still there is refused, one whose link is gone is cleared away. */
async function replaceRemains(former: AttachmentRecord, places: Places, ipam: IpamProvider): Promise<void> {
  const { key } = former;
  const isSame = isOfThisBoot(former) && former.netnsInode === places.container?.inode;
  const nl = isSame ? places.container?.netlink : undefined;
  const { foreignLink, process } = former.guest ?? {};
  const isNobodys = process !== undefined && !isRunning(process);
  const isThere = nl !== undefined && (foreignLink === true || findLink(nl, key.ifName) !== undefined);
  if (isThere && former.plan.length > 0 && !isNobodys) {
    throw new Failure("exists", `attach ${describeKey(key)}: it is attached since ${former.created}`, {
      advice: "Detach it first (CNI DEL, or berth detach), or use another interface name.",
    });
  }
  using old = Places.find(former.netns, places.cloud);
  const plan = remainingSteps(former);
  const [failure] = await undoPlan(plan, old, () => lockShared(former.parent, plan));
  if (failure !== undefined) throw failure;
  await ipam.release(key, addressesOf(former.allocation), former.allocation?.port);
}

function intentOf(request: AttachRequest, places: Places, parent: Link): AttachmentRecord {
  return {
    version: 1,
    key: request.key,
    kind: request.kind,
    netns: request.netns,
    netnsInode: places.container?.inode ?? 0,
    parent: parent.name,
    created: new Date().toISOString(),
    boot: bootId(),
    ...(request.handedOver === true ? { inTransit: true } : {}),
    config: request.delegate.stdin,
    cniPath: request.delegate.env["CNI_PATH"] ?? "",
    ...(request.site === undefined ? {} : { site: request.site }),
    plan: [],
  };
}
