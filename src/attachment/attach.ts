// Attaching: from a request to an applied plan.
import { parseMac, randomMac } from "../address/mac.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import type { Allocation, IpamProvider } from "../ipam/provider.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import { findLink, type Link } from "../kernel/links.ts";
import { readSysctl } from "../kernel/sysctls.ts";
import { applyPlan, type Plan, undoPlan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import type { Where } from "../plan/step.ts";
import { asFailure, Failure } from "../report/failure.ts";
import type { Kind, NetworkConfig } from "./config.ts";
import { gatherHost, hostAccessOf } from "./host-access.ts";
import { addressesOf, ipamOf } from "./allocation.ts";
import { checkKey, describeKey, type Key } from "./key.ts";
import { findParent } from "./parent.ts";
import { notifySysctls, planAttachment } from "./plan.ts";
import {
  type AttachmentRecord,
  lockAttachment,
  lockParent,
  ownerOf,
  readRecord,
  removeRecord,
  writeRecord,
} from "./record.ts";
import { routingOf } from "./source-routing.ts";
import { choosesMac, subInterfaceOf } from "./sub-interface.ts";

/** What a face asks for. */
export interface AttachRequest {
  readonly key: Key;
  readonly kind: Kind;
  /** Path of the container's namespace. */
  readonly netns: string;
  readonly config: NetworkConfig;
  /** A MAC that was asked for beside the configuration's. */
  readonly mac: string | undefined;
  /** Addresses that were asked for, with or without prefix length. */
  readonly ips: readonly string[];
  /** For a delegated IPAM plugin: the call as it came. */
  readonly delegate: DelegateCall;
}

/** What came of it. */
export interface Attached {
  readonly record: AttachmentRecord;
  readonly allocation: Allocation;
  readonly detail: SubInterface;
  /** The attachment's link as the kernel has it; undefined when nothing was applied. */
  readonly link: Link | undefined;
}

/**
 * Attaches: reserves addresses, plans, writes the record, applies. Whatever fails, nothing is left behind. Throws
 * `Failure`.
 */
export async function attach(request: AttachRequest): Promise<Attached> {
  const prepared = prepare(request);
  using places = prepared.places;
  using _lock = lockAttachment(request.key);
  const ipam = ipamOf(request.config, request.delegate);
  await replaceRemains(request.key, places, ipam);
  const facts = gather(request, prepared);
  const intent = intentOf(request, places, facts.parent);
  writeRecord(intent); // from here on a killed process leaves a record from which everything is released
  try {
    const allocation = await ipam.allocate(request.key, request.ips);
    try {
      const plan = finish(request, prepared, facts, allocation);
      const record = { ...intent, allocation, plan };
      writeRecord(record);
      applyPlan(plan, places, {
        ownerOf: (ip) => ownerOf(ip, request.key),
        lockHost: () => lockParent(facts.parent.name),
      });
      const link = places.container === undefined ? undefined : findLink(places.container.netlink, request.key.ifName);
      return { record, allocation, detail: prepared.detail, link };
    } catch (thrown) {
      throw await givenBack(asFailure(thrown, `attach ${describeKey(request.key)}`), request.key, ipam, allocation);
    }
  } catch (thrown) {
    const failure = asFailure(thrown, `attach ${describeKey(request.key)}`);
    if (!failure.incomplete) removeRecord(request.key); // else DEL and gc need it
    throw failure;
  }
}

/** Gives the addresses back after a failure, unless something that uses them could not be undone; the failure to report. */
async function givenBack(failure: Failure, key: Key, ipam: IpamProvider, allocation: Allocation): Promise<Failure> {
  if (failure.incomplete) return failure;
  try {
    await ipam.release(key, addressesOf(allocation));
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
export async function previewAttach(request: AttachRequest): Promise<{ plan: Plan; allocation: Allocation }> {
  const prepared = prepare(request);
  using _places = prepared.places;
  const facts = gather(request, prepared);
  const allocation = await ipamOf(request.config, request.delegate).preview(request.key, request.ips);
  return { plan: finish(request, prepared, facts, allocation), allocation };
}

interface Prepared {
  readonly places: Places;
  readonly detail: SubInterface;
  readonly parentWhere: Where;
  readonly mac: string | undefined;
}

/** All that can be refused before the kernel is asked. */
function prepare(request: AttachRequest): Prepared {
  const { config, kind } = request;
  checkKey(request.key);
  const detail = subInterfaceOf(config, kind);
  const asked = request.mac ?? config.mac;
  if (asked !== undefined && !choosesMac(detail)) {
    const why = kind === "ipvlan" ? "an ipvlan has its parent's MAC" : "a passthru link has its parent's MAC";
    throw new Failure("config", `give ${request.key.ifName} the MAC ${asked}: ${why}`, { advice: "Ask for no MAC." });
  }
  if (config.linkInContainer && hostAccessOf(config) !== undefined) {
    throw new Failure(
      "config",
      "give host access to an attachment with linkInContainer: the host has no link on that parent",
      {
        advice: 'Remove "hostrouteif" (or "hostAccess"), or "linkInContainer".',
      },
    );
  }
  const own = kind === "vlan" || !choosesMac(detail) ? undefined : randomMac();
  return {
    places: Places.open(request.netns),
    detail,
    parentWhere: config.linkInContainer ? "container" : "host",
    mac: asked === undefined ? own : (parseMac(asked) ?? asked),
  };
}

/** An earlier attachment of this key: one that is still there is refused, one whose link is gone is cleared away. */
async function replaceRemains(key: Key, places: Places, ipam: IpamProvider): Promise<void> {
  const former = readRecord(key);
  if (former === undefined) return;
  const nl = former.netnsInode === places.container?.inode ? places.container.netlink : undefined;
  if (nl !== undefined && findLink(nl, key.ifName) !== undefined && former.plan.length > 0) {
    throw new Failure("exists", `attach ${describeKey(key)}: it is attached since ${former.created}`, {
      advice: "Detach it first (CNI DEL, or berth detach), or use another interface name.",
    });
  }
  using old = Places.find(former.netns);
  const [failure] = undoPlan(former.plan, old);
  if (failure !== undefined) throw failure;
  await ipam.release(key, addressesOf(former.allocation));
}

interface Facts {
  readonly parent: Link;
  readonly host: ReturnType<typeof gatherHost>;
}

function gather(request: AttachRequest, { places, detail, parentWhere }: Prepared): Facts {
  const nl = (places.at(parentWhere) ?? places.host).netlink;
  const parent = findParent(nl, request.config.master);
  if (parent.loopback) {
    throw new Failure("config", `use ${parent.name} as the parent: it is the loopback link`, { advice: "Name a NIC." });
  }
  const host = gatherHost(places.host.netlink, hostAccessOf(request.config), detail, parent);
  return { parent, host };
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
    config: request.delegate.stdin,
    cniPath: request.delegate.env["CNI_PATH"] ?? "",
    plan: [],
  };
}

function finish(
  request: AttachRequest,
  { places, detail, parentWhere, mac }: Prepared,
  { parent, host }: Facts,
  allocation: Allocation,
): Plan {
  const { mtu } = request.config;
  return planAttachment({
    key: request.key,
    detail,
    parent,
    parentWhere,
    allocation,
    ...routingOf(request.config, host !== undefined),
    missingSysctls: missingSysctls(places, request.key.ifName),
    ...(mtu === undefined || mtu === 0 ? {} : { mtu }),
    ...(mac === undefined ? {} : { mac }),
    ...(host === undefined ? {} : { host }),
  });
}

/** The keys that this kernel does not have for any link: those of a family that it was built or booted without. */
function missingSysctls(places: Places, ifName: string): string[] {
  return (
    places.container?.run(() =>
      notifySysctls(ifName)
        .map(({ key }) => key)
        .filter((key) => readSysctl(key.replace(`/${ifName}/`, "/default/")) === undefined),
    ) ?? []
  );
}
