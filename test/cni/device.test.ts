import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { repair } from "../../src/attachment/repair.ts";
import { describeStep, findStrays, removeStrays } from "../../src/attachment/strays.ts";
import { listRecords } from "../../src/attachment/record.ts";
import { ping } from "../../src/kernel/icmp.ts";
import { findLink } from "../../src/kernel/links.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { type Snapshot, TestWorld, until } from "../world.ts";
import { call } from "./call.ts";

const NIC_MAC = "02:00:00:00:00:0c";
let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("lan");
  w.namespace("peer");
  w.plug("lan", "", "eth0", "192.168.122.5/24");
  w.plug("lan", "peer", "eth0", "192.168.122.22/24", "fd22::22/64");
});
beforeEach(async () => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  w.plug("lan", "", "nic5");
  w.ip("", "link set nic5 down"); // or its link-local address would be of its former MAC
  w.ip("", `link set nic5 up address ${NIC_MAC} mtu 1420 alias spare`);
  await until("nic5 has its link-local address", () => w.ip("", "-6 address show dev nic5").includes("fe80::"));
  before = w.snapshot("");
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
});
afterEach(() => {
  w.removeNamespace("c");
  w.deleteLink("", "nic5");
});
afterAll(() => w[Symbol.dispose]());

/** As people have it for the standard host-device plugin. */
function network(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    cniVersion: "1.0.0",
    name: "nic",
    type: "host-device",
    device: "nic5",
    ipam: { type: "static", addresses: [{ address: "192.168.122.90/24" }, { address: "fd22::90/64" }] },
    ...more,
  };
}

function withoutQueues({ links }: Snapshot): unknown[] {
  return links.map((l) => ({ ...(l as object), qdisc: "", txqlen: 0 }));
}

function nothingIsLeft(): void {
  expect(w.snapshot("")).toEqual(before);
  expect(listRecords(() => {})).toEqual([]);
}

describe("a NIC that is moved into the container", () => {
  test("ADD: it is there under the interface's name and talks; CHECK holds; DEL: it is back as it was", async () => {
    const added = await call("ADD", network());
    expect(added.json).toMatchObject({
      interfaces: [{ name: "eth0", mac: NIC_MAC, sandbox: "/run/netns/c" }],
      ips: [{ address: "192.168.122.90/24" }, { address: "fd22::90/64" }],
    });
    expect(findLink(w.netlink(""), "nic5")).toBeUndefined();
    for (const [own, peer] of [
      ["192.168.122.90", "192.168.122.22"],
      ["fd22::90", "fd22::22"],
    ] as const) {
      expect(ping(w.at("c"), peer, { timeoutMs: 3000 })).toMatchObject({ ok: true });
      expect(exchange(w.at("peer"), w.at("c"), own, 80)).toMatchObject({ ok: true, peer });
    }
    // its own host meets it on the LAN
    expect(exchange(undefined, w.at("c"), "192.168.122.90", 80)).toMatchObject({ ok: true, peer: "192.168.122.5" });
    expect((await call("CHECK", { ...network(), prevResult: added.json })).text).toBe("");
    expect((await call("DEL", network())).text).toBe("");
    nothingIsLeft();
    expect((await call("DEL", network())).text).toBe(""); // as the spec wants it
  });

  test("one that was down is down again; MTU and MAC that were asked for are the former ones again", async () => {
    w.ip("", "link set nic5 down");
    const down = w.snapshot("");
    const config = network({ mtu: 1300, mac: "02:00:00:00:00:0d", type: "berth", kind: "device" });
    expect((await call("ADD", config)).json).toMatchObject({ interfaces: [{ mac: "02:00:00:00:00:0d" }] });
    expect(w.link("c", "eth0").mtu).toBe(1300);
    expect((await call("CHECK", config)).text).toBe("");
    await call("DEL", config);
    // a link that was up once keeps its queueing discipline
    expect(withoutQueues(w.snapshot(""))).toEqual(withoutQueues(down));
  });

  test("is found by its MAC too, and by the name that the host has as well", async () => {
    const { device: _, ...byMac } = network({ hwaddr: NIC_MAC.toUpperCase() });
    expect((await call("ADD", byMac)).json).toMatchObject({ interfaces: [{ name: "eth0", mac: NIC_MAC }] });
    expect(w.link("", "eth0").mac).not.toBe(NIC_MAC);
    await call("DEL", byMac);
    nothingIsLeft();
  });

  test("whose namespace ended with it: a virtual one is gone, and DEL is content", async () => {
    await call("ADD", network());
    w.removeNamespace("c");
    expect((await call("DEL", network(), { CNI_NETNS: "" })).text).toBe("");
    expect(listRecords(() => {})).toEqual([]);
    w.namespace("c");
  });

  test("DEL without a record: its alias tells what it was called", async () => {
    await call("ADD", network());
    rmSync("/run/berth", { recursive: true });
    expect(w.link("c", "eth0").alias).toBe("berth:nic/c1/eth0 was nic5");
    expect((await call("DEL", network())).text).toBe("");
    expect(w.link("", "nic5")).toMatchObject({ mac: NIC_MAC, group: 0, alias: "" });
    expect(findLink(w.netlink("c"), "eth0")).toBeUndefined();
  });

  test("whose record was lost is found by its marks, and taken back", async () => {
    await call("ADD", network());
    const failures: unknown[] = [];
    const found = (): readonly string[] =>
      findStrays((f) => failures.push(f)).strays.flatMap((s) => s.plan.map(describeStep));
    expect(found()).toEqual([]);
    rmSync("/run/berth", { recursive: true });
    expect(found()).toEqual(["NIC nic5"]);
    await removeStrays((f) => failures.push(f));
    expect(failures).toEqual([]);
    expect(w.link("", "nic5")).toMatchObject({ mac: NIC_MAC, group: 0, alias: "" });
    expect(found()).toEqual([]);
  });

  test("whose former name is another's by now comes back all the same, and is named; DEL goes on when that is gone", async () => {
    await call("ADD", network());
    w.ip("", "link add nic5 type bridge");
    const reply = await call("DEL", network());
    expect(reply.json).toMatchObject({
      msg: expect.stringContaining("give the NIC berth"),
      details: expect.stringContaining("Another link has the name nic5 now"),
    });
    expect(w.link("", "nic5").kind).toBe("bridge");
    expect(findLink(w.netlink("c"), "eth0")).toBeUndefined();
    w.deleteLink("", "nic5");
    expect((await call("DEL", network())).text).toBe("");
    nothingIsLeft();
  });

  test("repair: moved back by hand, with another MTU, down, without its address", async () => {
    await call("ADD", network());
    const [record] = listRecords(() => {});
    if (record === undefined) throw new Error("there is no record");
    w.ip("c", "link set eth0 mtu 1280");
    w.ip("c", "address del 192.168.122.90/24 dev eth0");
    w.ip("c", "link set eth0 down");
    const reply = await call("CHECK", network());
    for (const sentence of ["NIC eth0: MTU is 1280, planned was 1420", "link eth0: is down", "192.168.122.90/24"])
      expect(JSON.stringify(reply.json)).toContain(sentence);
    await repair(record);
    expect((await call("CHECK", network())).text).toBe("");
    w.run("c", ["ip", "link", "set", "eth0", "netns", "/proc/1/ns/net", "name", "nic5"]);
    expect((await repair(record)).found).toContain("NIC eth0: is not there, but on the host as nic5");
    expect(ping(w.at("c"), "192.168.122.22", { timeoutMs: 3000 })).toMatchObject({ ok: true });
    expect((await call("CHECK", network())).text).toBe("");
    await call("DEL", network());
    nothingIsLeft();
  });
});

describe("is refused, and nothing changes", () => {
  const cases: [string, Record<string, unknown>, string, string, string][] = [
    [
      "with addresses",
      {},
      "address add 10.9.9.9/24 dev nic5",
      "the host has 10.9.9.9 on it",
      "address del 10.9.9.9/24 dev nic5",
    ],
    ["as a bridge's port", {}, "link set nic5 master br9", "it is a port of br9", "link set nic5 nomaster"],
    ["as a parent", {}, "link add link nic5 name mv9 type macvlan", "it is the parent of mv9", "link del mv9"],
    ["that is the loopback link", { device: "lo" }, "link show", "it is the loopback link", "link show"],
    ["that is not there", { device: "nic6" }, "link show", "find nic6: there is no such link", "link show"],
    ["named twice", { hwaddr: NIC_MAC }, "link show", "device and hwaddr name one each", "link show"],
    ["with a parent", { master: "eth0" }, "link show", "use master with kind device", "link show"],
    ["with host access", { hostAccess: "auto" }, "link show", "give a NIC of its own host access", "link show"],
    [
      "of a PCI bus without it",
      { device: undefined, pciBusID: "ffff:1f:1f.7" },
      "link show",
      "find the NIC at PCI",
      "link show",
    ],
  ];
  test.each(cases)("a NIC %s", async (_, more, make, sentence, undo) => {
    w.ip("", "link add br9 type bridge");
    w.ip("", make);
    const state = w.snapshot("");
    expect((await call("ADD", network(more))).json).toMatchObject({ code: 7, msg: expect.stringContaining(sentence) });
    expect(w.snapshot("")).toEqual(state);
    w.ip("", undo);
    w.deleteLink("", "br9");
    nothingIsLeft();
  });

  test("a NIC that another attachment has, which is named; STATUS says it too", async () => {
    await call("ADD", network());
    w.namespace("d");
    const other = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    const advice = { details: expect.stringContaining("The attachment nic/c1/eth0 has it.") };
    expect((await call("ADD", network(), other)).json).toMatchObject({ code: 7, ...advice });
    expect((await call("STATUS", network({ cniVersion: "1.1.0" }))).json).toMatchObject({ code: 50, ...advice });
    w.removeNamespace("d");
    await call("DEL", network());
    expect((await call("STATUS", network({ cniVersion: "1.1.0" }))).text).toBe("");
    nothingIsLeft();
  });

  test("a name that is taken in the container", async () => {
    w.ip("c", "link add eth0 type bridge");
    expect((await call("ADD", network())).json).toMatchObject({
      msg: expect.stringContaining("a link of that name is there"),
    });
    w.deleteLink("c", "eth0");
    nothingIsLeft();
  });
});
