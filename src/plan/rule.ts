import { formatCidr, hostCidr } from "../address/cidr.ts";
import { ipFamily } from "../address/ip.ts";
import { Errno } from "../kernel/errno.ts";
import { RTPROT_BERTH } from "../kernel/protocol.ts";
import { deleteRule, listRules, newRule, type Rule } from "../kernel/rules.ts";
import { tolerating } from "./pipeline.ts";
import type { RuleStep } from "./step.ts";
import type { Shell, StepType } from "./step-type.ts";

function ruleOf({ from, to, table, priority }: RuleStep): Rule {
  return {
    family: ipFamily(from ?? to?.ip ?? ""),
    table,
    priority,
    ...(from === undefined ? {} : { from: hostCidr(from) }),
    ...(to === undefined ? {} : { to }),
  };
}

/** Its selectors as `ip rule` takes them. */
function selectors({ from, to }: Rule): string {
  return [
    ...(from === undefined ? [] : [`from ${formatCidr(from)}`]),
    ...(to === undefined ? [] : [`to ${formatCidr(to)}`]),
  ].join(" ");
}

function command(verb: "add" | "delete", step: RuleStep, shell: Shell): string {
  const own = ruleOf(step);
  return `${shell.ip(step.where)} -${own.family} rule ${verb} priority ${own.priority} ${selectors(own)} table ${own.table} protocol ${RTPROT_BERTH}`;
}

/** The type of step `rule`. */
export const rule: StepType<RuleStep> = {
  apply(step, pipeline) {
    // the same rule of Berth's is a remainder of an earlier attachment: it says the same
    pipeline.send(step.where, newRule(ruleOf(step)), tolerating(Errno.EEXIST));
  },

  undo(step, pipeline) {
    pipeline.send(step.where, deleteRule(ruleOf(step)), tolerating(Errno.ENOENT, Errno.EAFNOSUPPORT));
  },

  verify(step, places) {
    const nl = places.at(step.where)?.netlink;
    const own = ruleOf(step);
    const wanted = selectors(own);
    const found =
      nl !== undefined &&
      listRules(nl, own.family).some(
        (r) => r.table === own.table && r.priority === own.priority && selectors(r) === wanted,
      );
    return found ? [] : [`rule ${wanted}, table ${step.table}: is not there`];
  },

  explain(step, shell) {
    return [command("add", step, shell)];
  },

  explainUndo(step, shell) {
    return [command("delete", step, shell)];
  },
};
