// Obstacles: what keeps an attachment from working though its plan holds, for the person who wonders why it does not. These
// can be told at once; outside-obstacles.ts has those that have to be looked for.
import { hostCidr } from "../address/cidr.ts";
import { ipFamily } from "../address/ip.ts";
import type { Allocation } from "../ipam/provider.ts";
import { findLink, findLinkByIndex, type Link } from "../kernel/links.ts";
import { lookUpRoute, SCOPE_LINK } from "../kernel/routes.ts";
import type { Plan } from "../plan/plan.ts";
import type { Places } from "../plan/places.ts";
import type { RouteStep } from "../plan/step.ts";
import { ownTableRule } from "./host-access.ts";

/** What is looked at. */
export interface Attached {
  readonly plan: Plan;
  readonly places: Places;
  readonly allocation: Allocation;
  /** Host access was asked for. */
  readonly hostAccess: boolean;
}

/** The routes that host access consists of: the host's to the attachment, and the attachment's to the host. */
export function accessRoutes(plan: Plan): RouteStep[] {
  const found: RouteStep[] = [];
  for (const s of plan) {
    if (s.type !== "route" || s.route.scope !== SCOPE_LINK) continue;
    if (s.route.dst.prefix === hostCidr(s.route.dst.ip).prefix) found.push(s);
  }
  return found;
}

/** Ways between host and attachment that the kernel would not choose: a policy rule or another route wins. */
export function strayRoutes({ plan, places }: Attached): string[] {
  const routes = accessRoutes(plan);
  if (routes.length === 0) return [];
  const known = new Set<string>();
  // the host chooses its source by the route; the container's several attachments may each have one to the same address
  const questions = routes.flatMap((s) =>
    (s.where === "host" ? [undefined, s.route.source] : [s.route.source]).map((source) => ({ ...s, source })),
  );
  const own = new Set([undefined, ownTableRule(4).table]);
  // a table that the user named is the user's to lead to
  const asked = questions.filter((q) => q.where === "container" || own.has(q.route.table));
  return asked.flatMap(({ where, link, route: { dst, table }, source }) => {
    const nl = places.at(where)?.netlink;
    const wanted = nl === undefined ? undefined : findLink(nl, link);
    const question = `${where} ${dst.ip} ${source ?? ""}`;
    if (nl === undefined || wanted === undefined || known.has(question)) return [];
    known.add(question);
    const found = lookUpRoute(nl, dst.ip, source);
    if (found?.linkIndex === wanted.index) return [];
    const other = found?.linkIndex === undefined ? undefined : findLinkByIndex(nl, found.linkIndex)?.name;
    const way = other === undefined ? "have no way" : `leave by ${other} (table ${found?.table})`;
    const from = source === undefined ? "" : ` from ${source}`;
    const sentence = `packets of the ${where}${from} to ${dst.ip} ${way}, not by ${link}: a policy rule or another route comes first (ip rule; ip route get ${dst.ip}${from})`;
    return where === "host" && table === undefined
      ? `${sentence}; "hostAccess": {"table": "own"} puts Berth's routes before it`
      : sentence;
  });
}

/** A parent that lets nothing pass. */
export function deadParent(parent: Link): string[] {
  if (!parent.up) return [`the parent ${parent.name} is down: nothing passes (ip link set dev ${parent.name} up)`];
  if (parent.carrier) return [];
  return [
    `the parent ${parent.name} has no carrier: nothing passes, not even between host and container, until it is back`,
  ];
}

/** Families in which the attachment has an address and host access does not work. */
export function familyGaps({ plan, allocation, hostAccess }: Attached): string[] {
  if (!hostAccess) return [];
  const routed = new Set(accessRoutes(plan).map((s) => ipFamily(s.route.dst.ip)));
  const own = new Set(allocation.ips.map((lease) => (lease.address.includes(":") ? 6 : 4)));
  return [...own]
    .filter((family) => !routed.has(family))
    .map(
      (family) =>
        `no host access by IPv${family}: the host has no global IPv${family} address that could be used${family === 6 ? " (or IPv6 is disabled there: sysctl net.ipv6.conf.all.disable_ipv6)" : ""}`,
    );
}
