import { formatCidr, hostCidr } from "../address/cidr.ts";
import { ipFamily } from "../address/ip.ts";
import { Errno } from "../kernel/errno.ts";
import { RTPROT_BERTH } from "../kernel/protocol.ts";
import { deleteRule, listRules, newRule, type Rule } from "../kernel/rules.ts";
import { tolerating } from "./pipeline.ts";
import type { RuleStep } from "./step.ts";
import type { Shell, StepType } from "./step-type.ts";

function ruleOf(step: RuleStep): Rule {
  const { from, table, priority } = step;
  return { family: ipFamily(from), from: hostCidr(from), table, priority };
}

function command(verb: "add" | "delete", step: RuleStep, shell: Shell): string {
  const { from, table, priority } = step;
  const family = ipFamily(from) === 6 ? "-6" : "-4";
  return `${shell.ip(step.where)} ${family} rule ${verb} priority ${priority} from ${formatCidr(hostCidr(from))} table ${table}${shell.marks ? ` protocol ${RTPROT_BERTH}` : ""}`;
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
    const wanted = formatCidr(hostCidr(step.from));
    const found =
      nl !== undefined &&
      listRules(nl, ipFamily(step.from)).some(
        (r) =>
          r.table === step.table &&
          r.priority === step.priority &&
          r.from !== undefined &&
          formatCidr(r.from) === wanted,
      );
    return found ? [] : [`rule from ${wanted} to table ${step.table}: is not there`];
  },

  explain(step, shell) {
    return [command("add", step, shell)];
  },

  explainUndo(step, shell) {
    return [command("delete", step, shell)];
  },
};
