import { Errno, type SysError } from "../kernel/errno.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import {
  changeLink,
  deleteLink,
  findLink,
  type Link,
  listLinks,
  type NewSubInterface,
  newSubInterface,
  renameLink,
} from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { LINK_GROUP_BERTH } from "../kernel/protocol.ts";
import { Failure } from "../report/failure.ts";
import { type Pipeline, refused, tolerating } from "./pipeline.ts";
import type { Places } from "./places.ts";
import { quote } from "./shell.ts";
import type { AccessLinkStep, LinkStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/**
 * True for a link that Berth made for this step: the creating message carries kind, group and MAC. Whoever is in the
 * container may have changed the MAC since, but hardly the alias.
 */
export function isOwn(link: Link, step: LinkStep): boolean {
  return (
    link.kind === step.detail.kind &&
    link.group === LINK_GROUP_BERTH &&
    (step.mac === undefined || link.mac === step.mac || (step.owner !== undefined && link.alias === step.owner))
  );
}

/** The step's link under another name that whoever is in the container gave it: its alias tells. */
function renamed(nl: Netlink, { detail, owner }: LinkStep): Link | undefined {
  if (owner === undefined) return undefined;
  return listLinks(nl).find((l) => l.alias === owner && l.group === LINK_GROUP_BERTH && l.kind === detail.kind);
}

/** What Berth made for the step: under its own name, or else under the passing one, or one that somebody gave it. */
function madeFor(nl: Netlink, step: LinkStep): Link[] {
  const present = findLink(nl, step.name);
  if (present !== undefined && isOwn(present, step)) return [present];
  const passing = findLink(nl, passingName(step));
  const found = [...(passing !== undefined && isOwn(passing, step) ? [passing] : []), renamed(nl, step)];
  return found.filter((link) => link !== undefined);
}

/** A sub-interface's type as `ip link add … type` takes it. */
export function explainKind(detail: SubInterface): string {
  switch (detail.kind) {
    case "macvlan":
    case "macvtap": {
      const queue = detail.broadcastQueueLength === undefined ? "" : ` bcqueuelen ${detail.broadcastQueueLength}`;
      const sources = detail.sources?.length ? ` macaddr set ${detail.sources.join(" ")}` : "";
      return `${detail.kind} mode ${detail.mode}${queue}${sources}`;
    }
    case "ipvlan":
      return `ipvlan mode ${detail.mode}${detail.isolation === undefined ? "" : ` ${detail.isolation}`}`;
    case "vlan":
      return `vlan${detail.protocol === undefined ? "" : ` protocol ${detail.protocol}`} id ${detail.id}`;
  }
}

/** The attachments on a step's parent, as a sentence to be appended; empty where no record names one. */
function attached({ parent: { name, where } }: LinkStep | AccessLinkStep, { attachmentsOn }: Pipeline): string {
  const known = where === "host" ? attachmentsOn(name) : [];
  return known.length === 0 ? "" : ` Attachments on ${name}: ${known.join(", ")}.`;
}

/** What a parent is used for that excludes a sub-interface of this kind, and what to do. */
function whyBusy(step: LinkStep | AccessLinkStep, pipeline: Pipeline): string {
  const { kind } = step.detail;
  const { name, where } = step.parent;
  const nl = pipeline.places.at(where)?.netlink;
  const parent = nl === undefined ? undefined : findLink(nl, name);
  const links = nl === undefined || parent === undefined ? [] : listLinks(nl);
  const master = links.find((l) => l.index === parent?.masterIndex);
  if (master !== undefined) {
    return `The parent ${name} is a port of ${master.kind ?? "the link"} ${master.name}: make ${master.name} the parent, which is on the same LAN.`;
  }
  const others = links.filter((l) => l.parentIndex === parent?.index && !l.parentElsewhere);
  const seen = others.map(
    (l) => `${l.name} (${[l.kind, l.detail && "mode" in l.detail ? l.detail.mode : ""].join(" ").trim()})`,
  );
  const here = seen.length === 0 ? "" : ` On it are, in this namespace: ${seen.join(", ")}.`;
  const excluding = kind === "ipvlan" ? "macvlan or macvtap links" : "ipvlan links, or a link in passthru mode";
  return `The parent ${name} is used in a way that excludes ${kind}: by ${excluding}, in whatever namespace.${here}${attached(step, pipeline)} Use their kind and mode, or another parent.`;
}

/** The kernel's refusal of a sub-interface, with what to do about it. */
function linkRefused(step: LinkStep | AccessLinkStep, error: SysError, pipeline: Pipeline): Failure {
  const { kind } = step.detail;
  switch (error.errno) {
    case Errno.EEXIST:
      return step.detail.kind === "vlan"
        ? new Failure("exists", error.message, {
            advice: `Either ${step.name} exists there already, or VLAN ${step.detail.id} of ${step.parent.name} is in use: a parent has each VLAN once, whatever the namespace.${attached(step, pipeline)}`,
            cause: error,
          })
        : new Failure("exists", error.message, {
            advice: `A link called ${step.name} is there already. Remove it, or choose another interface name.`,
            cause: error,
          });
    case Errno.EOPNOTSUPP:
      return new Failure("unavailable", `${error.message}: this kernel has no ${kind}`, {
        advice: `Load the module (modprobe ${kind === "vlan" ? "8021q" : kind}) or boot a kernel that has it (CONFIG_${kind === "vlan" ? "VLAN_8021Q" : kind.toUpperCase()}).`,
        cause: error,
      });
    case Errno.EINVAL:
      if (kind !== "macvlan" && kind !== "macvtap") return refused(error);
      return new Failure("kernel", error.message, { advice: whyBusy(step, pipeline), cause: error });
    case Errno.EBUSY:
      return new Failure("kernel", error.message, {
        advice: whyBusy(step, pipeline),
        cause: error,
      });
    default:
      return refused(error);
  }
}

/** Queues the creation of a sub-interface. */
export function create(step: LinkStep | AccessLinkStep, pipeline: Pipeline): void {
  const { where: parentWhere, name: parentName } = step.parent;
  const { places } = pipeline;
  const namespaceFd = step.where === parentWhere ? undefined : places.at(step.where)?.fd;
  const link = {
    name: step.name,
    parentIndex: pipeline.indexOrThrow(parentWhere, parentName),
    parentName,
    detail: step.detail,
    group: LINK_GROUP_BERTH,
    ...("mtu" in step && step.mtu !== undefined ? { mtu: step.mtu } : {}),
    ...(step.mac === undefined ? {} : { mac: step.mac }),
  };
  if (namespaceFd === undefined) {
    pipeline.send(parentWhere, newSubInterface(link), (error) => linkRefused(step, error, pipeline));
    return;
  }
  const acted = pipeline.actsLater();
  pipeline.send(parentWhere, newSubInterface({ ...link, namespaceFd }), (error) => {
    const to = places.at(step.where)?.netlink;
    const taken = to === undefined || findLink(to, step.name) !== undefined;
    if (error.errno !== Errno.EEXIST || taken) return linkRefused(step, error, pipeline);
    const refusal = createAndRename({ ...link, namespaceFd }, step, places, acted);
    return refusal === undefined ? undefined : linkRefused(step, refusal, pipeline);
  });
}

/** The name that a link has for a moment where it cannot be made under its own: nobody else's, and known to who undoes it. */
function passingName(step: LinkStep | AccessLinkStep): string {
  return `berth${Bun.hash.xxHash32(`${step.name} ${step.mac ?? ""} ${step.parent.name}`).toString(16)}`;
}

/**
 * Creates a link under a passing name, and gives it its own. Kernels before 6.14 refuse a name that is taken where the
 * request comes from, as the host's eth0, though the link is to be elsewhere (rtnl_newlink in net/core/rtnetlink.c).
 * @returns the refusal
 */
function createAndRename(
  link: NewSubInterface,
  step: LinkStep | AccessLinkStep,
  places: Places,
  acted: () => void,
): SysError | undefined {
  const [from, to] = [places.at(step.parent.where)?.netlink, places.at(step.where)?.netlink];
  if (from === undefined || to === undefined) return undefined;
  const name = passingName(step);
  const request = newSubInterface({ ...link, name });
  const [refusal] = from.batch([{ ...request, what: request.what.replace(name, step.name) }]);
  if (refusal !== undefined) return refusal;
  acted();
  const made = findLink(to, name);
  return made === undefined ? undefined : to.batch([renameLink(made.index, name, step.name)])[0];
}

/** A sub-interface's properties as text; the broadcast queue is left out: the kernel shows the parent's longest. */
function describeDetail(detail: SubInterface | undefined): Map<string, string> {
  const entries = Object.entries(detail ?? {}).filter(([key]) => key !== "kind" && key !== "broadcastQueueLength");
  return new Map(entries.map(([key, value]) => [key, Array.isArray(value) ? value.join(" ") : String(value)]));
}

/** What differs between a link and its step. */
export function differences(link: Link, step: LinkStep | AccessLinkStep): string[] {
  const found: string[] = [];
  const expect = (what: string, planned: string | number | undefined, actual: string | number | undefined): void => {
    if (planned !== undefined && planned !== actual)
      found.push(`link ${step.name}: ${what} is ${actual ?? "unknown"}, planned was ${planned}`);
  };
  expect("kind", step.detail.kind, link.kind);
  expect("MAC", step.mac, link.mac);
  if ("mtu" in step) expect("MTU", step.mtu, link.mtu);
  const [planned, actual] = [describeDetail(step.detail), describeDetail(link.detail)];
  for (const [key, value] of planned) expect(key, value, actual.get(key));
  return found;
}

/** The type of step `link`. */
export const link: StepType<LinkStep> = {
  apply(step, pipeline) {
    create(step, pipeline);
    // the kernel ignores an alias in the message that creates a link
    if (step.alias !== undefined) pipeline.send(step.where, changeLink(step.name, { alias: step.alias }));
  },

  mend(step, pipeline) {
    const nl = pipeline.settled(step.where);
    const present = nl === undefined ? undefined : findLink(nl, step.name);
    if (present === undefined) {
      const other = nl === undefined ? undefined : renamed(nl, step);
      if (other !== undefined) {
        throw new Failure("differs", `make link ${step.name} anew: it is there, and is called ${other.name} now`, {
          advice: `Give it its name back (ip link set dev ${quote(other.name)} name ${quote(step.name)}), or detach it and attach it again.`,
        });
      }
      create(step, pipeline);
      return;
    }
    const { mac, mtu } = step;
    const change = { ...(mac === undefined ? {} : { mac }), ...(mtu === undefined ? {} : { mtu }) };
    if (present.kind === step.detail.kind && present.group === LINK_GROUP_BERTH) {
      pipeline.send(step.where, changeLink(step.name, change));
    }
  },

  undo(step, pipeline) {
    const nl = pipeline.settled(step.where);
    for (const { index, name } of nl === undefined ? [] : madeFor(nl, step))
      pipeline.send(step.where, deleteLink(index, name), tolerating(Errno.ENODEV));
  },

  verify(step, places) {
    const nl = places.at(step.where)?.netlink;
    const present = nl === undefined ? undefined : findLink(nl, step.name);
    if (present !== undefined) return differences(present, step);
    const other = nl === undefined ? undefined : renamed(nl, step);
    return [`link ${step.name}: ${other === undefined ? "is not there" : `is called ${other.name} now`}`];
  },

  explain(step, shell) {
    const { where: parentWhere, name: parentName } = step.parent;
    // by way of another name, which works where an older kernel takes the host's names for its own too
    const elsewhere = step.where !== parentWhere && shell.netns !== undefined;
    const name = elsewhere ? passingName(step) : step.name;
    const words = [
      shell.ip(parentWhere),
      "link add link",
      quote(parentName),
      "name",
      quote(name),
      ...(elsewhere ? ["netns", shell.netns] : []),
      ...(step.mac === undefined ? [] : ["address", step.mac]),
      ...(step.mtu === undefined ? [] : ["mtu", `${step.mtu}`]),
      "group",
      `${LINK_GROUP_BERTH}`,
      "type",
      explainKind(step.detail),
    ];
    const renaming = `${shell.ip(step.where)} link set dev ${name} name ${quote(step.name)}`;
    const naming = `${shell.ip(step.where)} link set dev ${quote(step.name)} alias ${quote(step.alias ?? "")}`;
    return [words.join(" "), ...(name === step.name ? [] : [renaming]), ...(step.alias === undefined ? [] : [naming])];
  },

  explainUndo(step, shell) {
    return [`${shell.ip(step.where)} link delete dev ${quote(step.name)}`];
  },
};
