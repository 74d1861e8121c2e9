import { changeLink, findLink } from "../kernel/links.ts";
import { quote } from "./shell.ts";
import type { DownStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** The type of step `down`. */
export const down: StepType<DownStep> = {
  apply(step, pipeline) {
    pipeline.send(step.where, changeLink(step.link, { up: false }));
  },

  undo() {
    // a link is down when it is made, and goes with its link step
  },

  verify(step, places) {
    const nl = places.at(step.where)?.netlink;
    const link = nl === undefined ? undefined : findLink(nl, step.link);
    if (link === undefined) return [`link ${step.link}: is not there`];
    return link.up ? [`link ${step.link}: is up, while its virtual machine is elsewhere`] : [];
  },

  explain(step, shell) {
    return [`${shell.ip(step.where)} link set dev ${quote(step.link)} down`];
  },

  explainUndo() {
    return [];
  },
};
