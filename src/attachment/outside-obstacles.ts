// Obstacles outside of what routes and links say: programs that have a tap device open, and firewalls. To look for them means
// to read the open files of all programs and whole rule sets: an ADD does not.
import { type StrictChain, strictChains } from "../kernel/firewall.ts";
import { describeTapUsers, describeUsers, tapDevice, usersOfFormer } from "../kernel/taps.ts";
import type { Plan } from "../plan/plan.ts";
import { accessRoutes, type Attached } from "./obstacles.ts";

function linkStep(plan: Plan): { kind: string; name: string } | undefined {
  const step = plan.find((s) => s.type === "link");
  return step?.type === "link" ? { kind: step.detail.kind, name: step.name } : undefined;
}

/** Programs of virtual machines that hold the device of a link that was there before: its parent was made anew. */
function formerTaps({ plan, places }: Attached): string[] {
  const step = plan.find((s) => s.type === "tap");
  // by paths in a container's root no program is found: others have the same ones
  if (step?.type !== "tap" || step.process !== undefined) return [];
  const device = tapDevice(step.tapOf, places.container?.namespace);
  const users = device === undefined ? [] : usersOfFormer(step.path, device);
  if (users.length === 0) return [];
  return [
    `link ${step.tapOf}: ${describeUsers(users)} has the device of a link that is gone, and reaches nobody: start the virtual machine anew`,
  ];
}

/**
 * Links whose frames some program takes by their tap device: the access link, or the attachment's own link where it has
 * addresses of its own. Else it is a virtual machine's, for which the device is made, and whose program must have it.
 */
export function takenTaps(attached: Attached): string[] {
  const { plan, places, allocation } = attached;
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
  const taken = found.flatMap(([what, name, users]) => (users === undefined ? [] : [`${what} ${name}: ${users}`]));
  return [...taken, ...formerTaps(attached)];
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
