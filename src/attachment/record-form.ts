// What a record must look like before anything is done by it: it is a file, and a file may hold anything.
//
// By hand, as config-accepts.ts is: a CNI call that reads a record shall load no validation library.
import { parseCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";
import { isObject, type Json } from "../ipam/json.ts";
import type { Allocation, CloudPort, Dns, Lease, RouteSpec } from "../ipam/provider.ts";
import type { ProcessIdentity } from "../kernel/processes.ts";
import { lazily } from "../kernel/libc.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import type { Route } from "../kernel/routes.ts";
import type { AddressPair, Admission } from "../plan/cloud.ts";
import type { Plan } from "../plan/plan.ts";
import type { FormerLink, Step } from "../plan/step.ts";
import type { Key } from "./key.ts";
import { type Kind, kinds } from "./kinds.ts";

/** Of the files' form that this Berth writes and reads. */
export const VERSION = 1;

/** What is remembered of an attachment whose frames are a virtual machine's. */
export interface GuestRecord {
  readonly mac: string;
  /** Bytes. */
  readonly mtu: number;
  /** The guest's own part of the plan: its addresses, routes and neighbours. */
  readonly steps: Plan;
  /** The guest is not here, or not yet. */
  readonly held?: true;
  /** The machine's manager makes the link, with this MAC. */
  readonly foreignLink?: true;
  /** It came from a host that reserves in the same store: whoever has the machine releases its addresses. */
  readonly commonStore?: true;
  /** The process that it is for: without it, it is nobody's. Absent: it stays until it is detached. */
  readonly process?: ProcessIdentity;
}

/** What Berth remembers of an attachment. The kernel is the truth; this is the intention. */
export interface AttachmentRecord {
  /** Of this file's form. */
  readonly version: typeof VERSION;
  readonly key: Key;
  readonly kind: Kind;
  /** Path of the container's namespace at ADD. */
  readonly netns: string;
  /** Inode number of that namespace: its identity while it lives. */
  readonly netnsInode: number;
  readonly parent: string;
  /** When it was attached, ISO 8601. */
  readonly created: string;
  /** During which boot of the kernel; absent: this one. */
  readonly boot?: string;
  /** The configuration as it was given, as JSON text: a release needs it. */
  readonly config: string;
  /** CNI_PATH at ADD: a delegated IPAM plugin is found there. */
  readonly cniPath: string;
  /** The site file that it is of, by its path; absent: of none. */
  readonly site?: string;
  /** Its link is on its way between the host and its namespace, moved by another program: it is neither mended nor checked. */
  readonly inTransit?: true;
  /** Whose the addresses are to IPAM, where the attachment had another key when they were given; absent: {@link key}. */
  readonly holder?: Key;
  /** Absent: the link is a container's. */
  readonly guest?: GuestRecord;
  /** Absent while IPAM is being asked. */
  readonly allocation?: Allocation;
  readonly plan: Plan;
}

type Check = (value: unknown) => boolean;
/** A check for every key of a type, so that a key that is added to it cannot be forgotten here. */
type Form<T> = { readonly [K in keyof Required<T>]: Check };

const isText: Check = (x) => typeof x === "string";
const isFlag: Check = (x) => typeof x === "boolean";
const isTrue: Check = (x) => x === true;
const isNumber: Check = (x) => Number.isSafeInteger(x) && Number(x) >= 0;
const isIp: Check = (x) => typeof x === "string" && parseIp(x) === x;
const isMac: Check = (x) => typeof x === "string" && parseMac(x) === x;
const isLeaseAddress: Check = (x) => typeof x === "string" && parseCidr(x) !== undefined;
/** What the kernel takes as a link's name (net/core/dev.c, dev_valid_name); as a part of a sysctl's path it leads nowhere else. */
const isLinkName: Check = (x) => typeof x === "string" && /^(?!\.{1,2}$)[^\s/:\0]{1,15}$/u.test(x);
/** A setting of one link. */
const isSysctl: Check = (x) =>
  typeof x === "string" && /^net\/ipv[46]\/(?:conf|neigh)\/(?!\.{1,2}\/)[^\s/\0]{1,15}\/\w+$/u.test(x);
/** Absolute, and as it is written: what it names is then looked at where it is opened. */
const isPath: Check = (x) => typeof x === "string" && x.startsWith("/") && !x.includes("\0");
const isWhere: Check = (x) => x === "host" || x === "container";
const oneOf =
  (...values: readonly unknown[]): Check =>
  (x) =>
    values.includes(x);
const maybe =
  (check: Check): Check =>
  (x) =>
    x === undefined || check(x);
const listOf =
  (check: Check): Check =>
  (x) =>
    Array.isArray(x) && areAll(x, check);

function areAll(values: readonly unknown[], check: Check): boolean {
  for (const value of values) if (!check(value)) return false;
  return true;
}

/** The first key whose value its check refuses; undefined where there is none. */
function oddKeyOf(form: Readonly<Record<string, Check>>, x: Json): string | undefined {
  for (const key in form) if (form[key]?.(Object.hasOwn(x, key) ? x[key] : undefined) !== true) return key;
  return undefined;
}

function object<T>(form: Form<T>): Check {
  return objectOf(form);
}

function objectOf(form: Readonly<Record<string, Check>>): Check {
  return (x) => isObject(x) && oddKeyOf(form, x) === undefined;
}

const isCidr: Check = (x) => {
  if (!isObject(x) || !isIp(x["ip"])) return false;
  const { prefix } = x;
  return isNumber(prefix) && Number(prefix) <= (ipFamily(String(x["ip"])) === 4 ? 32 : 128);
};

/** The member of a union of sub-interfaces that a kind is of. */
type OfKind<S, K> = S extends { kind: infer Kinds } ? (K extends Kinds ? Omit<S, "kind"> : never) : never;

/** The form of a record, made when the first one is read: most calls read none. */
function build(): Form<Omit<AttachmentRecord, "version">> {
  const isPair = object<AddressPair>({ mac: isMac, ip: (x) => isIp(x) || isLeaseAddress(x) });
  const admission: Form<Admission> = { port: isText, user: isText, pairs: listOf(isPair) };

  const macvlan = { mode: isText, sources: maybe(listOf(isMac)), broadcastQueueLength: maybe(isNumber) };
  const details: { readonly [K in SubInterface["kind"]]: Form<OfKind<SubInterface, K>> } = {
    macvlan,
    macvtap: macvlan,
    ipvlan: { mode: isText, isolation: maybe(isText) },
    vlan: { id: isNumber, protocol: maybe(isText) },
  };
  const isDetail: Check = (x) => {
    if (!isObject(x) || typeof x["kind"] !== "string" || !Object.hasOwn(details, x["kind"])) return false;
    return objectOf(details[x["kind"] as SubInterface["kind"]])(x);
  };

  const isRoute = object<Route>({
    dst: isCidr,
    gateway: maybe(isIp),
    source: maybe(isIp),
    table: maybe(isNumber),
    metric: maybe(isNumber),
    scope: maybe(isNumber),
    mtu: maybe(isNumber),
    advmss: maybe(isNumber),
    onlink: maybe(isFlag),
  });

  const isParent = object<{ name: string; where: string }>({ name: isLinkName, where: isWhere });
  const probed = { where: isWhere, link: isLinkName, addresses: listOf(isIp) };
  const steps: { readonly [T in Step["type"]]: Form<Omit<Extract<Step, { type: T }>, "type">> } = {
    link: {
      where: isWhere,
      name: isLinkName,
      parent: isParent,
      detail: isDetail,
      mtu: maybe(isNumber),
      mac: maybe(isMac),
      alias: maybe(isText),
      owner: maybe(isText),
    },
    device: {
      where: oneOf("container"),
      name: isLinkName,
      former: object<FormerLink>({
        name: isLinkName,
        mac: maybe(isMac),
        mtu: isNumber,
        up: isFlag,
        group: isNumber,
        alias: isText,
        physical: isFlag,
      }),
      alias: isText,
      mtu: maybe(isNumber),
      mac: maybe(isMac),
    },
    "access-link": {
      where: oneOf("host"),
      name: isLinkName,
      parent: isParent,
      detail: isDetail,
      mac: maybe(isMac),
      addresses: maybe(listOf(isCidr)),
    },
    sysctl: { where: isWhere, key: isSysctl, value: isText, ifThere: maybe(isTrue) },
    address: {
      where: isWhere,
      link: isLinkName,
      address: isCidr,
      dad: maybe(oneOf("link", "off", "optimistic")),
      metric: maybe(isNumber),
    },
    up: { where: isWhere, link: isLinkName, alias: maybe(isText), guest: maybe(isTrue) },
    down: { where: isWhere, link: isLinkName },
    tap: {
      where: isWhere,
      tapOf: isLinkName,
      owner: maybe(isText),
      ifMarked: maybe(isTrue),
      path: isPath,
      process: maybe(isNumber),
      uid: isNumber,
      gid: isNumber,
      mode: (x) => isNumber(x) && Number(x) <= 0o7777,
    },
    settle: { where: isWhere, link: isLinkName, timeoutMs: isNumber },
    probe: { ...probed, probes: isNumber, waitMs: isNumber },
    announce: probed,
    reach: {
      where: oneOf("container"),
      link: isLinkName,
      gateways: listOf(object<{ from: string; gateway: string }>({ from: isIp, gateway: isIp })),
      timeoutMs: isNumber,
      required: isFlag,
    },
    route: { where: isWhere, link: isLinkName, route: isRoute },
    rule: { where: isWhere, from: maybe(isIp), to: maybe(isCidr), table: isNumber, priority: isNumber },
    "table-rule": { where: oneOf("host"), family: oneOf(4, 6), table: isNumber, priority: isNumber },
    neighbour: { where: isWhere, link: isLinkName, ip: isIp, mac: isMac },
    "address-pairs": { where: oneOf("cloud"), ...admission },
  };
  const isStep: Check = (x) => {
    if (!isObject(x) || typeof x["type"] !== "string" || !Object.hasOwn(steps, x["type"])) return false;
    return objectOf(steps[x["type"] as Step["type"]])(x);
  };

  const isSpec = object<RouteSpec>({
    dst: isLeaseAddress,
    gw: maybe((x) => typeof x === "string" && parseIp(x) !== undefined),
    mtu: maybe(isNumber),
    advmss: maybe(isNumber),
    priority: maybe(isNumber),
    table: maybe(isNumber),
    scope: maybe(isNumber),
  });
  const isPort = object<CloudPort>({
    id: isText,
    mac: maybe(isMac),
    mtu: isNumber,
    vlanId: maybe(isNumber),
    admission: maybe(object(admission)),
    reach: maybe(object<NonNullable<CloudPort["reach"]>>({ timeoutMs: isNumber, required: isFlag })),
    commands: maybe(listOf(isText)),
  });
  const isAllocation = object<Allocation>({
    ips: listOf(
      object<Lease>({
        address: isLeaseAddress,
        gateway: maybe((x) => x === "" || (typeof x === "string" && parseIp(x) !== undefined)),
      }),
    ),
    routes: listOf(isSpec),
    dns: object<Dns>({
      nameservers: maybe(listOf(isText)),
      domain: maybe(isText),
      search: maybe(listOf(isText)),
      options: maybe(listOf(isText)),
    }),
    port: maybe(isPort),
  });

  const isProcess = object<ProcessIdentity>({ pid: isNumber, started: isNumber, namespace: isText });
  const isGuest = object<GuestRecord>({
    mac: isMac,
    mtu: isNumber,
    steps: listOf(isStep),
    held: maybe(isTrue),
    foreignLink: maybe(isTrue),
    commonStore: maybe(isTrue),
    process: maybe(isProcess),
  });

  const isKey = object<Key>({ network: isText, containerId: isText, ifName: isText });
  return {
    key: isKey,
    kind: oneOf(...kinds),
    netns: (x) => typeof x === "string" && !x.includes("\0"),
    netnsInode: isNumber,
    parent: isLinkName,
    created: (x) => typeof x === "string" && !Number.isNaN(Date.parse(x)),
    boot: maybe(isText),
    config: isText,
    cniPath: isText,
    site: maybe(isText),
    inTransit: maybe(isTrue),
    holder: maybe(isKey),
    guest: maybe(isGuest),
    allocation: maybe(isAllocation),
    plan: listOf(isStep),
  };
}

const record = lazily(build);

/** The first of a record's keys whose value is none that a record has; undefined where all are as they must be. */
export function oddKey(json: Readonly<Record<string, unknown>>): string | undefined {
  return oddKeyOf(record(), json);
}
