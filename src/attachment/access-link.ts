// The access link: the one that Berth makes for a parent, or a user's.
import { randomMac } from "../address/mac.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import { findLink, type Link, listLinks } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { LINK_GROUP_BERTH } from "../kernel/protocol.ts";
import { describeTapUsers } from "../kernel/taps.ts";
import type { AccessLinkStep, UpStep } from "../plan/step.ts";
import { Failure } from "../report/failure.ts";
import { machineId } from "./machine.ts";

/** What carries host access on the host's side. */
export interface AccessLink {
  readonly link: string;
  readonly mac: string;
  /** The step that makes or sets up the access link; absent where it is the user's and up. */
  readonly prepare?: AccessLinkStep | UpStep;
}

const MAX_NAME = 15;

/** The name of the access link that Berth makes for a parent: within 15 characters, unique by a hash where it is cut. */
function accessLinkName(parent: string): string {
  const whole = `berth-${parent}`;
  if (whole.length <= MAX_NAME) return whole;
  const hash = Bun.hash.xxHash32(parent).toString(36).padStart(7, "0").slice(-5);
  return `${whole.slice(0, MAX_NAME - 1 - hash.length)}-${hash}`;
}

/**
 * The MAC of the access link that Berth makes: the same on this machine for this parent, after a reboot too. Machines with
 * one identity, or none, differ by their parents' MACs.
 */
function accessLinkMac(parent: Link): string {
  const hash = Bun.hash.xxHash64(`${machineId()} berth access link ${parent.name} ${parent.mac ?? ""}`);
  return randomMac(new Uint8Array(BigUint64Array.of(hash).buffer));
}

/** The access link that Berth makes for attachments of this sort. */
export function ownAccessLink(detail: SubInterface, parent: Link, present?: Link): AccessLink {
  const link = accessLinkName(parent.name);
  const shared = detail.kind === "ipvlan";
  // one that is there keeps its MAC, whatever the machine's identity is by now: others' neighbour entries say so
  const own = present?.group === LINK_GROUP_BERTH && present.kind === "macvlan" ? present.mac : undefined;
  const mac = shared ? (parent.mac ?? "") : (own ?? accessLinkMac(parent));
  return {
    link,
    mac,
    prepare: {
      type: "access-link",
      where: "host",
      name: link,
      parent: { name: parent.name, where: "host" },
      detail: shared ? detail : { kind: "macvlan", mode: "bridge" },
      ...(shared ? {} : { mac }),
    },
  };
}

/** {@link ownAccessLink} beside what is there. Throws `SysError`. */
export function findOwnAccessLink(nl: Netlink, detail: SubInterface, parent: Link): AccessLink {
  return ownAccessLink(detail, parent, findLink(nl, accessLinkName(parent.name)));
}

/**
 * A user's link as the access link. Throws `Failure` (`config`) where it cannot carry host access, `SysError`.
 */
export function usersAccessLink(nl: Netlink, name: string, detail: SubInterface, parent: Link): AccessLink {
  const bad = (why: string, advice: string): never => {
    throw new Failure("config", `use ${name} as the access link: ${why}`, { advice });
  };
  const making = `Make one with "ip link add link ${parent.name} name ${name} type ${detail.kind === "ipvlan" ? `ipvlan mode ${detail.mode}` : "macvlan mode bridge"}", or let Berth make one ("auto").`;
  const link = findLink(nl, name) ?? bad("there is no such link", making);
  const fits = detail.kind === "ipvlan" ? ["ipvlan"] : ["macvlan", "macvtap"];
  if (link.detail === undefined || !fits.includes(link.detail.kind)) {
    return bad(`it is a ${link.kind ?? "NIC"}, and must be a ${fits.join(" or ")} of ${parent.name}`, making);
  }
  if (link.parentIndex !== parent.index || link.parentElsewhere) {
    const other = listLinks(nl).find((l) => l.index === link.parentIndex)?.name ?? "a link in another namespace";
    bad(`its parent is ${other}, the attachment's is ${parent.name}`, making);
  }
  if ("mode" in link.detail && link.detail.kind !== "ipvlan" && link.detail.mode !== "bridge") {
    bad(
      `its mode is ${link.detail.mode}, and must be bridge`,
      `Change it: ip link set dev ${name} type ${link.detail.kind} mode bridge`,
    );
  }
  if (link.detail.kind === "ipvlan" && detail.kind === "ipvlan" && link.detail.mode !== detail.mode) {
    bad(`its mode is ${link.detail.mode}, the attachment's is ${detail.mode}: a parent has one`, making);
  }
  const taken = link.kind === "macvtap" ? describeTapUsers(name) : undefined;
  if (taken !== undefined) {
    bad(taken, 'Use a spare macvtap or macvlan that no virtual machine uses, or let Berth make one ("auto").');
  }
  return {
    link: name,
    mac: link.mac ?? bad("it has no MAC", making),
    ...(link.up ? {} : { prepare: { type: "up", where: "host", link: name } as const }),
  };
}
