import { ipFamily } from "../address/ip.ts";
import { probeIpv4 } from "../kernel/arp.ts";
import { findLink } from "../kernel/links.ts";
import { probeIpv6 } from "../kernel/ndisc.ts";
import { AddressConflict } from "./conflict.ts";
import { orRefused } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { ProbeStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** The type of step `probe`. */
export const probe: StepType<ProbeStep> = {
  apply(step, pipeline) {
    pipeline.flushOrThrow(); // the link must be there and up
    const place = pipeline.places.at(step.where);
    const link = place === undefined ? undefined : findLink(place.netlink, step.link);
    if (place === undefined || link === undefined) return; // the next step says so
    for (const ip of step.addresses) {
      const ask = ipFamily(ip) === 4 ? probeIpv4 : probeIpv6;
      for (let n = 0; n < step.probes; n++) {
        const holder = orRefused(() => ask(place.namespace, link, ip, step.waitMs));
        if (holder !== undefined) throw AddressConflict.onLan(ip, step.link, holder);
      }
    }
  },

  undo() {
    // asking changes nothing
  },

  verify() {
    return []; // the attachment has its addresses: it is the one who would answer
  },

  explain(step, shell) {
    const wait = Math.ceil((step.probes * step.waitMs) / 1000);
    return step.addresses.map((ip) =>
      ipFamily(ip) === 4
        ? `${shell.within(step.where)}arping -D -q -I ${quote(step.link)} -c ${step.probes} -w ${wait} ${ip} # 1: somebody has it`
        : `${shell.within(step.where)}ndisc6 -q -r ${step.probes} -w ${step.waitMs} ${ip} ${quote(step.link)} # 0: somebody has it`,
    );
  },

  explainUndo() {
    return [];
  },
};
