// The data path between a task and a neighbour on the LAN, by each kind and by the usual bridge of container runtimes, and
// what the kernel's settings that Berth leaves as they are make of it.
import { changeLink, newBridge, newSubInterface, newVethPair, supportsKind } from "../../src/kernel/links.ts";
import type { SubInterface } from "../../src/kernel/link-kinds.ts";
import { bind, close, receive, send, setSocketInt, setSocketOption } from "../../src/kernel/libc.ts";
import { openIn, socketAddress, socketFamily } from "../../src/kernel/sockets.ts";
import { HOST } from "../../src/lab/world.ts";
import { Attachment } from "../calls.ts";
import { networkConfig } from "../plugins.ts";
import type { Bench, Row, Series } from "../series.ts";
import { percentile } from "../statistics.ts";
import { hasIperf, measureStream, noIperf, questions, StreamServer } from "../traffic.ts";

const PEER = "neighbour";
const PEER_ADDRESS = "10.90.2.1";
const ROUNDS = 5;
/** Of a quick run. */
const FEW_ROUNDS = 1;
const MANY_PAIRS = 50;
const SECONDS = 1;
const QUESTIONS = 3000;

function roundsOf({ count }: Bench): number {
  return count.pairs < MANY_PAIRS ? FEW_ROUNDS : ROUNDS;
}

/** A task on the LAN. */
interface Task {
  readonly name: string;
  readonly namespace: string;
  readonly rate: number[];
  readonly cpu: number[];
  readonly trip: number[];
}

function taskOf(name: string, namespace: string): Task {
  return { name, namespace, rate: [], cpu: [], trip: [] };
}

/** A sub-interface as the kernel makes it. */
function bySubInterface(bench: Bench, name: string, detail: SubInterface, address: string): Task {
  const { world, parent } = bench;
  const namespace = `task-${name}`;
  world.namespace(namespace);
  const namespaceFd = world.at(namespace)?.fd ?? -1;
  const parentIndex = world.link(HOST, parent).index;
  world.netlink(HOST).do(newSubInterface({ name: "eth0", parentIndex, parentName: parent, detail, namespaceFd }));
  world.netlink(namespace).do(changeLink("eth0", { up: true }));
  world.address(namespace, "eth0", `${address}/16`);
  return taskOf(name, namespace);
}

/** As Berth attaches it, with host access. */
async function byBerth(bench: Bench, address: string): Promise<Task[]> {
  const berth = bench.plugins.find((p) => p.side === "berth");
  if (berth === undefined) return [];
  const config = networkConfig("berth", "path", bench.parent, {
    hostrouteif: "auto",
    ipam: { type: "static", addresses: [{ address: `${address}/16` }] },
  });
  const netns = bench.world.namespace("task-access");
  await new Attachment(berth, { containerId: "task-access", netns }, config).add();
  return [taskOf("macvlan with host access", "task-access")];
}

/** A bridge with a NIC of its own on the LAN, and the task's veth pair. */
function byBridge(bench: Bench, address: string): Task {
  const { world } = bench;
  world.plug("lan", HOST, "lan1");
  const [namespace, host] = ["task-bridge", world.netlink(HOST)];
  world.namespace(namespace);
  host.do(newBridge("bridge1"));
  host.do(changeLink("bridge1", { up: true }));
  host.do(newVethPair("port1", "eth0", world.at(namespace)?.fd ?? -1));
  const masterIndex = world.link(HOST, "bridge1").index;
  for (const port of ["port1", "lan1"]) host.do(changeLink(port, { up: true, masterIndex }));
  world.netlink(namespace).do(changeLink("eth0", { up: true }));
  world.address(namespace, "eth0", `${address}/16`);
  return taskOf("veth and bridge", namespace);
}

async function measure(bench: Bench, task: Task): Promise<void> {
  const { rate, cpuPerGigabyte } = await measureStream(task.namespace, PEER_ADDRESS, "out", SECONDS);
  task.rate.push(rate);
  task.cpu.push(cpuPerGigabyte);
  const [to, from] = [bench.world.at(PEER), bench.world.at(task.namespace)];
  task.trip.push(percentile(questions(to, PEER_ADDRESS, QUESTIONS, from), 50));
}

function rowsOf(task: Task, other: Task): Row[] {
  const name = (what: string): string => `${what}, task to neighbour: ${task.name} / ${other.name}`;
  const beside = other.name;
  return [
    { name: name("stream"), unit: "Gbit/s", beside, berth: task.rate, peer: other.rate },
    { name: name("processor time"), unit: "s/GB", beside, berth: task.cpu, peer: other.cpu },
    { name: name("round trip"), unit: "µs", beside, berth: task.trip, peer: other.trip },
  ];
}

async function kinds(bench: Bench): Promise<Row[]> {
  if (!hasIperf()) {
    console.error(noIperf);
    return [];
  }
  const { world } = bench;
  world.namespace(PEER);
  world.plug("lan", PEER, "eth0", `${PEER_ADDRESS}/16`);
  const details: [string, SubInterface][] = [
    ["macvlan", { kind: "macvlan", mode: "bridge" }],
    ["macvtap", { kind: "macvtap", mode: "bridge" }],
  ];
  const tasks = details.map(([name, detail], i) => bySubInterface(bench, name, detail, `10.90.3.${i + 1}`));
  tasks.push(...(await byBerth(bench, "10.90.3.10")));
  const bridge = byBridge(bench, "10.90.3.20");
  await using _server = await StreamServer.start(PEER, PEER_ADDRESS);
  for (let round = 0; round < roundsOf(bench); round++)
    for (const task of [...tasks, bridge]) await measure(bench, task);
  const macvlan = tasks[0] ?? bridge;
  return tasks.flatMap((task) => rowsOf(task, task.name.includes("access") ? macvlan : bridge));
}

/** ipvlan excludes macvlan on a parent: it has a host of its own. */
async function ipvlan(bench: Bench): Promise<Row[]> {
  const detail = { kind: "ipvlan", mode: "l2" } as const;
  if (!hasIperf()) return [];
  if (!supportsKind(bench.world.netlink(HOST), detail)) {
    console.error("This kernel has no ipvlan: its rows are missing.");
    return [];
  }
  bench.world.namespace(PEER);
  bench.world.plug("lan", PEER, "eth0", `${PEER_ADDRESS}/16`);
  const [task, bridge] = [bySubInterface(bench, "ipvlan", detail, "10.90.3.1"), byBridge(bench, "10.90.3.20")];
  await using _server = await StreamServer.start(PEER, PEER_ADDRESS);
  for (let round = 0; round < roundsOf(bench); round++) for (const t of [task, bridge]) await measure(bench, t);
  return rowsOf(task, bridge);
}

const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_BROADCAST = 6;
const SO_RCVBUF = 8;
const SO_BINDTODEVICE = 25;
const PORT = 5300;
const BURST = 5000;
/** Every macvlan of the parent gets each of them: so many more make the queue fill. */
const LISTENERS = 150;
const PAYLOAD = new Uint8Array(64);

/** How many frames of a burst of broadcasts come to a macvlan whose parent queues so many. */
function broadcasts(bench: Bench, length: number | undefined, index: number): number {
  const detail: SubInterface = {
    kind: "macvlan",
    mode: "bridge",
    ...(length === undefined ? {} : { broadcastQueueLength: length }),
  };
  const [from, to] = [0, 1].map((i) =>
    bySubInterface(bench, `cast-${index}-${i}`, detail, `10.90.${10 + index}.${i + 1}`),
  );
  const namespaceFd = bench.world.at(to?.namespace ?? "")?.fd ?? -1;
  const parentIndex = bench.world.link(HOST, bench.parent).index;
  for (let n = 0; n < LISTENERS; n++) {
    const name = `more${n}`;
    bench.world.netlink(HOST).do(newSubInterface({ name, parentIndex, parentName: bench.parent, detail, namespaceFd }));
    bench.world.netlink(to?.namespace ?? "").do(changeLink(name, { up: true }));
  }
  const [sender, receiver] = [from, to].map((t) => bench.world.at(t?.namespace ?? ""));
  const any = "0.0.0.0";
  const input = openIn(receiver, socketFamily(any), SOCK_DGRAM, 0, 300);
  const output = openIn(sender, socketFamily(any), SOCK_DGRAM, 0, 300);
  let arrived = 0;
  try {
    setSocketInt(input, SOL_SOCKET, SO_RCVBUF, 1 << 24);
    setSocketOption(input, SOL_SOCKET, SO_BINDTODEVICE, new TextEncoder().encode("eth0\0"));
    bind(input, socketAddress(any, PORT));
    setSocketInt(output, SOL_SOCKET, SO_BROADCAST, 1);
    const everybody = socketAddress("10.90.255.255", PORT);
    for (let i = 0; i < BURST; i++) send(output, PAYLOAD, everybody);
    const into = new Uint8Array(64);
    for (;;) {
      receive(input, into);
      arrived++;
    }
  } catch {
    return arrived; // nothing more came in time
  } finally {
    close(input);
    close(output);
    for (const task of [from, to]) bench.world.removeNamespace(task?.namespace ?? "");
  }
}

async function queues(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  const runs = (length: number | undefined, at: number): number[] =>
    Array.from({ length: roundsOf(bench) }, (_, i) => broadcasts(bench, length, at + i));
  const usual = runs(undefined, 1);
  for (const [i, length] of [100, 10_000].entries()) {
    rows.push({
      name: `of a burst of ${BURST} broadcasts arrive: bcqueuelen ${length} / the default, 1000`,
      unit: "frames",
      beside: "the default",
      berth: runs(length, 20 + 10 * i),
      peer: usual,
    });
  }
  return rows;
}

/** What a link's setting makes of a stream, beside the kernel's default. */
async function settings(bench: Bench): Promise<Row[]> {
  if (!hasIperf()) return [];
  const { world } = bench;
  world.namespace(PEER);
  world.plug("lan", PEER, "eth0", `${PEER_ADDRESS}/16`);
  const macvlan = { kind: "macvlan", mode: "bridge" } as const;
  const changed: [string, string[]][] = [
    ["txqueuelen 0", ["txqueuelen", "0"]],
    ["txqueuelen 10000", ["txqueuelen", "10000"]],
    ["gso_max_segs 1", ["gso_max_segs", "1"]],
  ];
  const usual = bySubInterface(bench, "default", macvlan, "10.90.3.1");
  const tasks = changed.map(([name, args], i) => {
    const task = bySubInterface(bench, name.replaceAll(" ", "-"), macvlan, `10.90.3.${i + 2}`);
    const r = Bun.spawnSync(["ip", "-n", task.namespace, "link", "set", "dev", "eth0", ...args]);
    if (r.exitCode !== 0) throw new Error(`ip link set ${args.join(" ")}: ${r.stderr.toString()}`);
    return { ...task, name };
  });
  await using _server = await StreamServer.start(PEER, PEER_ADDRESS);
  for (let round = 0; round < roundsOf(bench); round++)
    for (const task of [usual, ...tasks]) await measure(bench, task);
  return tasks.map((task) => ({
    name: `stream by macvlan, ${task.name} / the default`,
    unit: "Gbit/s",
    beside: "the default",
    berth: task.rate,
    peer: usual.rate,
  }));
}

/** The data path. */
export const datapath: readonly Series[] = [
  { name: "data path by kind", run: kinds },
  { name: "data path by ipvlan", run: ipvlan },
  { name: "broadcast queue", run: queues },
  { name: "link settings", run: settings },
];
