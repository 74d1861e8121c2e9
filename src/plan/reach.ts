import { ipFamily } from "../address/ip.ts";
import { probeIpv4 } from "../kernel/arp.ts";
import { findLink } from "../kernel/links.ts";
import { probeIpv6 } from "../kernel/ndisc.ts";
import { Failure } from "../report/failure.ts";
import { orRefused } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { ReachStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** How long one request waits for its answer, milliseconds. */
const PATIENCE_MS = 200;

/** The type of step `reach`. */
export const reach: StepType<ReachStep> = {
  follows: true,

  apply(step, pipeline) {
    pipeline.flushOrThrow(); // the addresses must be there and the link up
    const place = pipeline.places.at(step.where);
    const link = place === undefined ? undefined : findLink(place.netlink, step.link);
    if (place === undefined || link === undefined) return; // an earlier step says so
    const start = performance.now();
    let silent = step.gateways;
    while (silent.length > 0) {
      const left = Math.ceil(start + step.timeoutMs - performance.now());
      if (left <= 0) break;
      silent = silent.filter(({ from, gateway }) => {
        const ask = ipFamily(gateway) === 4 ? probeIpv4 : probeIpv6;
        const mac = orRefused(() => ask(place.namespace, link, gateway, Math.min(left, PATIENCE_MS), from));
        return mac === undefined;
      });
    }
    for (const { from, gateway } of silent) {
      const sentence = `the gateway ${gateway} did not answer ${from} on ${step.link} within ${step.timeoutMs} ms`;
      if (step.required) {
        throw new Failure("busy", `wait for the network: ${sentence}`, {
          advice:
            "Look whether the network passes the attachment's frames, and whether the gateway is there; then try again.",
        });
      }
      pipeline.remark(`${sentence}: the network may not pass its frames yet`);
    }
  },

  undo() {
    // asking changes nothing
  },

  verify() {
    return []; // what is beyond the parent is not part of the plan
  },

  explain(step, shell) {
    const seconds = Math.ceil(step.timeoutMs / 1000);
    return step.gateways.map(({ from, gateway }) =>
      ipFamily(gateway) === 4
        ? `${shell.within(step.where)}arping -q -f -I ${quote(step.link)} -s ${from} -w ${seconds} ${gateway} # 0: it answers`
        : `${shell.within(step.where)}ndisc6 -q -1 -s ${from} -w ${step.timeoutMs} ${gateway} ${quote(step.link)} # 0: it answers`,
    );
  },

  explainUndo() {
    return [];
  },
};
