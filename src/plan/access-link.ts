import { formatCidr } from "../address/cidr.ts";
import { listAddresses, newAddress } from "../kernel/addresses.ts";
import { Errno } from "../kernel/errno.ts";
import { changeLink, deleteLink, findLink, type Link } from "../kernel/links.ts";
import { listNeighbours } from "../kernel/neighbours.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { LINK_GROUP_BERTH, RTPROT_BERTH } from "../kernel/protocol.ts";
import { listRoutes } from "../kernel/routes.ts";
import { readSysctl, writeSysctl } from "../kernel/sysctls.ts";
import { Failure } from "../report/failure.ts";
import { create, differences, explainKind } from "./link.ts";
import { tolerating } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { AccessLinkStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** How the host's other neighbours must not notice the link: no ARP, no multicast, no IPv6 address of its own. */
const quiet = { arp: false, multicast: false, ipv6Addresses: false } as const;

function acceptRa(step: AccessLinkStep): string {
  return `net/ipv6/conf/${step.name}/accept_ra`;
}

function aliasOf(step: AccessLinkStep): string {
  return `berth:access:${step.parent.name}`;
}

/** True while a route or neighbour of Berth's leads through the link: some attachment still needs it. */
function inUse(nl: Netlink, linkIndex: number): boolean {
  const routes = ([4, 6] as const).some(
    (family) => listRoutes(nl, { family, linkIndex, protocol: RTPROT_BERTH }).length > 0,
  );
  return routes || listNeighbours(nl, linkIndex).some((n) => n.protocol === RTPROT_BERTH);
}

/** The type of step `access-link`. */
export const accessLink: StepType<AccessLinkStep> = {
  apply(step, pipeline) {
    const nl = pipeline.places.host.netlink;
    const present = findLink(nl, step.name);
    if (present !== undefined && (present.group !== LINK_GROUP_BERTH || present.kind !== step.detail.kind)) {
      throw new Failure("exists", `make the access link ${step.name}: a link of that name is there and not Berth's`, {
        advice: `Name it as the access link if it shall carry host access, or remove or rename it.`,
      });
    }
    if (present === undefined) create(step, pipeline);
    // in one message the kernel would set it up first, and give it a link-local address
    pipeline.send("host", changeLink(step.name, quiet));
    if (present === undefined) {
      pipeline.flushOrThrow();
      // neither "multicast off" nor "addrgenmode none" keeps router advertisements from giving it an address (kernel 6.18)
      if (readSysctl(acceptRa(step)) !== undefined) writeSysctl(acceptRa(step), "0");
    }
    pipeline.send("host", changeLink(step.name, { up: true, alias: aliasOf(step) }));
    for (const cidr of step.addresses ?? []) {
      const index = pipeline.indexOrThrow("host", step.name);
      pipeline.send("host", newAddress(index, step.name, cidr, "off"), tolerating(Errno.EEXIST));
    }
  },

  undo(step, pipeline) {
    const nl = pipeline.settled("host");
    const present: Link | undefined = nl === undefined ? undefined : findLink(nl, step.name);
    if (nl === undefined || present === undefined) return;
    const own = present.group === LINK_GROUP_BERTH && present.kind === step.detail.kind;
    if (!own || inUse(nl, present.index)) return;
    pipeline.send("host", deleteLink(present.index, step.name), tolerating(Errno.ENODEV));
  },

  verify(step, places) {
    const present = findLink(places.host.netlink, step.name);
    if (present === undefined) return [`access link ${step.name}: is not there`];
    const addresses = step.addresses === undefined ? [] : listAddresses(places.host.netlink, present.index);
    const there = new Set(addresses.map((a) => a.cidr.ip));
    const missing = (step.addresses ?? []).filter((cidr) => !there.has(cidr.ip));
    return [
      ...differences(present, step),
      ...(present.up ? [] : [`link ${step.name}: is down`]),
      ...missing.map((cidr) => `address ${formatCidr(cidr)} on ${step.name}: is not there`),
    ];
  },

  explain(step) {
    const name = quote(step.name);
    const address = step.mac === undefined ? "" : ` address ${step.mac}`;
    return [
      `ip link add link ${quote(step.parent.name)} name ${name}${address} group ${LINK_GROUP_BERTH} type ${explainKind(step.detail)}`,
      `ip link set dev ${name} arp off multicast off addrgenmode none`,
      `sysctl -q -w ${quote(acceptRa(step))}=0`,
      `ip link set dev ${name} alias ${quote(aliasOf(step))} up`,
      ...(step.addresses ?? []).map((cidr) => `ip address add ${formatCidr(cidr)} dev ${name} nodad`),
    ];
  },

  explainUndo(step) {
    return [`# with the last attachment that uses it: ip link delete dev ${quote(step.name)}`];
  },
};
