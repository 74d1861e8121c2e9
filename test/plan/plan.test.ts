import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseCidr, type Cidr } from "../../src/address/cidr.ts";
import { Places } from "../../src/plan/places.ts";
import { applyPlan, explainPlan, explainUndo, undoPlan, verifyPlan } from "../../src/plan/plan.ts";
import { quote } from "../../src/plan/shell.ts";
import type { Step } from "../../src/plan/step.ts";
import { Failure } from "../../src/report/failure.ts";
import { supportsKind } from "../../src/kernel/links.ts";
import { failureOf } from "../failing.ts";
import { type Json, type Snapshot, TestWorld } from "../world.ts";

let w: TestWorld;
const NETNS = "/run/netns/c";

beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.namespace("c");
  // link-local addresses are not waited for: that detection is not what is tested here
  for (const namespace of ["", "c"]) w.sysctl(namespace, "net/ipv6/conf/default/accept_dad", "0");
  w.plug("lan", "", "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("lan", "", "eth1");
  w.subInterface("eth1", "macvtap1", { kind: "macvtap", mode: "bridge" });
  w.subInterface("eth1", "down1", { kind: "macvlan", mode: "bridge" }, false);
  // a NIC that can be moved, with all that must be as it was afterwards
  w.plug("lan", "", "nic0");
  w.ip("", "link set nic0 down"); // or its link-local address would be of its former MAC
  w.ip("", `link set nic0 up address ${NIC_MAC} mtu 1420 group 7 alias spare`);
  // what others made, and what must still be there afterwards
  w.ip("", "route add 192.168.122.200/32 dev macvtap1 scope link proto static");
  w.ip("", "neigh add 192.168.122.201 lladdr 02:00:00:00:00:99 dev macvtap1 nud permanent");
  w.ip("c", "link add other type bridge");
  w.ip("c", "address add 10.55.0.1/24 dev other");
  w.ip("c", "link set other up");
  w.ip("c", "route add 10.66.0.0/16 via 10.55.0.9 dev other");
});
afterAll(() => w[Symbol.dispose]());

function cidr(text: string): Cidr {
  const c = parseCidr(text);
  if (c === undefined) throw new Error(text);
  return c;
}

/** The user's link that was down, without what the kernel keeps once it was up. */
function asIfUp(entry: Json): Json {
  return JSON.stringify(entry).includes('"down1"') ? { ...(entry as object), qdisc: "", txqlen: 0 } : entry;
}

/** Both namespaces, without the queueing discipline of the user's link that was down: the kernel keeps the one it was given. */
function state(): { host: Snapshot; container: Snapshot } {
  const host = w.snapshot("");
  return {
    host: { ...host, links: host.links.map(asIfUp), addresses: host.addresses.map(asIfUp) },
    container: w.snapshot("c"),
  };
}

const mac = "02:00:00:00:00:01";
const link = "eth0";
const NIC_MAC = "02:00:00:00:00:0c";
const inC = { where: "container", link } as const;

/** Random plans: always a link of its own, then any of what an attachment may have. */
const plan: fc.Arbitrary<Step[]> = fc
  .record({
    kind: fc.constantFrom("macvlan", "macvtap"),
    mode: fc.constantFrom("bridge", "private", "vepa"),
    mtu: fc.option(fc.constantFrom(1280, 1400, 1500), { nil: undefined }),
    v4: fc.boolean(),
    v6: fc.boolean(),
    sysctl: fc.boolean(),
    access: fc.constantFrom("none", "auto", "users"),
    device: fc.constantFrom("none", "up", "down", "changed"),
    extra: fc.subarray(["default", "table", "onlink", "duplicate", "neighbour", "rules", "metric", "guest"]),
  })
  .map(({ kind, mode, mtu, v4, v6, sysctl, access, device, extra }) => {
    const steps: Step[] = [];
    const detail = { kind, mode } as const;
    const hostLink = access === "auto" ? "berth-eth1" : "macvtap1";
    if (access === "auto") {
      steps.push({
        type: "access-link",
        where: "host",
        name: hostLink,
        parent: { name: "eth1", where: "host" },
        detail: { kind: "macvlan", mode: "bridge" },
        mac: "02:00:00:00:00:02",
      });
    }
    steps.push({
      type: "link",
      where: "container",
      name: link,
      parent: { name: "eth1", where: "host" },
      detail,
      mac,
      ...(mtu === undefined ? {} : { mtu }),
    });
    if (device !== "none") {
      const former = { name: "nic0", mac: NIC_MAC, mtu: 1420, up: true, group: 7, alias: "spare", physical: false };
      const asked = device === "changed" ? { mtu: 1300, mac: "02:00:00:00:00:0d" } : {};
      const moved = { where: "container", name: "nic1", alias: "berth:x was nic0" } as const;
      steps.push({ type: "device", ...moved, former, ...asked });
      if (device === "up") steps.push({ type: "up", where: "container", link: "nic1", alias: "berth:x was nic0" });
    }
    if (sysctl) steps.push({ type: "sysctl", where: "container", key: "net/ipv4/conf/eth0/arp_notify", value: "1" });
    const metric = extra.includes("metric") ? { metric: 777 } : {};
    if (v4) steps.push({ type: "address", ...inC, address: cidr("192.168.122.177/24"), ...metric });
    if (v6) steps.push({ type: "address", ...inC, address: cidr("fd22::177/64"), dad: "off" });
    // a machine's link has no addresses
    const guest = extra.includes("guest") && !v4 && !v6 ? ({ guest: true } as const) : {};
    steps.push({ type: "up", ...inC, alias: "berth:net/it's a test/eth0", ...guest });
    if (v6) steps.push({ type: "settle", ...inC, timeoutMs: 5000 });
    const rule = { type: "rule", where: "container", table: 777, priority: 980 } as const;
    if (v4 && extra.includes("rules")) steps.push({ ...rule, from: "192.168.122.177" });
    if (v6 && extra.includes("rules")) steps.push({ ...rule, from: "fd22::177" });
    if (v4 && extra.includes("rules")) steps.push({ ...rule, to: cidr("192.168.10.0/24") });
    if (v6 && extra.includes("rules")) steps.push({ ...rule, to: cidr("fd10::22/128"), from: "fd22::177" });
    if (v4 && extra.includes("default"))
      steps.push({ type: "route", ...inC, route: { dst: cidr("0.0.0.0/0"), gateway: "192.168.122.1" } });
    if (v6 && extra.includes("default"))
      steps.push({ type: "route", ...inC, route: { dst: cidr("::/0"), gateway: "fd22::1" } });
    if (v4 && extra.includes("table"))
      steps.push({
        type: "route",
        ...inC,
        route: { dst: cidr("10.0.0.0/8"), gateway: "192.168.122.1", table: 777, metric: 5, mtu: 1300, advmss: 1200 },
      });
    if (v4 && extra.includes("onlink"))
      steps.push({ type: "route", ...inC, route: { dst: cidr("10.9.0.0/16"), gateway: "10.99.0.1", onlink: true } });
    if (v4 && extra.includes("duplicate"))
      steps.push({ type: "route", ...inC, route: { dst: cidr("192.168.122.0/24"), scope: 253 } });
    if (extra.includes("neighbour"))
      steps.push({ type: "neighbour", ...inC, ip: "192.168.10.22", mac: "02:00:00:00:00:02" });
    if (v4 && access !== "none") {
      steps.push({
        type: "route",
        ...inC,
        route: { dst: cidr("192.168.10.22/32"), source: "192.168.122.177", scope: 253 },
      });
      steps.push({
        type: "route",
        where: "host",
        link: hostLink,
        route: { dst: cidr("192.168.122.177/32"), source: "192.168.10.22", scope: 253 },
      });
      steps.push({ type: "neighbour", where: "host", link: hostLink, ip: "192.168.122.177", mac });
    }
    if (v6 && access !== "none") {
      steps.push({ type: "route", ...inC, route: { dst: cidr("fd10::22/128"), source: "fd22::177" } });
      steps.push({
        type: "route",
        where: "host",
        link: hostLink,
        route: { dst: cidr("fd22::177/128"), source: "fd10::22" },
      });
      steps.push({ type: "neighbour", where: "host", link: hostLink, ip: "fd22::177", mac });
    }
    return steps;
  });

/** Steps that the kernel refuses, whatever was before. */
const impossible: Step[] = [
  {
    type: "link",
    where: "container",
    name: "other",
    parent: { name: "eth1", where: "host" },
    detail: { kind: "macvlan", mode: "bridge" },
  },
  {
    type: "link",
    where: "container",
    name: "x",
    parent: { name: "nothing", where: "host" },
    detail: { kind: "macvlan", mode: "bridge" },
  },
  { type: "route", where: "container", link: "other", route: { dst: cidr("10.77.0.0/16"), gateway: "172.31.0.1" } },
  { type: "route", where: "host", link: "eth0", route: { dst: cidr("192.168.122.200/32"), scope: 253 } },
  { type: "neighbour", where: "host", link: "macvtap1", ip: "192.168.122.201", mac },
  { type: "sysctl", where: "container", key: "net/ipv4/conf/nothing/arp_notify", value: "1" },
  { type: "address", where: "container", link: "nothing", address: cidr("10.0.0.1/8") },
  { type: "up", where: "container", link: "nothing" },
  { type: "down", where: "container", link: "nothing" },
  // in a user namespace nobody makes device nodes
  { type: "tap", where: "host", tapOf: link, path: "/run/berth/taps/x", uid: 0, gid: 0, mode: 0o660 },
];

function withAccessLink(ip: string): Step[] {
  return [
    {
      type: "access-link",
      where: "host",
      name: "berth-eth1",
      parent: { name: "eth1", where: "host" },
      detail: { kind: "macvlan", mode: "bridge" },
      mac: "02:00:00:00:00:02",
    },
    { type: "route", where: "host", link: "berth-eth1", route: { dst: cidr(`${ip}/32`), scope: 253 } },
  ];
}

describe("on the real kernel", () => {
  test("undo(apply(state)) = state, verify holds in between, and undoing twice changes nothing", async () => {
    const before = state();
    await fc.assert(
      fc.asyncProperty(plan, async (steps) => {
        using places = Places.open(NETNS);
        await applyPlan(steps, places);
        expect(await verifyPlan(steps, places)).toEqual([]);
        expect(await undoPlan(steps, places)).toEqual([]);
        expect(await undoPlan(steps, places)).toEqual([]);
        expect((await verifyPlan(steps, places)).length).toBeGreaterThan(0);
        expect(state()).toEqual(before);
      }),
      { numRuns: 12, endOnFailure: true },
    );
  });

  test("a plan that fails at any step leaves the state as it was, a link that was set up down again", async () => {
    const before = state();
    await fc.assert(
      fc.asyncProperty(plan, fc.constantFrom(...impossible), fc.nat(), async (steps, wrong, at) => {
        using places = Places.open(NETNS);
        const i = 1 + (at % steps.length);
        const all: Step[] = [
          { type: "up", where: "host", link: "down1" },
          ...steps.slice(0, i),
          wrong,
          ...steps.slice(i),
        ];
        expect(await failureOf(applyPlan(all, places))).toBeInstanceOf(Failure);
        expect(state()).toEqual(before);
      }),
      { numRuns: 12, endOnFailure: true },
    );
  });

  test("what explain prints builds the same state when it is run by a shell, and its reverse takes it away", async () => {
    const before = state();
    await fc.assert(
      fc.asyncProperty(plan, async (steps) => {
        using places = Places.open(NETNS);
        await applyPlan(steps, places);
        const built = state();
        await undoPlan(steps, places);
        // where `ip` refuses what the plan tolerates (a route that is there), the shell goes on
        const script = (await explainPlan(steps, NETNS)).join("\n");
        expect(script).not.toContain("undefined");
        Bun.spawnSync(["sh", "-c", script]);
        expect(state()).toEqual(built);
        const back = (await explainUndo(steps, NETNS)).map((line) =>
          line.replace(/^# with the last attachment that uses it: /u, ""),
        );
        w.run(["sh", "-e", "-c", back.join("\n")]);
        expect(state()).toEqual(before);
      }),
      { numRuns: 8, endOnFailure: true },
    );
  });

  test("verify names each thing that was changed by hand", async () => {
    const steps: Step[] = [
      {
        type: "access-link",
        where: "host",
        name: "berth-eth1",
        parent: { name: "eth1", where: "host" },
        detail: { kind: "macvlan", mode: "bridge" },
        mac: "02:00:00:00:00:02",
      },
      {
        type: "link",
        where: "container",
        name: link,
        parent: { name: "eth1", where: "host" },
        detail: { kind: "macvlan", mode: "bridge" },
        mac,
      },
      { type: "sysctl", where: "container", key: "net/ipv4/conf/eth0/arp_notify", value: "1" },
      { type: "address", ...inC, address: cidr("192.168.122.177/24") },
      { type: "up", ...inC, alias: "berth:x" },
      { type: "route", ...inC, route: { dst: cidr("0.0.0.0/0"), gateway: "192.168.122.1" } },
      { type: "neighbour", ...inC, ip: "192.168.10.22", mac: "02:00:00:00:00:02" },
      {
        type: "route",
        where: "host",
        link: "berth-eth1",
        route: { dst: cidr("192.168.122.177/32"), source: "192.168.10.22", scope: 253 },
      },
    ];
    const damages: [string, string, string][] = [
      ["", "route del 192.168.122.177/32", "route 192.168.122.177/32 dev berth-eth1: is not there"],
      ["", "link set berth-eth1 down", "link berth-eth1: is down"],
      ["", "link del berth-eth1", "access link berth-eth1: is not there"],
      ["c", "route del default", "route default via 192.168.122.1 dev eth0: is not there"],
      [
        "c",
        "neigh replace 192.168.10.22 lladdr 02:00:00:00:00:55 dev eth0 nud permanent",
        "neighbour 192.168.10.22 on eth0: is 02:00:00:00:00:55, planned was 02:00:00:00:00:02",
      ],
      ["c", "neigh del 192.168.10.22 dev eth0", "neighbour 192.168.10.22 on eth0: is not there"],
      ["c", "addr del 192.168.122.177/24 dev eth0", "address 192.168.122.177/24 on eth0: is not there"],
      ["c", "link set eth0 mtu 1300", ""],
      [
        "c",
        "link set eth0 address 02:00:00:00:00:77",
        "link eth0: MAC is 02:00:00:00:00:77, planned was 02:00:00:00:00:01",
      ],
      ["c", "link set eth0 type macvlan mode private", "link eth0: mode is private, planned was bridge"],
      ["c", "link set eth0 down", "link eth0: is down"],
      ["c", "link del eth0", "link eth0: is not there"],
    ];
    for (const [namespace, damage, sentence] of damages) {
      using places = Places.open(NETNS);
      await applyPlan(steps, places);
      w.ip(namespace, damage);
      const found = await verifyPlan(steps, places);
      if (sentence === "") expect(found).toEqual([]);
      else expect(found).toContain(sentence);
      await undoPlan(steps, places);
      if (w.ip("c", "link show").includes("eth0@")) w.ip("c", "link del eth0"); // its MAC was changed: no longer Berth's to delete
    }
  });

  test("undo never deletes what Berth did not make", async () => {
    using places = Places.open(NETNS);
    // alike but for the group: kind, name and MAC are the plan's
    w.ip("", `link add link eth1 name passing netns c address ${mac} type macvlan mode bridge`);
    w.ip("c", "link set passing name eth0");
    w.ip("c", "link set eth0 up");
    w.ip("", "link add berth-eth1 link eth1 type macvlan mode bridge");
    w.ip("", "link set berth-eth1 up");
    w.ip("", "route add 192.168.122.177/32 dev berth-eth1 scope link");
    w.ip("", "neigh add 192.168.122.177 lladdr 02:00:00:00:00:01 dev berth-eth1 nud permanent");
    const before = state();
    await fc.assert(
      fc.asyncProperty(plan, async (steps) => {
        await undoPlan(steps, places);
      }),
      { numRuns: 30, endOnFailure: true },
    );
    expect(state()).toEqual(before);
    w.ip("c", "link del eth0");
    w.ip("", "link del berth-eth1");
  });

  test("a second plan that needs the access link keeps it, the last takes it away", async () => {
    using places = Places.open(NETNS);
    await applyPlan(withAccessLink("192.168.122.1"), places);
    await applyPlan(withAccessLink("192.168.122.2"), places);
    await undoPlan(withAccessLink("192.168.122.1"), places);
    expect(w.ipJson("", "-6 address show dev berth-eth1")).toEqual([]); // quiet before it went up
    expect(w.link("", "berth-eth1")).toMatchObject({
      up: true,
      arp: false,
      multicast: false,
      alias: "berth:access:eth1",
    });
    await undoPlan(withAccessLink("192.168.122.2"), places);
    expect(() => w.link("", "berth-eth1")).toThrow();
  });
});

test("the first failure is thrown; what the kernel said is in it", async () => {
  using places = Places.open(NETNS);
  const occupied: Step[] = [
    {
      type: "link",
      where: "container",
      name: "other",
      parent: { name: "eth1", where: "host" },
      detail: { kind: "macvlan", mode: "bridge" },
    },
  ];
  expect((await failureOf(applyPlan(occupied, places))).message).toContain(
    "create macvlan other on eth1: exists already (EEXIST)",
  );
  const foreign: Step[] = [
    { type: "route", where: "host", link: "eth0", route: { dst: cidr("192.168.122.200/32"), scope: 253 } },
  ];
  expect((await failureOf(applyPlan(foreign, places))).message).toContain(
    'there is "192.168.122.200/32 dev macvtap1 metric 0 proto 4"',
  );
  const lacking: Step[] = [
    {
      type: "link",
      where: "container",
      name: "v5",
      parent: { name: "eth1", where: "host" },
      detail: { kind: "ipvlan", mode: "l2" },
    },
  ];
  try {
    await applyPlan(lacking, places);
    await undoPlan(lacking, places); // a kernel that has it
  } catch (e) {
    const has = supportsKind(w.netlink(""), { kind: "ipvlan", mode: "l2" });
    expect(e).toMatchObject({
      reason: has ? "kernel" : "unavailable",
      message: expect.stringContaining(has ? "EBUSY" : "this kernel has no ipvlan"),
      advice: expect.stringContaining(has ? "macvtap1 (macvtap bridge)" : "modprobe ipvlan"),
    });
  }
});

test("words for a shell come back unchanged", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme" }).filter((s) => !s.includes("\0")),
      (word) => {
        const r = Bun.spawnSync(["sh", "-c", `printf %s ${quote(word)}`]);
        expect(r.stdout.toString()).toBe(word);
      },
    ),
    { numRuns: 60 },
  );
});

test("a name that the host has too is free in the container", async () => {
  w.ip("", "link add both0 type bridge");
  using places = Places.open(NETNS);
  const step: Step = {
    type: "link",
    where: "container",
    name: "both0",
    parent: { name: "eth1", where: "host" },
    detail: { kind: "macvlan", mode: "bridge" },
    mac: "02:00:00:00:00:09",
  };
  await applyPlan([step], places);
  expect(w.link("c", "both0").kind).toBe("macvlan");
  expect(w.link("", "both0").kind).toBe("bridge");
  // taken in the container too: refused, and nothing is left, under no name
  const before = w.ip("c", "link show");
  const second = { ...step, mac: "02:00:00:00:00:0a" };
  expect((await failureOf(applyPlan([second], places))).reason).toBe("exists");
  expect(w.ip("c", "link show")).toBe(before);
  await undoPlan([step], places);
  expect(() => w.link("c", "both0")).toThrow();
  w.deleteLink("", "both0");
});
