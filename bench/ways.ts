// The ways between a host and a task that are measured beside each other: by Berth's access link, and as others join them.
import { changeLink, newBridge, newVethPair } from "../src/kernel/links.ts";
import { HOST, type World } from "../src/lab/world.ts";
import { Attachment } from "./calls.ts";
import { buildHost } from "./host.ts";
import { berthPlugin, networkConfig } from "./plugins.ts";

/** A way between the host and a task of its own. */
export interface Way {
  readonly id: "macvlan" | "macvtap" | "veth" | "bridge";
  /** For the reader of a table. */
  readonly name: string;
  /** The task's namespace. */
  readonly namespace: string;
  readonly taskAddress: string;
  readonly hostAddress: string;
  /** The host's link that all its frames to the task leave by. */
  readonly hostLink: string;
}

/** The parent of the access link: the host's NIC on a LAN. */
export const PARENT = "lan0";

const ways: readonly Way[] = [
  {
    id: "macvlan",
    name: "access link, task by macvlan",
    namespace: "by-macvlan",
    taskAddress: "10.90.1.1",
    hostAddress: "10.90.0.2",
    hostLink: `berth-${PARENT}`,
  },
  {
    id: "macvtap",
    name: "access link, task by macvtap",
    namespace: "by-macvtap",
    taskAddress: "10.90.1.2",
    hostAddress: "10.90.0.2",
    hostLink: `berth-${PARENT}`,
  },
  {
    id: "veth",
    name: "veth pair",
    namespace: "by-veth",
    taskAddress: "10.93.0.2",
    hostAddress: "10.93.0.1",
    hostLink: "pair0",
  },
  {
    id: "bridge",
    name: "bridge and veth pair",
    namespace: "by-bridge",
    taskAddress: "10.94.0.2",
    hostAddress: "10.94.0.1",
    hostLink: "bridge0",
  },
];

/** Attaches a task with host access, by a CNI call of the executable. */
async function attach(way: Way, netns: string, berth: string): Promise<void> {
  const plugin = berthPlugin("berth", berth);
  const config = networkConfig("berth", way.namespace, PARENT, {
    type: way.id,
    hostrouteif: "auto",
    ipam: { type: "static", addresses: [{ address: `${way.taskAddress}/16` }] },
  });
  await new Attachment(plugin, { containerId: way.namespace, netns }, config).add();
}

/** A veth pair between host and task; `pair` is its end on the host. */
function pairUp(world: World, way: Way, pair: string): void {
  const [host, task] = [world.netlink(HOST), world.netlink(way.namespace)];
  const namespace = world.at(way.namespace);
  if (namespace === undefined) throw new Error(`${way.namespace} is no namespace of its own`);
  host.do(newVethPair(pair, "eth0", namespace.fd));
  host.do(changeLink(pair, { up: true }));
  task.do(changeLink("eth0", { up: true }));
  world.address(way.namespace, "eth0", `${way.taskAddress}/24`);
}

/** The usual bridge of container runtimes: it has the host's address, and the task's veth pair is a port of it. */
function bridgeUp(world: World, way: Way): void {
  const host = world.netlink(HOST);
  host.do(newBridge(way.hostLink));
  host.do(changeLink(way.hostLink, { up: true }));
  pairUp(world, way, "port0");
  host.do(changeLink("port0", { masterIndex: world.link(HOST, way.hostLink).index }));
}

/**
 * Builds a host on a LAN, and a task at the end of each way. Throws where Berth fails.
 * @param berth path of the executable
 */
export async function buildWays(berth: string): Promise<{ world: World; ways: readonly Way[] }> {
  const world = buildHost(PARENT);
  for (const way of ways) {
    const netns = world.namespace(way.namespace);
    if (way.id === "macvlan" || way.id === "macvtap") {
      await attach(way, netns, berth);
      continue;
    }
    if (way.id === "bridge") bridgeUp(world, way);
    else pairUp(world, way, way.hostLink);
    world.address(HOST, way.hostLink, `${way.hostAddress}/24`);
  }
  return { world, ways };
}
