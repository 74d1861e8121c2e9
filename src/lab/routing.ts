// The story of the host's agent and the task on another LAN: the problem, the two routes, the proofs.
import { listAddresses } from "../kernel/addresses.ts";
import { findLinkByIndex, listLinks } from "../kernel/links.ts";
import { lookUpRoute } from "../kernel/routes.ts";
import { callPlugin } from "./plugin.ts";
import { type LabOptions, untilInterrupted } from "./session.ts";
import { routingPicture } from "./picture.ts";
import { filesIn, type Proof, prove, proveNone, show, traces } from "./proofs.ts";
import type { Speakers, Spot } from "./talk.ts";
import { HOST, World } from "./world.ts";

/** The configuration of the story, to the character as people use it. */
const CONFIGURATION = `{ "name": "test-macvtap", "type": "macvtap", "master": "eth1", "hostrouteif": "macvtap1",
  "ipam": { "type": "host-local", "subnet": "192.168.122.0/24", "rangeStart": "192.168.122.171", "rangeEnd": "192.168.122.179",
            "routes": [ { "dst": "192.168.122.22/32", "gw": "0.0.0.0" }, { "dst": "192.168.10.22/32", "gw": "0.0.0.0" } ] },
  "dns": { "nameservers": ["192.168.10.10"] }, "args": { "cni": { "ips": ["192.168.122.177"] } } }`;

/** The same without what Berth adds for host access: what the task would have had. */
const PLAIN = JSON.stringify({
  name: "test-macvtap",
  type: "macvtap",
  master: "eth1",
  ipam: { type: "host-local", subnet: "192.168.122.0/24", rangeStart: "192.168.122.177", rangeEnd: "192.168.122.177" },
});

const RESERVATIONS = "/var/lib/cni/networks/test-macvtap";
const RECORDS = "/run/berth/attachments";
const agent: Spot = { name: "agent", namespace: HOST, ip: "192.168.10.22" };
const task: Spot = { name: "task", namespace: "task", ip: "192.168.122.177" };
const neighbour: Spot = { name: "neighbour", namespace: "neighbour", ip: "192.168.122.22" };

function build(world: World): void {
  world.lan("office");
  world.lan("tasks");
  world.namespace("router");
  world.namespace("neighbour");
  world.namespace("task");
  world.plug("office", HOST, "eth0", "192.168.10.22/24");
  world.plug("tasks", HOST, "eth1");
  world.plug("office", "router", "eth0", "192.168.10.1/24");
  world.plug("tasks", "router", "eth1", "192.168.122.1/24");
  world.plug("tasks", "neighbour", "eth0", "192.168.122.22/24");
  world.sysctl("router", "net/ipv4/ip_forward", "1");
  world.route(HOST, "eth0", "0.0.0.0/0", "192.168.10.1");
  world.route("neighbour", "eth0", "0.0.0.0/0", "192.168.122.1");
  const macvtap = { kind: "macvtap", mode: "bridge" } as const;
  world.subInterface("eth1", "macvtap1", macvtap, false);
  world.subInterface("eth1", "macvtap2", macvtap);
  world.subInterface("eth1", "macvtap3", macvtap);
}

/** The task's runtime calls the plugin. */
function runtime(verb: "ADD" | "CHECK" | "DEL", configuration: string): string {
  return callPlugin({ verb, configuration, container: "task", containerId: "task-1", ifName: "eth0" });
}

/** Why a packet from one place does not get to the other: what the kernel says of the route. */
function why(world: World, from: Spot, to: Spot): string {
  const nl = world.netlink(from.namespace);
  const route = lookUpRoute(nl, to.ip);
  if (route === undefined) return `the ${from.name}'s namespace has no route to ${to.ip}`;
  const link = findLinkByIndex(nl, route.linkIndex ?? 0)?.name ?? "?";
  const via = route.gateway === undefined ? "" : ` by the router ${route.gateway}`;
  return `the ${from.name} sends to ${to.ip} out of ${link}${via}; a macvtap never talks to its own host, and the way back is missing`;
}

/** What is left of an attachment anywhere. */
function remains(world: World): Proof[] {
  const nl = world.netlink("task");
  const links = listLinks(nl).filter((l) => l.name === "eth0"); // a kernel with GRE has gre0 and its like everywhere
  const addresses = listAddresses(nl).filter((a) => a.scope === 0);
  return [
    proveNone("host: routes and neighbours of Berth's", traces(world, HOST)),
    proveNone(
      "task: links",
      links.map((l) => l.name),
    ),
    proveNone(
      "task: addresses",
      addresses.map((a) => a.cidr.ip),
    ),
    proveNone("IPAM: reservations", filesIn(RESERVATIONS)),
    proveNone("Berth: records", filesIn(RECORDS)),
  ];
}

/** Plays the story; the exit status: 0 where every proof held. `pid` is this process's number outside. */
export async function routing(options: LabOptions, pid: string): Promise<number> {
  const say = (text: string): void => {
    if (!options.json) console.log(text);
  };
  using world = new World();
  build(world);
  const speakers: Speakers = { world, guests: new Map() };
  say(
    "A host with its agent on eth0 and tasks on another LAN by eth1, where virtual machines already sit on macvtaps.\n",
  );
  say(routingPicture(task.ip, false));

  say("\n1. The problem. The task is attached to its LAN and nothing more:\n");
  runtime("ADD", PLAIN);
  const problem = [...(await prove(speakers, agent, task, "fails")), ...(await prove(speakers, task, agent, "fails"))];
  const reasons = [why(world, task, agent), why(world, agent, task)];
  if (!options.json) show(problem);
  for (const reason of reasons) say(`    because ${reason}`);
  runtime("DEL", PLAIN);

  say("\n2. The same task with this configuration, by a CNI call:\n");
  say(CONFIGURATION.replaceAll(/^/gmu, "    "));
  const result: unknown = JSON.parse(runtime("ADD", CONFIGURATION));
  const state = { host: traces(world, HOST), task: traces(world, "task") };
  say("\n  on the host:");
  for (const line of state.host) say(`    ${line}`);
  say("  in the task's namespace:");
  for (const line of state.task) say(`    ${line}`);

  say("\n3. The proofs:\n");
  const pairs: [Spot, Spot][] = [
    [agent, task],
    [task, agent],
    [neighbour, task],
    [task, neighbour],
  ];
  const proofs: Proof[] = [];
  for (const [from, to] of pairs) proofs.push(...(await prove(speakers, from, to, "works")));
  runtime("CHECK", CONFIGURATION);
  if (!options.json) show(proofs);
  say("  ✔ CHECK: everything is as it was planned\n");
  say(routingPicture(task.ip, true));

  const enter = `nsenter --target ${pid} --user --net --mount --pid --preserve-credentials`;
  if (options.keep) {
    say(`\nIt stands until you press Ctrl-C. Enter it from another terminal:\n\n    ${enter}\n`);
    if (options.json) console.log(JSON.stringify({ enter, result, state, proofs, problem, reasons }));
    await untilInterrupted();
  }

  say("\n4. Detached:\n");
  runtime("DEL", CONFIGURATION);
  const left = remains(world);
  if (!options.json) show(left);
  const all = [...problem, ...proofs, ...left];
  const held = all.every((p) => p.held);
  if (options.json && !options.keep)
    console.log(JSON.stringify({ ok: held, result, state, problem, reasons, proofs, left }, null, 2));
  say(
    held
      ? `\nAll ${all.length} proofs held.`
      : `\n${all.filter((p) => !p.held).length} of ${all.length} proofs did not hold.`,
  );
  return held ? 0 : 1;
}
