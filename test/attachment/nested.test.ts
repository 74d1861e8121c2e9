import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { ping } from "../../src/kernel/icmp.ts";
import { listLinks } from "../../src/kernel/links.ts";
import { call } from "../cni/call.ts";
import { missingKind } from "../kernel-kinds.ts";
import { type Snapshot, TestWorld } from "../world.ts";

// This test's own host is the virtual machine. Outside of it is a namespace with a NIC on the LAN, on which sits the
// macvlan that a hypervisor would open as a macvtap: the kernel filters both alike (drivers/net/macvlan.c).
const VM_MAC = "02:00:00:00:00:31";
let w: TestWorld;
const forwarders: Bun.Subprocess[] = [];

beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("lan");
  for (const namespace of ["outside", "peer"]) {
    w.namespace(namespace);
    w.sysctl(namespace, "net/ipv6/conf/default/accept_dad", "0");
  }
  w.plug("lan", "outside", "nic0");
  w.plug("lan", "peer", "eth0", "192.168.122.22/24", "fd22::22/64");
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
});
afterEach(async () => {
  for (const p of forwarders.splice(0)) {
    p.kill();
    await p.exited;
  }
  for (const name of ["eth0", "eth1"]) w.deleteLink("", name);
  w.deleteLink("outside", "tap0");
  w.removeNamespace("c");
});
afterAll(() => w[Symbol.dispose]());

async function forward(from: string, to: string): Promise<void> {
  const argv = [process.execPath, `${import.meta.dir}/../forwarder.ts`, "/run/netns/outside", from, to];
  const p = Bun.spawn(argv, { stdout: "pipe", stderr: "inherit" });
  forwarders.push(p);
  const { value } = await p.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("ready\n");
}

/** The virtual machine's NIC eth0, connected to the LAN as a hypervisor would by a macvtap in this mode. */
async function connect(mode: "bridge" | "passthru"): Promise<void> {
  w.ip("", `link add eth0 address ${VM_MAC} type veth peer name wire0 netns outside`);
  w.ip("outside", `link add link nic0 name tap0 address ${VM_MAC} type macvlan mode ${mode}`);
  for (const name of ["wire0", "tap0"]) w.ip("outside", `link set ${name} up`);
  await forward("wire0", "tap0");
  await forward("tap0", "wire0");
  for (const address of ["192.168.122.5/24", "fd22::5/64"]) w.address("", "eth0", address);
  w.ip("", "link set eth0 up");
  expect(ping(undefined, "192.168.122.22", { timeoutMs: 10_000 })).toMatchObject({ ok: true });
}

function network(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    cniVersion: "1.1.0",
    name: "inner",
    type: "macvlan",
    master: "eth0",
    ipam: { type: "static", addresses: [{ address: "192.168.122.90/24", gateway: "192.168.122.22" }] },
    ...more,
  };
}

const main = `${import.meta.dir}/../../src/main.ts`;

interface Status {
  readonly ready: boolean;
  readonly remarks: readonly string[];
}

function status(config: Record<string, unknown>, ...flags: string[]): Status {
  writeFileSync("/run/inner.conf", JSON.stringify(config));
  const r = Bun.spawnSync([process.execPath, main, "status", "--config", "/run/inner.conf", "--json", ...flags], {
    argv0: "berth",
  });
  const [only] = JSON.parse(r.stdout.toString()) as Status[];
  if (only === undefined) throw new Error(r.stderr.toString());
  return only;
}

/** Whether an attachment reaches the LAN beyond the virtual machine. */
async function reaches(config: Record<string, unknown>): Promise<boolean> {
  expect((await call("ADD", config)).json).not.toHaveProperty("code");
  const answer = ping(w.at("c"), "192.168.122.22", { timeoutMs: 1500 });
  await call("DEL", config);
  return answer.ok;
}

const ONE_MAC = "frames to other MACs than eth0's (02:00:00:00:00:31) do not come in: 192.168.122.22 answered";

describe("behind a macvtap in mode bridge", () => {
  beforeEach(() => connect("bridge"));

  test("an inner macvlan gets nothing from the LAN; a probe tells why, and what works; STATUS knows it from then on", async () => {
    expect(await reaches(network())).toBe(false);
    w.ip("", "link set eth0 promisc on");
    expect(await reaches(network())).toBe(false);
    w.ip("", "link set eth0 promisc off");
    // nobody says so before it was seen
    expect(status(network())).toMatchObject({ ready: true, remarks: [] });
    const before: Snapshot = w.snapshot("");
    const seen = status(network(), "--probe");
    expect(seen.ready).toBe(true);
    expect(seen.remarks).toHaveLength(1);
    for (const part of [ONE_MAC, "kind ipvlan", "kind device", 'mode "passthru"', "a tap in a bridge"])
      expect(seen.remarks[0]).toContain(part);
    expect(w.snapshot("")).toEqual(before);
    expect(status(network()).remarks).toEqual(seen.remarks);
    expect((await call("STATUS", network())).remarks).toEqual(seen.remarks);
    // by IPv6 as well, where that is what the network has
    const six = network({ ipam: { type: "static", addresses: [{ address: "fd22::90/64", gateway: "fd22::22" }] } });
    w.ip("", "address del 192.168.122.5/24 dev eth0");
    expect(status(six, "--probe").remarks).toEqual([expect.stringContaining("do not come in: fd22::22 answered")]);
    // another NIC of that name is another story
    w.ip("", "link set eth0 address 02:00:00:00:00:32");
    expect(status(network()).remarks).toEqual([]);
  });

  test("passthru inside, which has the NIC's own MAC, works", async () => {
    expect(await reaches(network({ mode: "passthru" }))).toBe(true);
    expect(status(network({ mode: "passthru" }), "--probe").remarks).toEqual([]);
  });

  test.skipIf(missingKind("ipvlan") !== undefined)(`an ipvlan works${missingKind("ipvlan") ?? ""}`, async () => {
    expect(await reaches(network({ type: "ipvlan" }))).toBe(true);
    expect(status(network({ type: "ipvlan" }), "--probe").remarks).toEqual([]);
    // beside it no macvlan can be made, a probe's neither
    w.ip("", "link add link eth0 name ipv0 type ipvlan mode l2");
    expect(status(network(), "--probe").remarks).toEqual([
      expect.stringMatching(/come in cannot be told: create macvlan probe on eth0.*EBUSY/u),
    ]);
    w.deleteLink("", "ipv0");
  });

  test("a second NIC, moved into the container, works", async () => {
    w.plug("lan", "", "eth1");
    const { master: _, ...rest } = network({ type: "host-device", device: "eth1" });
    expect(await reaches(rest)).toBe(true);
  });

  test("where nobody answers nothing is claimed", () => {
    w.ip("peer", "link set eth0 down");
    expect(status(network(), "--probe").remarks).toEqual([
      expect.stringMatching(/come in cannot be told: none of .*192\.168\.122\.22.* answers eth0/u),
    ]);
    w.ip("peer", "link set eth0 up");
    w.address("peer", "eth0", "fd22::22/64"); // the kernel took it away
  });
});

test("behind a macvtap in mode passthru an inner macvlan works, and a probe says so", async () => {
  await connect("passthru");
  expect(await reaches(network())).toBe(true);
  expect(status(network(), "--probe").remarks).toEqual([
    expect.stringContaining("frames to other MACs than eth0's come in: 192.168.122.22 answered one"),
  ]);
  expect(status(network()).remarks).toEqual([]);
});

test("behind a tap in a bridge an inner macvlan works, and nothing of a probe is left", async () => {
  w.plug("lan", "", "eth0", "192.168.122.5/24");
  expect(await reaches(network())).toBe(true);
  expect(status(network(), "--probe").remarks).toEqual([
    expect.stringContaining("come in: 192.168.122.22 answered one"),
  ]);
  expect(listLinks(w.netlink("")).map((l) => l.name)).not.toContain("probe");
});
