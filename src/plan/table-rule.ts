import { Errno } from "../kernel/errno.ts";
import { RTPROT_BERTH } from "../kernel/protocol.ts";
import { listRoutes } from "../kernel/routes.ts";
import { deleteRule, listRules, newRule, type Rule } from "../kernel/rules.ts";
import { tolerating } from "./pipeline.ts";
import type { TableRuleStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

function ruleOf({ family, table, priority }: TableRuleStep): Rule {
  return { family, table, priority };
}

/** The type of step `table-rule`. */
export const tableRule: StepType<TableRuleStep> = {
  apply(step, pipeline) {
    pipeline.send("host", newRule(ruleOf(step)), tolerating(Errno.EEXIST)); // another attachment made it
  },

  undo(step, pipeline) {
    const nl = pipeline.settled("host");
    if (nl === undefined) return;
    const { family, table } = step;
    if (listRoutes(nl, { family, table, protocol: RTPROT_BERTH }).length > 0) return; // others need it
    pipeline.send("host", deleteRule(ruleOf(step)), tolerating(Errno.ENOENT, Errno.EAFNOSUPPORT));
  },

  verify({ family, table, priority }, places) {
    const there = listRules(places.host.netlink, family).some((r) => r.table === table && r.priority === priority);
    return there ? [] : [`rule to table ${table} (IPv${family}): is not there`];
  },

  explain({ family, table, priority }) {
    return [`ip -${family} rule add priority ${priority} table ${table} protocol ${RTPROT_BERTH}`];
  },

  explainUndo({ family, table, priority }) {
    return [`# with the last route in it: ip -${family} rule delete priority ${priority} table ${table}`];
  },
};
