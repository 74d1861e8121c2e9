// Source routing: each attachment's own routing table, so that a reply leaves by the interface that the request came in
// by, and no attachment ever edits another's routes. Pure.
import { type Cidr, formatCidr, networkOf } from "../address/cidr.ts";
import { ipFamily } from "../address/ip.ts";
import { SOURCE_ROUTING_TABLES } from "../kernel/protocol.ts";
import { type Route, SCOPE_LINK } from "../kernel/routes.ts";
import type { Step } from "../plan/step.ts";
import type { NetworkConfig } from "./config.ts";

/** After the rule for local addresses (0), before any that people usually make, and before the main table (32766). */
const PRIORITY = 980;
/** Metrics begin here; those below belong to attachments that are to own the default route. */
const METRIC_BASE = 2_000_000;
/** `eth0` to `eth9999` come first, other names after them by a hash. */
const NUMBERED = 10_000;
const HASHED = 2 ** 20;

/** What an interface name means for routing: whatever order attachments come in, they end in the same routes. */
export interface RoutingPlace {
  /** The attachment's own table. */
  readonly table: number;
  /** Of its routes in the main table; never 0, and another for each name. */
  readonly metric: number;
  /** Of its default route where it is to own that: less than any {@link metric}. */
  readonly owningMetric: number;
}

/** Whether an attachment has a table of its own; "only": and nothing in the main table, which its caller keeps. */
export type SourceRouting = boolean | "only";

/** What a configuration asks of routing: source routing goes with host access and with `defaultRoute` unless it says otherwise. */
export function routingOf(
  { sourceRouting, defaultRoute }: NetworkConfig,
  hostAccess: boolean,
): { sourceRouting: SourceRouting; defaultRoute?: boolean | "auto" } {
  return {
    sourceRouting: sourceRouting ?? (hostAccess || defaultRoute !== undefined),
    ...(defaultRoute === undefined ? {} : { defaultRoute }),
  };
}

/** Table and metric of an interface name: by its number for `eth0` to `eth9999`, by a hash of the name for others. */
export function routingPlace(ifName: string): RoutingPlace {
  const number = /^eth(0|[1-9]\d{0,3})$/u.exec(ifName)?.[1];
  const rank = number === undefined ? NUMBERED + (Bun.hash.xxHash32(ifName) % HASHED) : Number(number);
  return { table: SOURCE_ROUTING_TABLES + rank, metric: METRIC_BASE + rank, owningMetric: 1 + rank };
}

/**
 * The steps that give an attachment its own table: its prefixes, its routes, and a rule for each of its addresses.
 * @param alone the main table has none of its routes: further rules lead to the table whatever the source, but not to a
 *   default route there
 */
export function sourceRoutingSteps(
  link: string,
  place: RoutingPlace,
  addresses: readonly Cidr[],
  routes: readonly Route[],
  alone: boolean,
): Step[] {
  const { table } = place;
  const destinations = alone ? routes.map((r) => r.dst).filter((dst) => dst.prefix > 0) : [];
  const prefixes: Route[] = addresses.map((a) => ({
    dst: networkOf(a),
    source: a.ip,
    ...(ipFamily(a.ip) === 4 ? { scope: SCOPE_LINK } : {}),
  }));
  const known = new Set<string>();
  const own = [...prefixes, ...routes].filter((r) => {
    const text = formatCidr(r.dst);
    if (known.has(text)) return false;
    known.add(text);
    return true;
  });
  return [
    ...own.map((route): Step => ({
      type: "route",
      where: "container",
      link,
      route: { ...route, table },
    })),
    ...addresses.map((a): Step => ({ type: "rule", where: "container", from: a.ip, table, priority: PRIORITY })),
    ...destinations.map((to): Step => ({ type: "rule", where: "container", to, table, priority: PRIORITY + 1 })),
  ];
}
