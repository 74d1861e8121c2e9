// Attaching: from a request to an applied plan.
import { withoutPrefix } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import type { Allocation, IpamProvider, Seat } from "../ipam/provider.ts";
import { findLink, type Link } from "../kernel/links.ts";
import { AddressConflict } from "../plan/conflict.ts";
import { bootId } from "../kernel/namespaces.ts";
import { isRunning } from "../kernel/processes.ts";
import { KnownLinks } from "../plan/known-links.ts";
import { applyPlan, type Plan, rollBack, undoPlan } from "../plan/plan.ts";
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

/**
 * Attaches: reserves addresses, plans, writes the record, applies. Whatever fails, nothing is left behind. Throws
 * `Failure`.
 * @param common where this process makes other attachments too
 */
export async function attach(request: AttachRequest, common?: Common): Promise<Attached> {
  const { ipam, cloud } = await (common ?? { providersOf }).providersOf(request.config, request.delegate);
  mark("provider");
  const prepared = prepare(request, cloud, common);
  using places = prepared.places;
  mark("prepared");
  using _lock = await lockAttachment(request.key);
  mark("locked");
  await replaceRemains(request.key, places, ipam);
  mark("no remains");
  const facts = await gather(request, prepared, common);
  mark("facts");
  const intent = intentOf(request, places, facts.parent);
  writeRecord(intent); // from here on a killed process leaves a record from which everything is released
  mark("intent");
  const remarks: string[] = [];
  try {
    await requireFree(request, prepared, facts);
    for (;;) {
      const { allocation, shared } = await obtain(ipam, request, seatOf(request, prepared, facts));
      try {
        mark("ipam");
        const planned = planFor(request, prepared, facts, allocation);
        const { plan } = planned;
        mark("planned");
        const record = { ...intent, allocation, ...planned, ...(shared ? inCommon(planned.guest) : {}) };
        writeRecord(record);
        mark("record");
        const links = new KnownLinks();
        links.add(prepared.parentWhere, facts.parent.name, facts.parent);
        const lockHost = (): Disposable => lockShared(facts.parent.name, plan);
        const said = await applyPlan(plan, places, {
          links,
          ownerOf: (ip) => ownerOf(ip, request.key),
          attachmentsOn: (parent) => attachmentsOn(parent, request.key),
          lockHost,
        });
        mark("applied");
        try {
          const obstacles = obstaclesOf(request, places, facts.parent, record);
          const link =
            links.get("container", request.key.ifName) ??
            (places.container === undefined ? undefined : findLink(places.container.netlink, request.key.ifName));
          remarks.push(...said, ...obstacles);
          const detail = subInterfaceOf(request.config, request.kind, allocation.port);
          return { record, allocation, detail, link, remarks };
        } catch (thrown) {
          // the caller is not going to know of it
          const failure = asFailure(thrown, `describe ${describeKey(request.key)}`);
          throw await rollBack(failure, plan, places, lockHost);
        }
      } catch (thrown) {
        const another = await setAside(thrown, request, ipam, remarks.length);
        const failure = asFailure(thrown, `attach ${describeKey(request.key)}`);
        const settled = shared ? failure : await givenBack(failure, request.key, ipam, allocation);
        if (another === undefined || settled.incomplete) throw settled;
        remarks.push(another);
        writeRecord(intent);
      }
    }
  } catch (thrown) {
    const failure = asFailure(thrown, `attach ${describeKey(request.key)}`);
    if (!failure.incomplete) removeRecord(request.key); // else DEL and gc need it
    throw after(remarks, failure);
  }
}

/**
 * Reserves addresses. One that moves here from another host has its own already where both hosts reserve in one store:
 * then they are left as they are, whatever becomes of the attachment here.
 */
async function obtain(
  ipam: IpamProvider,
  request: AttachRequest,
  seat: Seat,
): Promise<{ allocation: Allocation; shared: boolean }> {
  const common = await inCommonStore(ipam, request);
  if (common !== undefined) return { allocation: common, shared: true };
  return { allocation: await ipam.allocate(request.key, askedOf(request), seat), shared: false };
}

function inCommon(guest: GuestRecord | undefined): { guest?: GuestRecord } {
  return guest === undefined ? {} : { guest: { ...guest, commonStore: true } };
}

/** What one that moves here has reserved where this host reserves too; undefined where it is another store, or none moves. */
async function inCommonStore(ipam: IpamProvider, { key, moved }: AttachRequest): Promise<Allocation | undefined> {
  if (moved === undefined) return undefined;
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

/** Refuses what would change the links of others on the parent. Throws `Failure` (`config`). */
async function requireFree(
  { key }: AttachRequest,
  { detail, parentWhere, places }: Prepared,
  { parent }: Facts,
): Promise<void> {
  if (detail.kind !== "ipvlan") return;
  const { requireMode } = await import("./ipvlan-mode.ts");
  requireMode((places.at(parentWhere) ?? places.host).netlink, parent, parentWhere, detail.mode, key);
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
 * Where another address may be tried because somebody else has this one, puts it into quarantine.
 * @returns what was done, in words; undefined where it was no conflict, or no other address can be had
 */
async function setAside(
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
  await requireFree(request, prepared, facts);
  const seat = seatOf(request, prepared, facts);
  const allocation = (await inCommonStore(ipam, request)) ?? (await ipam.preview(request.key, askedOf(request), seat));
  return { ...planFor(request, prepared, facts, allocation), allocation };
}

/** An earlier attachment of this key: one that is still there is refused, one whose link is gone is cleared away. */
async function replaceRemains(key: Key, places: Places, ipam: IpamProvider): Promise<void> {
  const former = readRecord(key);
  if (former === undefined) return;
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
