// Finding the parent: by name, by what it is, or by the default route.
import { contains, formatCidr, networkOf, parseCidr } from "../address/cidr.ts";
import { parseMac } from "../address/mac.ts";
import { listAddresses } from "../kernel/addresses.ts";
import { findLink, findLinkByIndex, type Link, listLinks } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { LINK_GROUP_BERTH } from "../kernel/protocol.ts";
import { listRoutes, TABLE_MAIN } from "../kernel/routes.ts";
import { Failure } from "../report/failure.ts";
import type { NetworkConfig } from "./config.ts";

type Master = NetworkConfig["master"];

/** The parent in words, as errors name it. */
export function describeParent(master: Master): string {
  if (master === undefined) return "the default route's link";
  if (typeof master === "string") return master;
  if ("mac" in master) return `the link with MAC ${master.mac}`;
  if ("subnet" in master) return `the link with an address in ${master.subnet}`;
  return `the first of ${master.names.join(", ")}`;
}

function none(master: Master, advice: string): never {
  throw new Failure("config", `find the parent, ${describeParent(master)}: there is no such link`, { advice });
}

function one(master: Master, found: readonly Link[], advice: string): Link {
  const [first, second] = found;
  if (first === undefined) return none(master, advice);
  if (second === undefined) return first;
  throw new Failure(
    "config",
    `find the parent, ${describeParent(master)}: ${found.map((l) => l.name).join(" and ")} fit`,
    {
      advice: "Name the one that is meant.",
    },
  );
}

/** The link that a configuration's `master` means in the socket's namespace. Throws `Failure` (`config`), `SysError`. */
export function findParent(nl: Netlink, master: Master): Link {
  if (master === undefined) return byDefaultRoute(nl);
  if (typeof master === "string") {
    return findLink(nl, master) ?? none(master, 'Name an existing link as "master" ("ip link" lists them).');
  }
  if ("names" in master) {
    for (const name of master.names) {
      const link = findLink(nl, name);
      if (link !== undefined) return link;
    }
    return none(master, 'Name at least one existing link ("ip link" lists them).');
  }
  if ("mac" in master) {
    const mac = parseMac(master.mac);
    // a sub-interface in passthru mode, an ipvlan or a vlan has its parent's MAC
    const found = listLinks(nl).filter((l) => l.mac === mac && l.detail === undefined);
    return one(master, found, '"ip link" shows the MACs of all links.');
  }
  const given = parseCidr(master.subnet);
  const subnet = given === undefined ? undefined : networkOf(given);
  const indexes = new Set(
    listAddresses(nl)
      .filter((a) => subnet !== undefined && contains(subnet, a.cidr.ip))
      .map((a) => a.linkIndex),
  );
  // an access link may have the host's addresses too
  const found = listLinks(nl).filter((l) => indexes.has(l.index) && l.group !== LINK_GROUP_BERTH);
  return one(
    master,
    found,
    `"ip address" shows the addresses; ${subnet === undefined ? "" : formatCidr(subnet)} holds none of them.`,
  );
}

function byDefaultRoute(nl: Netlink): Link {
  for (const family of [4, 6] as const) {
    const routes = listRoutes(nl, { family, table: TABLE_MAIN })
      .filter((r) => r.dst.prefix === 0 && r.linkIndex !== undefined)
      .toSorted((a, b) => a.metric - b.metric);
    const index = routes[0]?.linkIndex;
    const link = index === undefined ? undefined : findLinkByIndex(nl, index);
    if (link !== undefined) return link;
  }
  throw new Failure("config", "find the parent: there is no default route, and no master is named", {
    advice: 'Name the parent as "master".',
  });
}
