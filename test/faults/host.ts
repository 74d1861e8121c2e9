// The host that faults happen on: two LANs, an attachment that must not be touched, and its whole state as one text.
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { formatCidr } from "../../src/address/cidr.ts";
import { listRecords } from "../../src/attachment/record.ts";
import { repair } from "../../src/attachment/repair.ts";
import { listAddresses } from "../../src/kernel/addresses.ts";
import { listLinks } from "../../src/kernel/links.ts";
import { tryLockFile } from "../../src/kernel/locks.ts";
import { listNeighbours } from "../../src/kernel/neighbours.ts";
import { listRoutes } from "../../src/kernel/routes.ts";
import { listRules } from "../../src/kernel/rules.ts";
import { call, type Reply } from "../cni/call.ts";
import { HOST, TestWorld } from "../world.ts";

const STATES = ["/run/berth", "/var/lib/cni/networks", "/var/lib/berth"];
/** What every change touches, and what says nothing about who has what. */
const INCIDENTAL = /\/(locks\/[^/]+|lock|last_reserved_ip\.\d+)$|^\/run\/berth\/errors/u;

/** A network on which attachments are tried. */
export interface Network {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Where another attachment lives meanwhile, which must not be touched. */
  readonly beside: Readonly<Record<string, unknown>>;
}

/** Ranges without the host's own addresses, which would be set aside when it is their turn. */
function dualStack(net: number): Readonly<Record<string, unknown>> {
  const [four, six] = [`10.${net}.0`, `fd${net}:`];
  return {
    type: "host-local",
    ranges: [
      [{ subnet: `${four}.0/24`, rangeStart: `${four}.100`, rangeEnd: `${four}.119` }],
      [{ subnet: `${six}:/64`, rangeStart: `${six}:100`, rangeEnd: `${six}:11f` }],
    ],
  };
}

function config(name: string, parent: string, net: number, rest: Record<string, unknown>): Record<string, unknown> {
  return { cniVersion: "1.1.0", name, type: "macvlan", master: parent, ipam: dualStack(net), ...rest };
}

const ownTable = config("second", "eth1", 77, { hostAccess: { table: "own" } });
const macvtap = config("tap", "eth1", 77, { type: "macvtap" });

/** The networks, by what is particular about them. */
export const networks: readonly Network[] = [
  {
    name: "macvlan with host access, alone on its parent",
    config: config("first", "eth1", 77, { hostrouteif: "auto" }),
    beside: config("elsewhere", "eth2", 78, { hostAccess: { table: "own" } }),
  },
  { name: "macvlan with host access in its own table, beside another", config: ownTable, beside: ownTable },
  { name: "macvtap", config: macvtap, beside: macvtap },
];

/** All files below a directory that say who has what, with their contents. */
function filesIn(directory: string): [string, string][] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => `${entry.parentPath}/${entry.name}`)
    .filter((path) => !INCIDENTAL.test(path))
    .toSorted()
    .map((path) => [path, readFileSync(path, "utf8")]);
}

/** A host with `eth1` and `eth2`, the namespace `c` for what is tried, and `other`, whose attachment lives. */
export class FaultHost extends TestWorld {
  readonly network: Network;

  constructor(network: Network) {
    super();
    this.network = network;
    for (const directory of [...STATES, "/run/docker"]) rmSync(directory, { recursive: true, force: true });
    this.sysctl(HOST, "net/ipv6/conf/default/accept_dad", "0");
    for (const [lan, nic, net] of [
      ["lan1", "eth1", 77],
      ["lan2", "eth2", 78],
    ] as const) {
      this.lan(lan);
      this.plug(lan, HOST, nic, `10.${net}.0.5/24`, `fd${net}::5/64`);
    }
    this.container("c");
    this.container("other");
  }

  /** Makes a container's namespace, whose addresses are there at once. */
  container(name: string): void {
    this.namespace(name);
    this.sysctl(name, "net/ipv6/conf/default/accept_dad", "0");
  }

  /** The attachment that must not be touched. */
  async attachOther(): Promise<void> {
    await this.mustSucceed("ADD", this.network.beside, "other");
    for (const record of listRecords(() => {})) await repair(record); // which says in the record that it was here
  }

  /** The configuration of a call of the network. */
  configOf(verb: string): Readonly<Record<string, unknown>> {
    const valid = [{ containerID: "other", ifname: "eth0" }];
    return verb === "GC" ? { ...this.network.config, "cni.dev/valid-attachments": valid } : this.network.config;
  }

  /** The environment of a call. */
  environmentOf(verb: string, container = "c"): Record<string, string> {
    return {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: container,
      CNI_NETNS: `/run/netns/${container}`,
      CNI_IFNAME: "eth0",
      CNI_PATH: "/opt/cni/bin",
      PATH: process.env["PATH"] ?? "",
    };
  }

  /** A call in this process that nothing happens to. Throws where it answers an error. */
  async mustSucceed(verb: string, json: unknown = this.configOf(verb), container = "c"): Promise<Reply> {
    const reply = await call(verb, json, this.environmentOf(verb, container));
    if (reply.exitCode !== 0) throw new Error(`${verb} afterwards answers ${reply.text}`);
    return reply;
  }

  /** Everything that attachments consist of: links, addresses, routes, rules, permanent neighbours, records, reservations. */
  state(): string {
    const namespaces = [HOST, "c", "other"].map((name) => [name, this.#kernelState(name)]);
    return JSON.stringify([namespaces, STATES.flatMap(filesIn)], undefined, 1);
  }

  #kernelState(namespace: string): unknown {
    const nl = this.netlink(namespace);
    const links = listLinks(nl);
    const nameOf = (index: number | undefined): string => links.find((l) => l.index === index)?.name ?? "?";
    const families = [4, 6] as const;
    return {
      // what the kernel numbers anew, and what follows the other end of a cable
      links: sorted(links.map((l) => ({ ...l, index: 0, parentIndex: 0, masterIndex: 0, state: "", carrier: false }))),
      addresses: sorted(listAddresses(nl).map((a) => `${formatCidr(a.cidr)} on ${nameOf(a.linkIndex)}`)),
      routes: sorted(
        families.flatMap((family) =>
          listRoutes(nl, { family }).map(({ linkIndex, ...route }) => ({ ...route, link: nameOf(linkIndex) })),
        ),
      ),
      rules: sorted(families.flatMap((family) => listRules(nl, family))),
      neighbours: sorted(
        links.flatMap((link) =>
          listNeighbours(nl, link.index)
            .filter((n) => n.permanent)
            .map(({ ip, mac, protocol }) => ({ ip, mac, protocol, link: link.name })),
        ),
      ),
    };
  }
}

function sorted(list: readonly unknown[]): string[] {
  return list.map((v) => JSON.stringify(v)).toSorted();
}

/** The lock files that somebody holds. */
export function heldLocks(): string[] {
  const locks = STATES.flatMap((directory) =>
    existsSync(directory)
      ? readdirSync(directory, { recursive: true, encoding: "utf8" }).map((name) => `${directory}/${name}`)
      : [],
  ).filter((path) => /\/(locks\/[^/]+|lock)$/u.test(path));
  return locks.filter((path) => {
    using lock = tryLockFile(path);
    return lock === undefined;
  });
}
