// Detaching: undoing what the record says, or, without a record, what can be recognised as the attachment's.
import { hostCidr } from "../address/cidr.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import { listAddresses } from "../kernel/addresses.ts";
import { findLink, type Link, listLinks } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { listRules } from "../kernel/rules.ts";
import { LINK_GROUP_BERTH, RTPROT_BERTH } from "../kernel/protocol.ts";
import { listRoutes, SCOPE_LINK } from "../kernel/routes.ts";
import type { Cloud } from "../plan/cloud.ts";
import { type Plan, undoPlan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import type { DeviceStep, Step } from "../plan/step.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { mark } from "../report/trace.ts";
import { addressesOf, providersOf } from "./allocation.ts";
import type { NetworkConfig } from "./config.ts";
import { guestOf } from "./guest.ts";
import { ownTableRule } from "./host-access.ts";
import { checkKey, describeKey, type Key } from "./key.ts";
import { aliasOf, deviceAlias, markedDevice } from "./marks.ts";
import { routingPlace } from "./source-routing.ts";
import {
  type AttachmentRecord,
  lockAttachment,
  lockShared,
  ownerOf,
  readRecordIfSound,
  remainingSteps,
  removeRecord,
} from "./record.ts";

/** What a face asks for. */
export interface DetachRequest {
  readonly key: Key;
  /** Path of the container's namespace; absent where the caller does not know it, or it is gone. */
  readonly netns: string | undefined;
  readonly config: NetworkConfig;
  /** Addresses that the caller knows of (prevResult), canonical, without prefix length. */
  readonly knownIps: readonly string[];
  readonly delegate: DelegateCall;
  /** Its addresses have gone elsewhere with their reservation, in a store that others share. */
  readonly keepsAddresses?: true;
}

/**
 * Detaches: undoes the plan, releases the addresses, removes the record. What is gone already is success, and everything
 * is tried whatever fails. Throws `Failure` (`incomplete`) naming all that could not be undone; the record then stays.
 */
export async function detach(request: DetachRequest): Promise<void> {
  checkKey(request.key);
  using _lock = await lockAttachment(request.key);
  const record = readRecordIfSound(request.key);
  const netns = request.netns === undefined || request.netns === "" ? record?.netns : request.netns;
  const { ipam, cloud } = await providersOf(request.config, request.delegate);
  using places = placesOf(record, netns, cloud);
  mark("record read, namespace open");
  const failures: Failure[] = [];
  const release = async (ips: readonly string[]): Promise<readonly string[]> => {
    const elsewhere = record?.guest?.held === true && record.guest.commonStore === true;
    if (elsewhere || request.keepsAddresses === true) return [];
    try {
      return await ipam.release(record?.holder ?? request.key, ips, record?.allocation?.port);
    } catch (e) {
      failures.push(asFailure(e, "release the addresses"));
      return [];
    }
  };
  if (record === undefined) {
    // without a record the addresses tell the host's routes; they are given back last, when no route leads to them
    const plan = recognise(request, places);
    failures.push(...(await undoPlan(plan, places, lockFor(plan))));
    const released = await release(request.knownIps);
    const routes = hostRoutesTo(places.host.netlink, released, request.key);
    failures.push(...(await undoPlan(routes, places, lockFor(routes))));
  } else {
    const plan = remainingSteps(record);
    failures.push(...(await undoPlan(plan, places, () => lockShared(record.parent, plan))));
    mark("undone");
    await release(addressesOf(record.allocation));
    mark("released");
  }
  if (failures.length > 0) {
    throw new Failure(
      "incomplete",
      `detach ${describeKey(request.key)}: ${failures.map((f) => f.message).join("; ")}`,
      {
        advice: failures.find((f) => f.advice !== undefined)?.advice ?? "Remove the cause and detach again.",
      },
    );
  }
  removeRecord(request.key);
  mark("record removed");
}

/** The step that would take an attachment's NIC back without any record. */
function recogniseDevice(config: NetworkConfig, places: Places, key: Key): DeviceStep | undefined {
  const { device, hwaddr, kernelpath, pciBusID, runtimeConfig } = config;
  if ((device ?? hwaddr ?? kernelpath ?? pciBusID ?? runtimeConfig?.deviceID) === undefined) return undefined;
  const prefix = deviceAlias(key, "");
  for (const nl of [places.container?.netlink, places.host.netlink]) {
    const link = nl === undefined ? undefined : listLinks(nl).find((l) => l.alias.startsWith(prefix));
    const step = link === undefined ? undefined : markedDevice(link);
    if (step !== undefined) return step;
  }
  return undefined;
}

/** The attachment's link, by its name or, where somebody gave it another one, by its alias. */
function ownLink(nl: Netlink, key: Key): Link | undefined {
  const link = findLink(nl, key.ifName);
  if (link?.group === LINK_GROUP_BERTH) return link;
  return listLinks(nl).find((l) => l.group === LINK_GROUP_BERTH && l.alias === aliasOf(key));
}

/** The steps that would undo an attachment of which no record is left: its link, and the host's routes to its addresses. */
export function recognise({ key, netns, knownIps, config }: DetachRequest, places: Places): Plan {
  const nl = places.container?.netlink;
  const device = recogniseDevice(config, places, key);
  if (device !== undefined) return [device];
  const own = nl === undefined ? undefined : ownLink(nl, key);
  const addresses = nl === undefined || own === undefined ? [] : listAddresses(nl, own.index).map((a) => a.cidr.ip);
  const steps: Step[] = [...hostRoutesTo(places.host.netlink, [...addresses, ...knownIps], key)];
  if (nl !== undefined) steps.push(...rulesFor(nl, addresses, key.ifName));
  const tap = config.tap === undefined ? undefined : guestOf(config, key, netns ?? "", undefined)?.tap;
  // a path that a configuration names may be another attachment's by now: whose link is there is known by its device
  const isSure = own !== undefined || config.tap?.path === undefined;
  if (tap !== undefined) steps.push(isSure ? tap : { ...tap, ifMarked: true });
  if (own?.detail !== undefined) {
    steps.push({
      type: "link",
      where: "container",
      name: own.name,
      parent: { name: typeof config.master === "string" ? config.master : "?", where: "host" },
      detail: own.detail,
      ...(own.mac === undefined ? {} : { mac: own.mac }),
    });
  }
  return steps;
}

/** The two namespaces; a namespace that is another one than was attached counts as gone. */
function placesOf(record: AttachmentRecord | undefined, netns: string | undefined, cloud: Cloud | undefined): Places {
  const places = Places.find(netns, cloud);
  if (record === undefined || places.container === undefined || places.container.inode === record.netnsInode) {
    return places;
  }
  places[Symbol.dispose]();
  return Places.find(undefined, cloud);
}

/** The locks for a recognised plan: of the parent whose access link it may remove, where it may, and of a shared rule. */
function lockFor(plan: Plan): () => Disposable {
  const access = plan.find((s) => s.type === "access-link");
  return () => lockShared(access?.type === "access-link" ? access.parent.name : undefined, plan);
}

/** Berth's rules in the container's namespace for these addresses, and those that lead to an interface's own table. */
function rulesFor(nl: Netlink, ips: readonly string[], ifName: string): Step[] {
  const own = routingPlace(ifName).table;
  return ([4, 6] as const)
    .flatMap((family) => listRules(nl, family))
    .flatMap(({ from, to, table, priority, protocol }): Step[] => {
      if (protocol !== RTPROT_BERTH) return [];
      if (from !== undefined && ips.includes(from.ip))
        return [{ type: "rule", where: "container", from: from.ip, table, priority }];
      return to !== undefined && table === own ? [{ type: "rule", where: "container", to, table, priority }] : [];
    });
}

/** Berth's routes and neighbours on the host that lead to these addresses, and the access links that they used. */
function hostRoutesTo(nl: Netlink, known: readonly string[], key: Key): Step[] {
  if (known.length === 0) return [];
  // the caller's word may be old: an address that was given back may be a living attachment's now
  const ips = new Set(known.filter((ip) => ownerOf(ip, key) === undefined));
  const links = new Map(listLinks(nl).map((l) => [l.index, l]));
  const access = new Map<string, Step>();
  const steps: Step[] = [];
  for (const family of [4, 6] as const) {
    for (const r of listRoutes(nl, { family, protocol: RTPROT_BERTH })) {
      const link = r.linkIndex === undefined ? undefined : links.get(r.linkIndex);
      if (link === undefined || !ips.has(r.dst.ip) || r.dst.prefix !== hostCidr(r.dst.ip).prefix) continue;
      if (link.group === LINK_GROUP_BERTH && link.detail !== undefined) {
        const parent = { name: links.get(link.parentIndex ?? 0)?.name ?? "?", where: "host" } as const;
        access.set(link.name, { type: "access-link", where: "host", name: link.name, parent, detail: link.detail });
      }
      if (r.table === ownTableRule(family).table) access.set(`rule ${family}`, ownTableRule(family));
      steps.push({
        type: "route",
        where: "host",
        link: link.name,
        route: { dst: r.dst, table: r.table, metric: r.metric, ...(family === 4 ? { scope: SCOPE_LINK } : {}) },
      });
      steps.push({ type: "neighbour", where: "host", link: link.name, ip: r.dst.ip, mac: link.mac ?? "" });
    }
  }
  return [...access.values(), ...steps];
}
