import { ipFamily } from "../address/ip.ts";
import { announceIpv4 } from "../kernel/arp.ts";
import { SysError } from "../kernel/errno.ts";
import { findLink } from "../kernel/links.ts";
import { announceIpv6 } from "../kernel/ndisc.ts";
import type { Places } from "./places.ts";
import { refused } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { AnnounceStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/**
 * Tells the LAN of a link that addresses are here, once: gratuitous ARP and unsolicited neighbour advertisements. Where
 * the link is gone nothing is said. Throws `Failure` (`kernel`).
 */
export function announceAddresses(places: Places, { where, link: name, addresses }: Omit<AnnounceStep, "type">): void {
  const place = places.at(where);
  const link = place === undefined ? undefined : findLink(place.netlink, name);
  if (place === undefined || link === undefined) return;
  try {
    for (const ip of addresses) (ipFamily(ip) === 4 ? announceIpv4 : announceIpv6)(place.namespace, link, ip);
  } catch (e) {
    throw e instanceof SysError ? refused(e) : e;
  }
}

/** The type of step `announce`. */
export const announce: StepType<AnnounceStep> = {
  follows: true,

  apply(step, pipeline) {
    pipeline.flushOrThrow(); // the addresses must be there
    announceAddresses(pipeline.places, step);
  },

  undo() {
    // what was said cannot be taken back: the next holder announces itself
  },

  verify() {
    return [];
  },

  explain(step, shell) {
    return step.addresses.map((ip) =>
      ipFamily(ip) === 4
        ? `${shell.within(step.where)}arping -U -q -I ${quote(step.link)} -c 1 ${ip}`
        : `${shell.within(step.where)}ndsend ${ip} ${quote(step.link)}`,
    );
  },

  explainUndo() {
    return [];
  },
};
