import { Errno } from "../kernel/errno.ts";
import { changeLink, findLink } from "../kernel/links.ts";
import { tolerating } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { UpStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** What makes a link a virtual machine's alone: the host is not heard on it. */
const asGuests = { arp: false, allMulticast: true } as const;

/** The type of step `up`. */
export const up: StepType<UpStep> = {
  apply(step, pipeline) {
    const alias = step.alias === undefined ? {} : { alias: step.alias };
    pipeline.send(step.where, changeLink(step.link, { up: true, ...alias, ...(step.guest === true ? asGuests : {}) }));
  },

  /**
   * Berth's own link goes with its link step. The user's is set down again only when the plan failed a moment ago: later,
   * others may rely on it.
   */
  undo(step, pipeline, occasion) {
    if (step.alias !== undefined || occasion === "detach") return;
    pipeline.send(step.where, changeLink(step.link, { up: false }), tolerating(Errno.ENODEV));
  },

  verify(step, places) {
    const nl = places.at(step.where)?.netlink;
    const link = nl === undefined ? undefined : findLink(nl, step.link);
    if (link === undefined) return [`link ${step.link}: is not there`];
    const found = link.up ? [] : [`link ${step.link}: is down`];
    if (step.guest !== true) return found;
    if (link.arp) found.push(`link ${step.link}: the host answers ARP on it`);
    if (!link.allMulticast) found.push(`link ${step.link}: lets in only multicast of groups that the host has joined`);
    return found;
  },

  explain(step, shell) {
    const alias = step.alias === undefined ? "" : ` alias ${quote(step.alias)}`;
    const guest = step.guest === true ? " arp off allmulticast on" : "";
    return [`${shell.ip(step.where)} link set dev ${quote(step.link)}${alias}${guest} up`];
  },

  explainUndo() {
    return [];
  },
};
