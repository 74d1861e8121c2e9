import { formatCidr } from "../address/cidr.ts";
import { ipFamily } from "../address/ip.ts";
import { Errno, type SysError } from "../kernel/errno.ts";
import { findLink, findLinkByIndex } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { RTPROT_BERTH, SOURCE_ROUTING_TABLES } from "../kernel/protocol.ts";
import {
  deleteRoute,
  describeRoute,
  effectiveMetric,
  type InstalledRoute,
  listRoutes,
  newRoute,
  type Route,
  SCOPE_LINK,
  TABLE_MAIN,
} from "../kernel/routes.ts";
import { Failure } from "../report/failure.ts";
import { type Pipeline, refused, tolerating } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { RouteStep } from "./step.ts";
import type { Shell, StepType } from "./step-type.ts";

/** Routes of the same table, destination and metric: the kernel takes only one of them. */
function rivals(nl: Netlink, route: Route): InstalledRoute[] {
  const family = ipFamily(route.dst.ip);
  const wanted = formatCidr(route.dst);
  return listRoutes(nl, { family, table: route.table ?? TABLE_MAIN }).filter(
    (r) => formatCidr(r.dst) === wanted && r.metric === effectiveMetric(route),
  );
}

/** What to do where the kernel has a route to the destination already: nothing, replace it, or fail and print it. */
function judgeExisting(step: RouteStep, pipeline: Pipeline, acted: () => void, error: SysError): Failure | undefined {
  const nl = pipeline.places.at(step.where)?.netlink;
  const index = pipeline.index(step.where, step.link);
  if (nl === undefined || index === undefined) return refused(error);
  const existing = rivals(nl, step.route);
  // in the container the first on a link wins: the kernel's own prefix route, or a route stated twice
  if (step.where === "container" && existing.some((r) => r.linkIndex === index)) return undefined;
  const holder = existing[0];
  if (holder === undefined) return refused(error);
  const owner = holder.protocol === RTPROT_BERTH ? pipeline.ownerOf(step.route.dst.ip) : undefined;
  if (step.where === "host" && holder.protocol === RTPROT_BERTH && owner === undefined) {
    const [again] = nl.batch([newRoute(step.route, index, step.link, { replace: true })]);
    if (again === undefined) acted();
    return again === undefined ? undefined : refused(again);
  }
  const name =
    holder.linkIndex === undefined ? "?" : (findLinkByIndex(nl, holder.linkIndex)?.name ?? `${holder.linkIndex}`);
  const from = holder.source === undefined ? "" : ` src ${holder.source}`;
  const whose = owner === undefined ? "" : `, of the attachment ${owner}`;
  return new Failure(
    "exists",
    `${error.message}: there is "${describeRoute(holder, name)}${from} proto ${holder.protocol}"${whose}`,
    { advice: adviceFor(step, owner), cause: error },
  );
}

function adviceFor({ route: { dst } }: RouteStep, owner: string | undefined): string {
  if (owner !== undefined) return "Two networks give out the same address: let their ranges differ.";
  return dst.prefix === 0
    ? 'Only one network of a container can have a plain default route. Give "defaultRoute": true to the one that shall own it and "auto" or false to the others: then each has a table of its own.'
    : "Remove that route if it is not needed, or give one of the two another metric or table.";
}

/** True for a route of Berth's that a chained plugin (`sbr`) took from the main table into a table of its own. */
function wasMoved({ protocol, table }: InstalledRoute): boolean {
  return protocol === RTPROT_BERTH && table !== TABLE_MAIN && table < SOURCE_ROUTING_TABLES;
}

/** The type of step `route`. */
export const route: StepType<RouteStep> = {
  apply(step, pipeline) {
    const index = pipeline.indexOrThrow(step.where, step.link);
    const acted = pipeline.actsLater();
    pipeline.send(step.where, newRoute(step.route, index, step.link), (error) => {
      if (error.errno === Errno.EEXIST) return judgeExisting(step, pipeline, acted, error);
      if (step.route.gateway === undefined || error.errno !== Errno.ENETUNREACH) return refused(error);
      return new Failure("config", `${error.message}: the gateway is not on this link`, {
        advice:
          "The gateway must lie in the subnet of one of the link's addresses, or the route must be on the link (gw 0.0.0.0).",
        cause: error,
      });
    });
  },

  undo(step, pipeline) {
    const index = pipeline.index(step.where, step.link);
    if (index === undefined) return; // routes go with their link
    pipeline.send(
      step.where,
      deleteRoute(step.route, index, step.link),
      tolerating(Errno.ESRCH, Errno.ENOENT, Errno.ENODEV),
    );
  },

  verify(step, places) {
    const nl = places.at(step.where)?.netlink;
    const linkIndex = nl === undefined ? undefined : findLink(nl, step.link)?.index;
    const missing = [`route ${describeRoute(step.route, step.link)}: is not there`];
    if (nl === undefined || linkIndex === undefined) return missing;
    const { dst, gateway, source, table } = step.route;
    const wanted = formatCidr(dst);
    const same = listRoutes(nl, { family: ipFamily(dst.ip), linkIndex }).filter(
      (r) =>
        formatCidr(r.dst) === wanted &&
        r.gateway === gateway &&
        r.metric === effectiveMetric(step.route) &&
        (source === undefined || r.source === source),
    );
    if (same.some((r) => r.table === (table ?? TABLE_MAIN))) return [];
    return step.where === "container" && table === undefined && same.some(wasMoved) ? [] : missing;
  },

  explain(step, shell) {
    const { source, mtu, advmss, onlink } = step.route;
    const words = [
      ...identity(shell.marks ? "add" : "replace", step, shell),
      ...(source === undefined ? [] : ["src", source]),
      ...(mtu === undefined ? [] : ["mtu", `${mtu}`]),
      ...(advmss === undefined ? [] : ["advmss", `${advmss}`]),
      ...(onlink === true ? ["onlink"] : []),
    ];
    return [words.join(" ")];
  },

  explainUndo(step, shell) {
    return [identity("delete", step, shell).join(" ")];
  },
};

/** What names a route, to make it or to delete it. */
function identity(verb: "add" | "replace" | "delete", step: RouteStep, shell: Shell): string[] {
  const { dst, gateway, table, metric, scope } = step.route;
  const six = ipFamily(dst.ip) === 6;
  return [
    shell.ip(step.where),
    six ? "-6" : "-4",
    "route",
    verb,
    dst.prefix === 0 ? "default" : formatCidr(dst),
    ...(gateway === undefined ? [] : ["via", gateway]),
    "dev",
    quote(step.link),
    ...(table === undefined ? [] : ["table", `${table}`]),
    ...(metric === undefined ? [] : ["metric", `${metric}`]),
    ...(six ? [] : ["scope", scopeWord(scope ?? 0)]),
    ...(shell.marks ? [`proto ${RTPROT_BERTH}`] : []),
  ];
}

function scopeWord(scope: number): string {
  return scope === 0 ? "global" : scope === SCOPE_LINK ? "link" : `${scope}`;
}
