// What is Berth's in the kernel and no record knows of: the records were deleted, or lost. Everything that Berth makes can be
// told by its marks (link group and ifalias, routing protocol number), and is taken back by the steps that make it.
import { formatCidr, hostCidr } from "../address/cidr.ts";
import { ipFamily } from "../address/ip.ts";
import { listAddresses } from "../kernel/addresses.ts";
import { type Link, listLinks } from "../kernel/links.ts";
import { listNeighbours, type Neighbour } from "../kernel/neighbours.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { statusOf } from "../kernel/files.ts";
import { listNamespaces, OWN_NAMESPACE, type SeenNamespace } from "../kernel/namespaces.ts";
import { LINK_GROUP_BERTH, RTPROT_BERTH, SOURCE_ROUTING_TABLES } from "../kernel/protocol.ts";
import { type InstalledRoute, listRoutes, SCOPE_LINK, TABLE_MAIN } from "../kernel/routes.ts";
import { type InstalledRule, listRules } from "../kernel/rules.ts";
import { tapDevice, usersOf } from "../kernel/taps.ts";
import { Places } from "../plan/places.ts";
import { explainUndo, type Plan, undoPlan } from "../plan/plan.ts";
import type { Step } from "../plan/step.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { ownTableRule } from "./host-access.ts";
import { type Key, keyOfAlias } from "./key.ts";
import { aliasOf, markedDevice } from "./marks.ts";
import { type AttachmentRecord, listRecords, lockShared } from "./record.ts";
import { ownNodes, type SeenNode, strayNodes } from "./stray-nodes.ts";

/** Steps that no record knows of, in one namespace. */
export interface Stray {
  /** Path of the namespace; empty for the host. */
  readonly netns: string;
  readonly plan: Plan;
}

/** An attachment that is in use and has no record. */
export interface Unrecorded {
  /** As its link's alias says. */
  readonly key: Key;
  /** Path of its namespace. */
  readonly netns: string;
  /** The processes there. */
  readonly processes: readonly number[];
}

/** What was found. */
export interface Strays {
  readonly strays: readonly Stray[];
  /** Nothing of these is a stray: who detaches one names it. */
  readonly unrecorded: readonly Unrecorded[];
}

/** What attachments without a record use on the host. */
interface Kept {
  readonly ips: Set<string>;
  readonly macs: Set<string>;
  /** Names of links. */
  readonly links: Set<string>;
}

const OWN_TABLE = ownTableRule(4).table;
const ALIAS = "berth:";
const ACCESS_ALIAS = "berth:access:";

/** A link of Berth's own: its group, and its alias, or none where it was never finished and so is down. */
function isMarked(link: Link): boolean {
  if (markedDevice(link) !== undefined) return true;
  if (link.group !== LINK_GROUP_BERTH || link.detail === undefined) return false;
  return link.alias.startsWith(ALIAS) || (link.alias === "" && !link.up);
}

function linkStep(link: Link, where: "host" | "container"): Step[] {
  const { detail, name, mac, alias } = link;
  const device = markedDevice(link);
  if (device !== undefined) return [device];
  if (detail === undefined) return [];
  const parent = { name: "?", where: "host" } as const;
  return [{ type: "link", where, name, parent, detail, ...(mac === undefined ? {} : { mac, owner: alias }) }];
}

/** A namespace with what of Berth's is in it. */
interface Inside extends SeenNamespace {
  readonly links: readonly { readonly link: Link; readonly ips: readonly string[] }[];
  readonly rules: readonly InstalledRule[];
}

/** The host with what of Berth's is on it, and everything else there is. */
interface Kernel {
  readonly links: readonly Link[];
  readonly neighbours: readonly Neighbour[];
  readonly routes: readonly InstalledRoute[];
  readonly rules: readonly InstalledRule[];
  readonly namespaces: readonly Inside[];
  readonly nodes: readonly SeenNode[];
}

const families = [4, 6] as const;

function ownRules(nl: Netlink): InstalledRule[] {
  return families.flatMap((family) => listRules(nl, family)).filter((r) => r.protocol === RTPROT_BERTH);
}

function lookInto(namespace: SeenNamespace): Inside | undefined {
  using places = Places.find(namespace.path);
  const { container } = places;
  if (container === undefined || container.inode !== namespace.inode) return undefined; // ended meanwhile
  const nl = container.netlink;
  const links = listLinks(nl)
    .filter(isMarked)
    .map((link) => ({ link, ips: listAddresses(nl, link.index).map((a) => a.cidr.ip) }));
  return { ...namespace, links, rules: ownRules(nl) };
}

function readKernel(nl: Netlink, tapPaths: readonly string[], failed: (failure: Failure) => void): Kernel {
  const namespaces: Inside[] = [];
  for (const namespace of listNamespaces()) {
    try {
      const inside = lookInto(namespace);
      if (inside !== undefined) namespaces.push(inside);
    } catch (e) {
      failed(asFailure(e, `look for strays in ${namespace.path}`));
    }
  }
  const links = listLinks(nl);
  return {
    links,
    neighbours: links.flatMap((link) =>
      listNeighbours(nl, link.index).filter((n) => n.permanent && n.protocol === RTPROT_BERTH),
    ),
    routes: families.flatMap((family) => listRoutes(nl, { family, protocol: RTPROT_BERTH })),
    rules: ownRules(nl),
    namespaces,
    nodes: ownNodes(tapPaths),
  };
}

/** In a container's namespace; routes, neighbours and addresses go with their link. */
function inNamespace(
  { path, inode, processes, links, rules }: Inside,
  records: readonly AttachmentRecord[],
  kept: Kept,
): Stray & { unrecorded: Unrecorded[] } {
  const own = records.filter((r) => r.netnsInode === inode);
  const recorded = new Set(own.flatMap((r) => [r.key.ifName, aliasOf(r.key)])); // it may have been renamed
  const steps: Step[] = [];
  const unrecorded: Unrecorded[] = [];
  const living = new Set<string>();
  for (const { link, ips } of links.filter(
    ({ link: { name, alias } }) => !recorded.has(name) && !recorded.has(alias),
  )) {
    const key = keyOfAlias(link.alias);
    if (key === undefined || processes.length === 0) {
      steps.push(...linkStep(link, "container"));
      continue;
    }
    unrecorded.push({ key, netns: path, processes });
    for (const ip of ips) living.add(ip);
    if (link.mac !== undefined) kept.macs.add(link.mac);
  }
  for (const ip of living) kept.ips.add(ip);
  const claimed = new Set(own.flatMap((r) => r.plan.flatMap((s) => (s.type === "rule" ? [s.from] : []))));
  for (const { from, table, priority } of rules) {
    if (from === undefined || table < SOURCE_ROUTING_TABLES || claimed.has(from.ip) || living.has(from.ip)) continue;
    steps.push({ type: "rule", where: "container", from: from.ip, table, priority });
  }
  return { netns: path, plan: steps, unrecorded };
}

/** What of a plan is on the host, as words by which what the kernel has is found again. */
function claimsOf(record: AttachmentRecord): string[] {
  const own = isOnHost(record) ? record.plan.flatMap((s) => (s.type === "link" ? [`link ${s.name}`] : [])) : [];
  return [...own, ...claimsOnHost(record)];
}

/** A virtual machine's: its namespace is the host's own. */
function isOnHost({ netnsInode }: AttachmentRecord): boolean {
  return netnsInode === statusOf(OWN_NAMESPACE)?.inode;
}

/** Virtual machines' links on the host that no record knows of, and that a program has open. */
function guestsOnHost({ links }: Kernel, records: readonly AttachmentRecord[], kept: Kept): Unrecorded[] {
  const recorded = new Set(records.filter(isOnHost).map((r) => r.key.ifName));
  return links
    .filter((l) => isMarked(l) && l.kind === "macvtap" && !recorded.has(l.name))
    .flatMap((link) => {
      const key = keyOfAlias(link.alias);
      const device = tapDevice(link.name);
      const processes = device === undefined ? [] : usersOf(device).map((user) => user.pid);
      if (key === undefined || processes.length === 0) return [];
      if (link.mac !== undefined) kept.macs.add(link.mac);
      kept.links.add(link.name);
      return [{ key, netns: OWN_NAMESPACE, processes }];
    });
}

function claimsOnHost(record: AttachmentRecord): string[] {
  return [...record.plan, ...(record.guest?.steps ?? [])].flatMap((s) => {
    if (s.type === "device") return [`device ${s.alias}`];
    if (s.where !== "host") return [];
    switch (s.type) {
      case "route":
        return [`route ${s.link} ${formatCidr(s.route.dst)} ${s.route.table ?? TABLE_MAIN}`, `uses ${s.link}`];
      case "neighbour":
        return [`neighbour ${s.link} ${s.ip}`, `uses ${s.link}`];
      case "access-link":
        return [`uses ${s.name}`];
      case "link":
        return [`link ${s.name}`];
      case "table-rule":
        return [`rule ${s.family}`];
      default:
        return [];
    }
  });
}

/** Notes what of the host's is for attachments that live without a record, and what uses what. */
function claimKept({ links, neighbours, routes }: Kernel, kept: Kept, claims: Set<string>): void {
  const names = new Map(links.map((l) => [l.index, l.name]));
  // a virtual machine's addresses are not on its link, but its MAC is in the host's entries
  for (const { ip, mac } of neighbours) if (mac !== undefined && kept.macs.has(mac)) kept.ips.add(ip);
  for (const { ip, linkIndex } of neighbours) {
    const link = names.get(linkIndex);
    if (kept.ips.has(ip)) claims.add(`neighbour ${link} ${ip}`).add(`uses ${link}`);
  }
  for (const { dst, table, linkIndex } of routes) {
    if (!kept.ips.has(dst.ip)) continue;
    const link = names.get(linkIndex ?? 0);
    claims.add(`route ${link} ${formatCidr(dst)} ${table}`).add(`uses ${link}`);
    if (table === OWN_TABLE) claims.add(`rule ${ipFamily(dst.ip)}`);
  }
}

function onHost(kernel: Kernel, records: readonly AttachmentRecord[], kept: Kept): Plan {
  const { links, neighbours, routes, rules } = kernel;
  const names = new Map(links.map((l) => [l.index, l.name]));
  const claims = new Set(records.flatMap(claimsOf));
  claimKept(kernel, kept, claims);
  for (const name of kept.links) claims.add(`link ${name}`);
  const steps: Step[] = [];
  for (const link of links.filter(isMarked)) {
    if (claims.has(`uses ${link.name}`) || claims.has(`link ${link.name}`)) continue;
    if (link.detail === undefined || markedDevice(link) !== undefined) {
      // one that came back by itself is its attachment's, as long as that is recorded
      if (!claims.has(`device ${link.alias}`)) steps.push(...linkStep(link, "host"));
      continue;
    }
    const access = link.alias.startsWith(ACCESS_ALIAS) || (link.alias === "" && link.name.startsWith("berth-"));
    const parent = { name: names.get(link.parentIndex ?? 0) ?? "?", where: "host" } as const;
    if (access) steps.push({ type: "access-link", where: "host", name: link.name, parent, detail: link.detail });
    else steps.push(...linkStep(link, "host"));
  }
  for (const { family, table, priority, from } of rules) {
    const own = ownTableRule(family);
    if (table !== own.table || priority !== own.priority || from !== undefined || claims.has(`rule ${family}`))
      continue;
    steps.push(own);
  }
  for (const { dst, linkIndex, table, metric } of routes) {
    const link = names.get(linkIndex ?? 0);
    if (link === undefined || dst.prefix !== hostCidr(dst.ip).prefix) continue;
    if (claims.has(`route ${link} ${formatCidr(dst)} ${table}`)) continue;
    const scope = ipFamily(dst.ip) === 4 ? { scope: SCOPE_LINK } : {};
    steps.push({ type: "route", where: "host", link, route: { dst, table, metric, ...scope } });
  }
  for (const { linkIndex, ip, mac = "" } of neighbours) {
    const link = names.get(linkIndex);
    if (link === undefined || claims.has(`neighbour ${link} ${ip}`)) continue;
    steps.push({ type: "neighbour", where: "host", link, ip, mac });
  }
  return steps;
}

/**
 * What is Berth's on the host and in all namespaces that can be reached, and of no attachment that is recorded. An
 * attachment that is under way has a record before it has anything else: the records are read last.
 * @param failed gets what keeps a namespace, or everything, from being judged: then nothing there counts as a stray
 * @param tapPaths where networks have device nodes made, beside Berth's own directory and /dev
 */
export function findStrays(failed: (failure: Failure) => void, tapPaths: readonly string[] = []): Strays {
  using host = Places.find(undefined);
  let whole = true;
  const fail = (failure: Failure): void => {
    whole = false;
    failed(failure);
  };
  const kernel = readKernel(host.host.netlink, tapPaths, fail);
  let readable = true;
  const records = listRecords((failure) => {
    readable = false;
    failed(failure);
  });
  if (!readable) return { strays: [], unrecorded: [] };
  const kept: Kept = { ips: new Set(), macs: new Set(), links: new Set() };
  const guests = guestsOnHost(kernel, records, kept);
  const inside = kernel.namespaces.map((namespace) => inNamespace(namespace, records, kept));
  // what the host has may be for what cannot be looked at
  const unrecorded = [...guests, ...inside.flatMap((found) => found.unrecorded)];
  const living = unrecorded.map((u) => u.key);
  const plan = whole ? [...onHost(kernel, records, kept), ...strayNodes(kernel.nodes, records, living)] : [];
  const all = [{ netns: "", plan }, ...inside].filter((stray) => stray.plan.length > 0);
  return {
    strays: all.map(({ netns, plan: steps }) => ({ netns, plan: steps })),
    unrecorded,
  };
}

/** The commands that would remove a stray. */
export async function explainRemoval({ netns, plan }: Stray): Promise<string[]> {
  return await explainUndo(plan, netns);
}

function parentsIn(strays: readonly Stray[]): string[] {
  const parents = strays.flatMap(({ plan }) => plan.flatMap((s) => (s.type === "access-link" ? [s.parent.name] : [])));
  return [...new Set(parents)].toSorted();
}

/**
 * Removes what {@link findStrays} finds, after looking once more under the locks of what attachments share.
 * @param failed gets what could not be judged or removed
 * @returns what was removed, but for what `failed` got
 */
export async function removeStrays(
  failed: (failure: Failure) => void,
  tapPaths: readonly string[] = [],
): Promise<readonly Stray[]> {
  using locks = new DisposableStack();
  const rules: Plan = [ownTableRule(4)];
  for (const parent of parentsIn(findStrays(() => {}, tapPaths).strays)) locks.use(lockShared(parent, []));
  locks.use(lockShared(undefined, rules));
  const { strays } = findStrays(failed, tapPaths);
  for (const { netns, plan } of strays) {
    using places = Places.find(netns === "" ? undefined : netns);
    for (const failure of await undoPlan(plan, places)) failed(failure);
  }
  return strays;
}

/** A step in words. */
export function describeStep(step: Step): string {
  switch (step.type) {
    case "link":
      return `link ${step.name}`;
    case "device":
      return `NIC ${step.former.name}`;
    case "access-link":
      return `access link ${step.name}`;
    case "route":
      return `route ${formatCidr(step.route.dst)} dev ${step.link}`;
    case "neighbour":
      return `neighbour ${step.ip} dev ${step.link}`;
    case "tap":
      return `device node ${step.path}`;
    case "rule":
      return `rule from ${step.from} to table ${step.table}`;
    case "table-rule":
      return `rule to table ${step.table} (IPv${step.family})`;
    default:
      return step.type;
  }
}
