// What is known before an attachment is planned: from the request, the host and the container's namespace.
import { parseMac, randomMac } from "../address/mac.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import type { Allocation, CloudPort, Seat } from "../ipam/provider.ts";
import { randomBytes } from "../kernel/libc.ts";
import type { Link } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import type { Cloud } from "../plan/cloud.ts";
import type { Plan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import type { Where } from "../plan/step.ts";
import { Failure } from "../report/failure.ts";
import type { Common } from "./common.ts";
import type { NetworkConfig } from "./config.ts";
import type { Detail, Kind } from "./kinds.ts";
import { type ConflictDetection, conflictDetectionOf, hostIps } from "./conflict-detection.ts";
import { guestOf, guestRecord, type GuestRequest } from "./guest.ts";
import { type HostAccess, hostAccessOf, type HostFacts } from "./host-access.ts";
import { checkKey, type Key } from "./key.ts";
import { formerLink } from "./marks.ts";
import { findParent } from "./parent.ts";
import { planAttachment, type PlanInput, wholePlan } from "./plan.ts";
import type { GuestRecord } from "./record.ts";
import { planOnHost } from "./handover.ts";
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
  /** The site file that wants it, by its path. */
  readonly site?: string;
  /**
   * The caller moves the link into the container's namespace itself, and gives it its addresses there: until then the link
   * is on the host, under the key's interface name. `netns` is the host's own namespace. See handover.ts.
   */
  readonly handedOver?: true;
  /** The link is a virtual machine's, whether or not the configuration has "tap"; see guest.ts. */
  readonly guest?: GuestRequest;
  /** What it had on another host, which it moves from: it keeps its addresses. */
  readonly moved?: Allocation;
}

/** What the request says. */
export interface Prepared {
  readonly places: Places;
  readonly detail: Detail;
  readonly parentWhere: Where;
  /** The MAC that was asked for. */
  readonly asked: string | undefined;
  /** The MAC that it shall have, unless a cloud's port says another; undefined where the kind takes the parent's. */
  readonly mac: string | undefined;
}

/** All that can be refused before the kernel is asked. Throws `Failure`. The caller disposes of the places. */
export function prepare(request: AttachRequest, cloud: Cloud | undefined, common?: Common): Prepared {
  const { config, kind } = request;
  checkKey(request.key);
  const detail = subInterfaceOf(config, kind);
  const given = request.mac ?? config.mac;
  const asked = given === undefined ? undefined : (parseMac(given) ?? given);
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
  const own = kind === "vlan" || kind === "device" || !choosesMac(detail) ? undefined : randomMac(randomBytes(6));
  return {
    places: Places.open(request.netns, cloud, common?.host),
    detail,
    parentWhere: config.linkInContainer ? "container" : "host",
    asked,
    mac: asked ?? own,
  };
}

/** What the host says. */
export interface Facts {
  readonly parent: Link;
  /** Absent: no host access. */
  readonly host: HostFacts | undefined;
  readonly detection: ConflictDetection | undefined;
  readonly hostIps: readonly string[];
}

/**
 * What the host says of the parent, host access and its own addresses; a promise where what asks for it has to be loaded.
 * Throws `Failure`.
 */
export function gather(request: AttachRequest, prepared: Prepared, common?: Common): Facts | Promise<Facts> {
  const options = hostAccessOf(request.config);
  if (request.kind === "device" || options !== undefined) return gatherMore(request, prepared, options, common);
  return factsOf(request, prepared, usable(parentOf(request, prepared, common)), undefined);
}

async function gatherMore(
  request: AttachRequest,
  prepared: Prepared,
  options: HostAccess | undefined,
  common: Common | undefined,
): Promise<Facts> {
  const { places, detail } = prepared;
  const parent = usable(
    request.kind === "device"
      ? (await import("./device.ts")).findSpare(parentsNetlink(prepared), request.config)
      : parentOf(request, prepared, common),
  );
  const host =
    options === undefined
      ? undefined
      : (await import("./gather-host.ts")).gatherHost(places.host.netlink, options, detail, parent);
  return factsOf(request, prepared, parent, host);
}

function parentOf({ config }: AttachRequest, prepared: Prepared, common: Common | undefined): Link {
  const find = (): Link => findParent(parentsNetlink(prepared), config.master);
  return common === undefined || prepared.parentWhere !== "host" ? find() : common.parentOf(config, find);
}

function parentsNetlink({ places, parentWhere }: Prepared): Netlink {
  return (places.at(parentWhere) ?? places.host).netlink;
}

function usable(parent: Link): Link {
  if (!parent.loopback) return parent;
  throw new Failure("config", `use ${parent.name} as the parent: it is the loopback link`, { advice: "Name a NIC." });
}

function factsOf(
  { config }: AttachRequest,
  { places, detail }: Prepared,
  parent: Link,
  host: HostFacts | undefined,
): Facts {
  const detection = conflictDetectionOf(config, detail);
  return { parent, host, detection, hostIps: hostIps(places, host, detection) };
}

/** A plan, and what is remembered of the guest that it is for. */
interface Planned {
  readonly plan: Plan;
  readonly guest?: GuestRecord;
}

/** The plan for what IPAM answered. Throws `Failure`. */
export function planFor(
  request: AttachRequest,
  { parentWhere, mac: chosen }: Prepared,
  { parent, host, detection, hostIps: own }: Facts,
  allocation: Allocation,
): Planned {
  const { port } = allocation;
  const mtu = mtuOf(request.config, parent, port);
  const mac = port === undefined ? chosen : port.mac;
  const guest = guestOf(request.config, request.key, request.netns, request.guest);
  const input: PlanInput = {
    key: request.key,
    detail: subInterfaceOf(request.config, request.kind, port),
    parent,
    parentWhere,
    allocation,
    hostIps: own,
    ...(detection === undefined ? {} : { conflictDetection: detection }),
    ...routingOf(request.config, host !== undefined && guest === undefined),
    ...(mtu === undefined ? {} : { mtu }),
    ...(mac === undefined ? {} : { mac }),
    ...(host === undefined ? {} : { host }),
    ...(request.kind === "device" ? { device: formerLink(parent) } : {}),
    ...(guest === undefined ? {} : { guest }),
  };
  const plan = planAttachment(input);
  if (guest !== undefined) return { plan, guest: guestRecord(wholePlan(input), input, request.guest) };
  return { plan: request.handedOver === true ? planOnHost(plan, request.key) : plan };
}

/** The MTU that is asked for: the configuration's, or a cloud's network's as far as the parent carries it. Absent: the parent's. */
function mtuOf({ mtu = 0 }: NetworkConfig, parent: Link, port: CloudPort | undefined): number | undefined {
  if (mtu !== 0) return mtu;
  return port === undefined || port.mtu >= parent.mtu ? undefined : port.mtu;
}

/** How the attachment will sit on its parent. */
export function seatOf({ kind }: AttachRequest, { asked }: Prepared, { parent }: Facts): Seat {
  return { kind, parentMac: parent.mac, mac: asked };
}
