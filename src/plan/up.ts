import { Errno } from "../kernel/errno.ts";
import { changeLink, findLink } from "../kernel/links.ts";
import { tolerating } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { UpStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** The type of step `up`. */
export const up: StepType<UpStep> = {
  apply(step, pipeline) {
    const alias = step.alias === undefined ? {} : { alias: step.alias };
    pipeline.send(step.where, changeLink(step.link, { up: true, ...alias }));
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
    return link.up ? [] : [`link ${step.link}: is down`];
  },

  explain(step, shell) {
    const alias = step.alias === undefined ? "" : ` alias ${quote(step.alias)}`;
    return [`${shell.ip(step.where)} link set dev ${quote(step.link)}${alias} up`];
  },

  explainUndo() {
    return [];
  },
};
