import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { ping } from "../../src/kernel/icmp.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { call } from "../cni/call.ts";
import { type Snapshot, TestWorld, until } from "../world.ts";

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  for (const lan of ["lan", "beyond"]) w.lan(lan);
  for (const name of ["router", "far", "peer"]) w.namespace(name);
  w.plug("lan", "router", "eth0", "192.168.122.1/24", "fd22::1/64");
  w.plug("beyond", "router", "eth1", "203.0.113.1/24", "fd99::1/64");
  w.plug("beyond", "far", "eth0", "203.0.113.9/24", "fd99::9/64");
  w.plug("lan", "peer", "eth0", "192.168.122.9/24", "fd22::9/64");
  for (const family of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]) w.sysctl("router", `net/${family}`, "1");
  w.ip("far", "route add default via 203.0.113.1");
  w.ip("far", "-6 route add default via fd99::1");
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
});
afterEach(() => w.removeNamespace("c"));
afterAll(() => w[Symbol.dispose]());

const tasks = ["192.168.122.171", "fd22::171"];
function network(more: object): Record<string, unknown> {
  return {
    cniVersion: "1.1.0",
    name: "tasks",
    type: "macvlan",
    hostAccess: "auto",
    ipam: {
      type: "static",
      addresses: [
        { address: `${tasks[0]}/24`, gateway: "192.168.122.1" },
        { address: `${tasks[1]}/64`, gateway: "fd22::1" },
      ],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
    ...more,
  };
}

/** Waits until the host reaches what is beyond the router: bridges that are new do not pass every multicast at once. */
async function lanIsUp(): Promise<void> {
  for (const far of ["203.0.113.9", "fd99::9"]) await until(`${far} answers`, () => ping(undefined, far).ok);
}

/** Host and task talk by each of the host's addresses, and both still reach the LAN and, by its router, what is beyond. */
async function everythingTalks(config: unknown, hosts: readonly string[]): Promise<void> {
  const c = w.at("c");
  for (const host of hosts) {
    const task = tasks[host.includes(":") ? 1 : 0] ?? "";
    expect({ host, ...ping(c, host) }).toMatchObject({ ok: true });
    expect({ host, ...exchange(c, undefined, host, 80) }).toMatchObject({ ok: true, peer: task });
    expect({ host, ...exchange(undefined, c, task, 80, { source: host }) }).toMatchObject({ ok: true, peer: host });
  }
  for (const other of ["192.168.122.9", "fd22::9", "203.0.113.9", "fd99::9"]) {
    for (const from of [undefined, c]) expect({ other, ...ping(from, other) }).toMatchObject({ ok: true });
  }
  // from beyond to each of them: what strict reverse path filtering would refuse, were a host address left out
  for (const host of [...hosts, ...tasks]) expect({ host, ...ping(w.at("far"), host) }).toMatchObject({ ok: true });
  expect((await call("CHECK", config)).text).toBe("");
}

test("the host's default route and several of its addresses are on the parent, in the attachment's range", async () => {
  w.plug(
    "lan",
    "",
    "eth0",
    "192.168.122.22/24",
    "192.168.122.23/24",
    "192.168.122.24/32",
    "fd22::22/64",
    "fd22::23/64",
  );
  w.ip("", "route add default via 192.168.122.1");
  w.ip("", "-6 route add default via fd22::1");
  for (const link of ["all", "eth0"]) w.sysctl("", `net/ipv4/conf/${link}/rp_filter`, "1");
  await lanIsUp();
  before = w.snapshot("");
  const config = network({ master: "eth0" });
  expect((await call("ADD", config)).json).not.toHaveProperty("code");
  await everythingTalks(config, ["192.168.122.22", "192.168.122.23", "192.168.122.24", "fd22::22", "fd22::23"]);
  expect((await call("DEL", config)).text).toBe("");
  expect(w.snapshot("")).toEqual(before);
  w.deleteLink("", "eth0");
});

test("the host's addresses are on a bridge, which is the parent; a virtual machine on the bridge is a neighbour too", async () => {
  w.plug("lan", "", "eth0");
  w.ip("", "link add br0 type bridge");
  w.ip("", "link set eth0 master br0");
  w.ip("", "link set br0 up");
  for (const address of ["192.168.122.22/24", "fd22::22/64"]) w.address("", "br0", address);
  w.ip("", "route add default via 192.168.122.1");
  w.ip("", "-6 route add default via fd22::1");
  w.namespace("vm");
  w.ip("", "link add tap0 type veth peer name eth0 netns vm");
  w.ip("", "link set tap0 master br0 up");
  w.ip("vm", "link set eth0 up");
  w.address("vm", "eth0", "192.168.122.50/24");
  await lanIsUp();
  before = w.snapshot("");
  const config = network({ master: "br0" });
  expect((await call("ADD", config)).json).not.toHaveProperty("code");
  await everythingTalks(config, ["192.168.122.22", "fd22::22"]);
  expect(exchange(w.at("vm"), w.at("c"), tasks[0] ?? "", 80)).toMatchObject({ ok: true, peer: "192.168.122.50" });
  expect((await call("DEL", config)).text).toBe("");
  expect(w.snapshot("")).toEqual(before);
  w.removeNamespace("vm");
  for (const link of ["eth0", "br0"]) w.deleteLink("", link);
});
