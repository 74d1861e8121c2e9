// Obstacles outside of what routes and links say: programs that have a tap device open, and firewalls. To look for them means
// to read the open files of all programs and whole rule sets: an ADD does not.
import { type StrictChain, strictChains } from "../kernel/firewall.ts";
import { describeTapUsers } from "../kernel/taps.ts";
import type { Plan } from "../plan/plan.ts";
import { accessRoutes, type Attached } from "./obstacles.ts";

function linkStep(plan: Plan): { kind: string; name: string } | undefined {
  const step = plan.find((s) => s.type === "link");
  return step?.type === "link" ? { kind: step.detail.kind, name: step.name } : undefined;
}

/**
 * Links whose frames some program takes by their tap device: the access link, or the attachment's own link where it has
 * addresses of its own. Else it is a virtual machine's, for which the device is made.
 */
export function takenTaps({ plan, places, allocation }: Attached): string[] {
  const access = new Set(accessRoutes(plan).flatMap((s) => (s.where === "host" ? [s.link] : [])));
  const found = [...access].map((link): [string, string, string | undefined] => [
    "access link",
    link,
    describeTapUsers(link),
  ]);
  const own = linkStep(plan);
  const guests = plan.some((s) => s.type === "tap");
  if (own?.kind === "macvtap" && !guests && allocation.ips.length > 0 && places.container !== undefined)
    found.push(["link", own.name, describeTapUsers(own.name, places.container.namespace)]);
  return found.flatMap(([what, name, taken]) => (taken === undefined ? [] : [`${what} ${name}: ${taken}`]));
}

/** Firewalls that let host and attachment talk only where a rule of theirs says so. */
export function strictFirewalls({ plan, places }: Attached): string[] {
  const access = accessRoutes(plan).find((s) => s.where === "host");
  if (access === undefined) return [];
  return [
    ...strictChains().map((chain) => describeChain(chain, "the host's", access.link)),
    ...(places.container === undefined
      ? []
      : strictChains(places.container.namespace).map((c) =>
          describeChain(c, "the container's", linkStep(plan)?.name ?? ""),
        )),
  ];
}

/** A strict chain, and what it means for a link. */
export function describeChain({ tool, name, hook }: StrictChain, whose: string, link: string): string {
  const incoming = hook === "input" || hook === "prerouting";
  return `${whose} firewall (${tool} ${name}) drops what no rule of it accepts: ${incoming ? `what comes in by ${link}` : `what goes out by ${link}`} needs one`;
}
