import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { listAddresses } from "../../src/kernel/addresses.ts";
import { findLink } from "../../src/kernel/links.ts";
import { ping } from "../../src/kernel/icmp.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { type Snapshot, TestWorld } from "../world.ts";
import { call } from "./call.ts";

const CONFIGURATION = readFileSync(`${import.meta.dir}/../../examples/host-access-macvtap.conf`, "utf8");
const RESERVATIONS = "/var/lib/cni/networks";

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0"); // link-local addresses are not waited for
  for (const lan of ["office", "tasks"]) w.lan(lan);
  w.namespace("peer");
  w.plug("office", "", "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", "", "eth1");
  w.plug("tasks", "peer", "eth0", "192.168.122.22/24", "fd22::22/64");
  for (const name of ["macvtap1", "macvtap2", "macvtap3"])
    w.subInterface("eth1", name, { kind: "macvtap", mode: "bridge" });
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  before = w.snapshot("");
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
});
afterEach(() => {
  w.removeNamespace("c");
});
afterAll(() => w[Symbol.dispose]());

function reserved(): string[] {
  if (!existsSync(RESERVATIONS)) return [];
  return readdirSync(RESERVATIONS).flatMap((n) =>
    readdirSync(`${RESERVATIONS}/${n}`).filter((f) => /^[\da-f]+[.:][\da-f.:]+$/u.test(f)),
  );
}

function records(): string[] {
  return existsSync("/run/berth/attachments") ? readdirSync("/run/berth/attachments") : [];
}

function nothingIsLeft(): void {
  expect(w.snapshot("")).toEqual(before);
  expect(reserved()).toEqual([]);
  expect(records()).toEqual([]);
}

function network(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    cniVersion: "1.0.0",
    name: "net",
    type: "macvlan",
    master: "eth1",
    ipam: {
      type: "host-local",
      ranges: [
        [{ subnet: "192.168.122.0/24", rangeStart: "192.168.122.171", rangeEnd: "192.168.122.179" }],
        [{ subnet: "fd22::/64" }],
      ],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
    ...more,
  };
}

const task4 = "192.168.122.177";

describe("the configuration that people have, to the character", () => {
  test("ADD, CHECK, DEL; host and task talk both ways, a neighbour reaches the task, two other macvtaps stay", async () => {
    const added = await call("ADD", CONFIGURATION, {}, "macvtap");
    expect(added.exitCode).toBe(0);
    expect(added.json).toMatchObject({
      cniVersion: "0.1.0",
      ip4: { ip: `${task4}/24` },
      dns: { nameservers: ["192.168.10.10"] },
    });
    const c = w.at("c");
    expect(ping(undefined, task4)).toMatchObject({ ok: true });
    expect(ping(c, "192.168.10.22")).toMatchObject({ ok: true });
    expect(exchange(undefined, c, task4, 80)).toMatchObject({ ok: true, peer: "192.168.10.22" });
    expect(exchange(c, undefined, "192.168.10.22", 80)).toMatchObject({ ok: true, peer: task4 });
    expect(ping(w.at("peer"), task4)).toMatchObject({ ok: true });
    expect(exchange(w.at("peer"), c, task4, 80)).toMatchObject({ ok: true, peer: "192.168.122.22" });
    expect((await call("CHECK", CONFIGURATION, {}, "macvtap")).text).toBe("");
    expect((await call("DEL", CONFIGURATION, {}, "macvtap")).text).toBe("");
    nothingIsLeft();
  });

  test("the IPAM route to a host address is host access's, not a second one", async () => {
    await call("ADD", CONFIGURATION, {}, "macvtap");
    const routes = w.ipJson("c", "route show proto 98");
    expect(routes.map((r) => r["dst"])).toEqual(["192.168.10.22", "192.168.122.22"]);
    expect(routes[0]).toMatchObject({ scope: "link", prefsrc: task4 });
    await call("DEL", CONFIGURATION, {}, "macvtap");
  });
});

describe("host access", () => {
  for (const kind of ["macvlan", "macvtap"]) {
    for (const hostrouteif of ["auto", "macvtap1"]) {
      test(`${kind} by ${hostrouteif}: both families, both directions, ICMP and TCP, whatever ARP is told`, async () => {
        const config = network({ type: kind, hostrouteif });
        w.sysctl("", "net/ipv4/conf/all/arp_ignore", "2");
        w.sysctl("", "net/ipv4/conf/all/rp_filter", "1");
        try {
          expect((await call("ADD", config)).exitCode).toBe(0);
          const c = w.at("c");
          for (const [task, host] of [
            ["192.168.122.171", "192.168.10.22"],
            ["fd22::2", "fd10::22"],
          ] as const) {
            expect(ping(undefined, task)).toMatchObject({ ok: true });
            expect(ping(c, host)).toMatchObject({ ok: true });
            expect(exchange(undefined, c, task, 80)).toMatchObject({ ok: true, peer: host });
            expect(exchange(c, undefined, host, 80)).toMatchObject({ ok: true, peer: task });
          }
          expect((await call("CHECK", config)).text).toBe("");
          if (hostrouteif === "auto") {
            expect(w.ipJson("", "link show dev berth-eth1")).toMatchObject([
              { linkinfo: { info_kind: "macvlan", info_data: { mode: "bridge" } } },
            ]);
            expect(w.ipJson("", "address show dev berth-eth1").flatMap((l) => l["addr_info"])).toEqual([]);
          }
          expect((await call("DEL", config)).exitCode).toBe(0);
        } finally {
          w.sysctl("", "net/ipv4/conf/all/arp_ignore", "0");
          w.sysctl("", "net/ipv4/conf/all/rp_filter", "0");
        }
        nothingIsLeft();
      });
    }
  }

  test("two attachments share the access link that Berth makes; it goes with the last", async () => {
    w.namespace("d");
    const config = network({ hostrouteif: "auto" });
    const d = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    await call("ADD", config);
    await call("ADD", config, d);
    await call("DEL", config);
    expect(findLink(w.netlink(""), "berth-eth1")).toBeDefined();
    expect(ping(undefined, "192.168.122.172")).toMatchObject({ ok: true });
    await call("DEL", config, d);
    w.removeNamespace("d");
    nothingIsLeft();
  });

  test("hostrouteip chooses the host's addresses", async () => {
    const config = network({ hostrouteif: "auto", hostrouteip: "192.168.10.22" });
    await call("ADD", config);
    expect(w.ipJson("c", "-6 route show proto 98").map((r) => r["dst"])).not.toContain("fd10::22");
    expect(w.ipJson("c", "-4 route show proto 98").map((r) => r["dst"])).toContain("192.168.10.22");
    await call("DEL", config);
    const wrong = await call("ADD", network({ hostrouteif: "auto", hostrouteip: ["10.0.0.1"] }));
    expect(wrong.json).toMatchObject({
      code: 7,
      msg: expect.stringContaining("give host access to 10.0.0.1: the host has no such address"),
    });
    nothingIsLeft();
  });

  test("the host's packets leave with an address that the task has a route to, whatever others the host has", async () => {
    w.ip("", "address add 172.30.0.1/32 dev lo");
    const config = network({ hostrouteif: "auto", hostrouteip: ["192.168.10.22", "fd10::22"] });
    await call("ADD", config);
    expect(exchange(undefined, w.at("c"), "192.168.122.171", 80)).toMatchObject({ ok: true, peer: "192.168.10.22" });
    expect(w.ipJson("", "route get 192.168.122.171")).toMatchObject([{ prefsrc: "192.168.10.22", dev: "berth-eth1" }]);
    expect(w.ipJson("", "-6 route get fd22::2")).toMatchObject([{ prefsrc: "fd10::22", dev: "berth-eth1" }]);
    await call("DEL", config);
    w.ip("", "address del 172.30.0.1/32 dev lo");
    nothingIsLeft();
  });

  test("the canonical form: link, addresses, metric, table and neighbours", async () => {
    const hostAccess = { link: "macvtap1", addresses: ["192.168.10.22"], metric: 77, table: 500, neighbours: "kernel" };
    const config = network({ hostAccess });
    expect((await call("ADD", config)).json).not.toHaveProperty("code");
    expect(w.ipJson("", "route show table 500")).toMatchObject([
      { dst: "192.168.122.171", dev: "macvtap1", metric: 77 },
    ]);
    expect(w.ip("", "neigh show nud permanent proto 98")).toBe("");
    expect((await call("CHECK", config)).text).toBe("");
    await call("DEL", config);
    for (const off of [{ hostAccess: false }, {}]) {
      await call("ADD", network(off));
      expect(w.ip("", "route show table all proto 98")).toBe("");
      await call("DEL", network(off));
    }
    const both = await call("ADD", network({ hostAccess: "auto", hostrouteif: "auto" }));
    expect(both.json).toMatchObject({ code: 7, msg: expect.stringContaining("together with its short form") });
    nothingIsLeft();
  });

  test("a table of Berth's own wins over a VPN's policy rule, and goes with the last attachment", async () => {
    w.namespace("d");
    const d = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    for (const rule of ["-4", "-6"]) w.ip("", `${rule} rule add priority 1000 table 51820`);
    w.ip("", "route add default dev eth0 table 51820");
    w.ip("", "-6 route add default dev eth0 table 51820");
    const vpn = w.snapshot("");
    const plain = network({ hostAccess: "auto" });
    await call("ADD", plain);
    expect(ping(undefined, "192.168.122.171", { timeoutMs: 200 }).ok).toBe(false); // the VPN takes it
    await call("DEL", plain);
    const own = network({ hostAccess: { table: "own" } });
    await call("ADD", own);
    await call("ADD", own, d);
    for (const ip of ["192.168.122.172", "fd22::3"]) expect(ping(undefined, ip)).toMatchObject({ ok: true });
    await call("DEL", own);
    for (const ip of ["192.168.122.173", "fd22::4"]) expect(ping(undefined, ip)).toMatchObject({ ok: true });
    expect((await call("CHECK", own, d)).text).toBe("");
    rmSync("/run/berth", { recursive: true });
    await call("DEL", own, d);
    w.removeNamespace("d");
    expect(w.ip("", "route show table all proto 98")).toBe("");
    expect(w.snapshot("")).toEqual(vpn);
    for (const rule of ["-4", "-6"]) w.ip("", `${rule} rule del priority 1000`);
    w.ip("", "route flush table 51820");
    w.ip("", "-6 route flush table 51820");
    nothingIsLeft();
  });

  const refused: [string, Record<string, unknown>, string][] = [
    ["mode vepa", { mode: "vepa", hostrouteif: "auto" }, "give macvlan in mode vepa host access"],
    ["mode private", { mode: "private", hostrouteif: "macvtap1" }, "give macvlan in mode private host access"],
    ["a link that is not there", { hostrouteif: "nothing" }, "use nothing as the access link: there is no such link"],
    ["a NIC", { hostrouteif: "eth0" }, "use eth0 as the access link: it is a veth"],
    [
      "a link of another parent",
      { hostrouteif: "elsewhere" },
      "use elsewhere as the access link: its parent is eth0, the attachment's is eth1",
    ],
    ["a link of another mode", { hostrouteif: "vepa1" }, "its mode is vepa, and must be bridge"],
    ["kind vlan", { type: "vlan", vlanId: 5, hostrouteif: "auto" }, "give a vlan host access"],
    [
      "linkInContainer",
      { linkInContainer: true, hostrouteif: "auto" },
      "give host access to an attachment with linkInContainer",
    ],
  ];
  test.each(refused)("with %s it is refused with code 7, and nothing changes", async (_, more, sentence) => {
    w.subInterface("eth0", "elsewhere", { kind: "macvlan", mode: "bridge" });
    w.subInterface("eth1", "vepa1", { kind: "macvlan", mode: "vepa" });
    const reply = await call("ADD", network(more));
    expect(reply.exitCode).toBe(1);
    expect(reply.json).toMatchObject({ cniVersion: "1.0.0", code: 7, msg: expect.stringContaining(sentence) });
    for (const name of ["elsewhere", "vepa1"]) w.deleteLink("", name);
    nothingIsLeft();
  });

  test("a foreign route to the task's address is refused, printed, and stays", async () => {
    w.ip("", "route add 192.168.122.171/32 dev eth0 scope link proto static");
    const reply = await call("ADD", network({ hostrouteif: "auto" }));
    expect(reply.json).toMatchObject({
      code: 102,
      msg: expect.stringContaining('there is "192.168.122.171/32 dev eth0'),
    });
    w.ip("", "route del 192.168.122.171/32 dev eth0");
    nothingIsLeft();
  });

  test("the host's own address is never given to a task", async () => {
    const config = network({
      hostrouteif: "auto",
      ipam: { type: "static", addresses: [{ address: "192.168.10.22/24" }] },
    });
    expect((await call("ADD", config)).json).toMatchObject({
      code: 101,
      msg: expect.stringContaining("the host itself has this address"),
    });
    nothingIsLeft();
  });
});

describe("kinds and modes", () => {
  for (const kind of ["macvlan", "macvtap"]) {
    for (const mode of ["bridge", "private", "vepa", "passthru", "source"]) {
      test(`${kind} ${mode}, dual stack`, async () => {
        // passthru wants the parent for itself
        if (mode === "passthru") for (const name of ["macvtap1", "macvtap2", "macvtap3"]) w.deleteLink("", name);
        const config = network({
          type: "berth",
          kind,
          mode,
          ...(mode === "source" ? { sources: [w.link("peer", "eth0").mac] } : {}),
        });
        const reply = await call("ADD", config);
        expect(reply.json).toMatchObject({
          interfaces: [{ name: "eth0", sandbox: "/run/netns/c" }],
          ips: [
            { address: "192.168.122.171/24", gateway: "192.168.122.1", interface: 0 },
            { address: "fd22::2/64", gateway: "fd22::1", interface: 0 },
          ],
        });
        expect(w.ipJson("c", "link show dev eth0")).toMatchObject([
          { linkinfo: { info_kind: kind, info_data: { mode } } },
        ]);
        const ips = (reply.json["ips"] as { address: string }[]).map((i) => i.address.replace(/\/.*/u, ""));
        for (const ip of ips) expect(ping(w.at("peer"), ip)).toMatchObject({ ok: true });
        expect((await call("CHECK", { ...config, prevResult: reply.json })).text).toBe("");
        await call("DEL", config);
        if (mode === "passthru")
          for (const name of ["macvtap1", "macvtap2", "macvtap3"])
            w.subInterface("eth1", name, { kind: "macvtap", mode: "bridge" });
        if (mode !== "passthru") nothingIsLeft();
      });
    }
  }

  test.each(["ipvlan", "vlan"])("%s: made, or refused with the reason that the kernel lacks it", async (kind) => {
    // a parent has macvlans or ipvlans
    for (const name of ["macvtap1", "macvtap2", "macvtap3"]) w.deleteLink("", name);
    before = w.snapshot("");
    const config = network({ type: kind, ...(kind === "vlan" ? { vlanId: 7 } : {}) });
    const reply = await call("ADD", config);
    if (reply.exitCode !== 0) {
      expect(reply.json).toMatchObject({
        code: 50,
        msg: expect.stringContaining(`create ${kind} eth0 on eth1: operation not supported (EOPNOTSUPP)`),
        details: expect.stringContaining("modprobe"),
      });
    }
    await call("DEL", config);
    nothingIsLeft();
    for (const name of ["macvtap1", "macvtap2", "macvtap3"])
      w.subInterface("eth1", name, { kind: "macvtap", mode: "bridge" });
  });

  test("IPv6 only; IPv4 only; static; no IPAM at all; the parent in the container", async () => {
    const variants: [unknown, number][] = [
      [{ type: "host-local", subnet: "fd22::/64" }, 1],
      [{ type: "host-local", subnet: "192.168.122.0/24" }, 1],
      [{ type: "static", addresses: [{ address: "192.168.122.90/24" }, { address: "fd22::90/64" }] }, 2],
      [{}, 0],
      [undefined, 0],
    ];
    for (const [ipam, count] of variants) {
      const config = network({ ipam });
      const reply = await call("ADD", config);
      expect((reply.json["ips"] as unknown[] | undefined)?.length ?? 0).toBe(count);
      expect(listAddresses(w.netlink("c"), w.link("c", "eth0").index).filter((a) => a.scope === 0)).toHaveLength(count);
      expect(w.link("c", "eth0").up).toBe(true);
      await call("DEL", config);
    }
    w.plug("tasks", "c", "inner0");
    const inside = network({ master: "inner0", linkInContainer: true });
    expect((await call("ADD", inside)).exitCode).toBe(0);
    expect(w.link("c", "eth0").parentIndex).toBe(w.link("c", "inner0").index);
    await call("DEL", inside);
    w.deleteLink("c", "inner0");
    nothingIsLeft();
  });

  test("mtu, mac and bcqueuelen; MAC and addresses asked for in each way, the runtime's word first", async () => {
    const config = network({ mtu: 1400, mac: "02:00:00:00:00:01", bcqueuelen: 500 });
    await call("ADD", config);
    expect(w.ipJson("c", "link show dev eth0")).toMatchObject([
      { mtu: 1400, address: "02:00:00:00:00:01", linkinfo: { info_data: { bcqueuelen: 500 } } },
    ]);
    await call("DEL", config);
    const args = { CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02-00-00-00-00-02;IP=192.168.122.178" };
    const asked = { ...config, args: { cni: { mac: "02:00:00:00:00:03" } } };
    const reply = await call("ADD", asked, args);
    expect(reply.json).toMatchObject({
      interfaces: [{ mac: "02:00:00:00:00:02" }],
      ips: [{ address: "192.168.122.178/24" }, {}],
    });
    await call("DEL", asked, args);
    const runtime = {
      ...asked,
      runtimeConfig: { mac: "02:00:00:00:00:04", ips: ["192.168.122.175/24", "fd22::99/64"] },
    };
    const best = await call("ADD", runtime, { CNI_ARGS: "MAC=02:00:00:00:00:02" });
    expect(best.json).toMatchObject({
      interfaces: [{ mac: "02:00:00:00:00:04" }],
      ips: [{ address: "192.168.122.175/24" }, { address: "fd22::99/64" }],
    });
    await call("DEL", runtime);
    nothingIsLeft();
  });

  test("the parent by what it is: MAC, subnet, the first of several names, the default route", async () => {
    w.ip("", "route add default via 192.168.10.1 dev eth0");
    for (const [master, parent] of [
      [{ mac: w.link("", "eth1").mac?.toUpperCase() }, "eth1"],
      [{ subnet: "192.168.10.0/24" }, "eth0"],
      [{ names: ["nothing", "eth1", "eth0"] }, "eth1"],
      [undefined, "eth0"],
    ] as const) {
      const config = network({ master });
      expect((await call("ADD", config)).exitCode).toBe(0);
      expect(w.link("c", "eth0").parentIndex).toBe(w.link("", parent).index);
      await call("DEL", config);
    }
    w.ip("", "route del default");
    for (const [master, sentence] of [
      [{ mac: "02:00:00:00:00:99" }, "there is no such link"],
      [{ subnet: "10.99.0.0/16" }, "there is no such link"],
      [{ names: ["x", "y"] }, "the first of x, y"],
      ["nothing", "find the parent, nothing: there is no such link"],
      ["lo", "it is the loopback link"],
      [undefined, "there is no default route"],
    ] as const) {
      expect((await call("ADD", network({ master }))).json).toMatchObject({
        code: 7,
        msg: expect.stringContaining(sentence),
      });
    }
    nothingIsLeft();
  });
});

/** An IPAM plugin made of a shell script's lines, which notes what it was called with. */
function plugin(script: string): void {
  const note = "cat >/dev/null\necho $CNI_COMMAND >> /run/plugins/calls";
  writeFileSync("/run/plugins/my-ipam", `#!/bin/sh\n${note}\n${script}\n`, { mode: 0o755 });
}

describe("what goes wrong", () => {
  test("an MTU above the parent's is refused with both numbers", async () => {
    const reply = await call("ADD", network({ mtu: 9000 }));
    expect(reply.json).toMatchObject({ code: 7, msg: "give eth0 an MTU of 9000 bytes: its parent eth1 has 1500" });
    nothingIsLeft();
  });

  test("a parent that is a bridge's port is refused, naming the bridge, which can be one", async () => {
    w.ip("", "link add br0 type bridge");
    w.ip("", "link set br0 up");
    w.ip("", "link add port0 type veth peer name port1");
    w.ip("", "link set port0 master br0 up");
    expect((await call("ADD", network({ master: "port0" }))).json).toMatchObject({
      code: 100,
      msg: expect.stringContaining("EBUSY"),
      details: expect.stringContaining("port0 is a port of bridge br0: make br0 the parent"),
    });
    const config = network({ master: "br0" });
    expect((await call("ADD", config)).exitCode).toBe(0);
    expect((await call("DEL", config)).text).toBe("");
    for (const name of ["port0", "br0"]) w.ip("", `link del ${name}`);
    nothingIsLeft();
  });

  test("a passthru link excludes others, which are named", async () => {
    const passthru = network({ mode: "passthru" });
    const others = ["macvtap1", "macvtap2", "macvtap3"].map((name) => expect.stringContaining(`${name} (macvtap`));
    const refused = await call("ADD", passthru);
    expect(refused.json).toMatchObject({ msg: expect.stringContaining("EINVAL") });
    for (const other of others) expect(refused.json["details"]).toEqual(other);
    nothingIsLeft();
  });

  test("a name that is taken in the namespace is refused, and what has it stays", async () => {
    w.ip("c", "link add eth0 type bridge");
    const reply = await call("ADD", network({ hostrouteif: "auto" }));
    expect(reply.json).toMatchObject({
      code: 102,
      msg: expect.stringContaining("create macvlan eth0 on eth1: exists already (EEXIST)"),
    });
    expect(w.link("c", "eth0").kind).toBe("bridge");
    await call("DEL", network({ hostrouteif: "auto" }));
    expect(w.link("c", "eth0").kind).toBe("bridge");
    nothingIsLeft();
  });

  test("ADD twice is refused while the first is there, and repaired where its link is gone", async () => {
    const config = network({ hostrouteif: "auto" });
    await call("ADD", config);
    expect((await call("ADD", config)).json).toMatchObject({
      code: 102,
      msg: expect.stringContaining("it is attached since"),
    });
    expect((await call("CHECK", config)).text).toBe("");
    w.ip("c", "link del eth0");
    expect((await call("ADD", config)).exitCode).toBe(0);
    expect((await call("CHECK", config)).text).toBe("");
    await call("DEL", config);
    nothingIsLeft();
  });

  test("a parent that vanishes between ADD and DEL", async () => {
    w.plug("tasks", "", "eth7");
    const config = network({ master: "eth7", hostrouteif: "auto" });
    expect((await call("ADD", config)).exitCode).toBe(0);
    w.deleteLink("", "eth7");
    expect((await call("DEL", config)).text).toBe("");
    nothingIsLeft();
  });

  test("a namespace that vanished: by its path, by an empty CNI_NETNS, by none", async () => {
    for (const CNI_NETNS of ["/run/netns/c", "", undefined]) {
      const config = network({ hostrouteif: "auto" });
      await call("ADD", config);
      w.removeNamespace("c");
      expect((await call("CHECK", config)).json).toMatchObject({ code: 8 });
      expect((await call("DEL", config, { CNI_NETNS })).text).toBe("");
      nothingIsLeft();
      w.namespace("c");
    }
  });

  test("DEL twice, DEL of what never was", async () => {
    const config = network({ hostrouteif: "auto" });
    await call("ADD", config);
    for (let i = 0; i < 3; i++) expect((await call("DEL", config)).text).toBe("");
    expect((await call("DEL", config, { CNI_CONTAINERID: "never" })).text).toBe("");
    nothingIsLeft();
  });

  test("a DEL that is repeated late leaves alone who has the address now", async () => {
    w.namespace("d");
    const d = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    const config = network({ hostrouteif: "auto", args: { cni: { ips: ["192.168.122.177"] } } });
    const first = await call("ADD", config);
    const late = { ...config, prevResult: first.json };
    expect((await call("DEL", late)).text).toBe("");
    expect((await call("ADD", config, d)).json).not.toHaveProperty("code");
    expect((await call("DEL", late)).text).toBe("");
    expect((await call("CHECK", config, d)).text).toBe("");
    expect(ping(undefined, "192.168.122.177")).toMatchObject({ ok: true });
    await call("DEL", config, d);
    w.removeNamespace("d");
    nothingIsLeft();
  });

  test("what could not be given back after a failure stays on record, its own error first", async () => {
    mkdirSync("/run/plugins", { recursive: true });
    const CNI_PATH = "/run/plugins";
    const config = network({ ipam: { type: "my-ipam" } });
    w.ip("c", "link add eth0 type bridge");
    const address = `'{"cniVersion":"1.0.0","ips":[{"address":"192.168.122.99/24"}]}'`;
    plugin(`[ $CNI_COMMAND = ADD ] && echo ${address} && exit 0; echo '{"code":42,"msg":"server away"}'; exit 1`);
    const reply = await call("ADD", config, { CNI_PATH });
    expect(reply.json).toMatchObject({
      code: 102,
      msg: expect.stringMatching(/^create macvlan eth0.*Then .*server away/u),
    });
    expect(records()).toHaveLength(1);
    plugin("exit 0");
    expect((await call("DEL", config, { CNI_PATH })).text).toBe("");
    rmSync("/run/plugins", { recursive: true });
    nothingIsLeft();
  });

  test("DEL after a reboot: no record, no kernel state, the reservation is released", async () => {
    const config = network({ hostrouteif: "auto" });
    await call("ADD", config);
    w.removeNamespace("c");
    w.deleteLink("", "berth-eth1");
    rmSync("/run/berth", { recursive: true });
    expect(reserved()).toHaveLength(2);
    expect((await call("DEL", config, { CNI_NETNS: undefined })).text).toBe("");
    w.namespace("c");
    nothingIsLeft();
  });

  test("DEL without a record while the kernel's state is there removes all of it", async () => {
    for (const hostrouteif of ["auto", "macvtap1", undefined]) {
      const config = network(hostrouteif === undefined ? {} : { hostrouteif });
      expect((await call("ADD", config)).json).not.toHaveProperty("code");
      rmSync("/run/berth", { recursive: true });
      expect((await call("DEL", config)).text).toBe("");
      expect(findLink(w.netlink("c"), "eth0")).toBeUndefined();
      nothingIsLeft();
    }
  });

  test("DEL without a record and without the namespace removes the host's routes, with a prevResult and without", async () => {
    for (const known of [true, false]) {
      const config = network({ hostrouteif: "auto" });
      const added = await call("ADD", config);
      rmSync("/run/berth", { recursive: true });
      w.removeNamespace("c");
      const last = known ? { ...config, prevResult: added.json } : config;
      expect((await call("DEL", last, { CNI_NETNS: "" })).text).toBe("");
      w.namespace("c");
      w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
      nothingIsLeft();
    }
  });

  test("a delegated IPAM that fails: its code and sentence, and nothing left; one that works is given back", async () => {
    mkdirSync("/run/plugins", { recursive: true });
    const CNI_PATH = "/run/plugins";
    const config = network({ ipam: { type: "my-ipam" }, hostrouteif: "auto" });
    plugin(`[ $CNI_COMMAND = ADD ] || exit 0; echo '{"cniVersion":"1.0.0","code":42,"msg":"pool exhausted"}'; exit 1`);
    expect((await call("ADD", config, { CNI_PATH })).json).toMatchObject({
      code: 42,
      msg: expect.stringContaining("pool exhausted"),
    });
    nothingIsLeft();
    plugin(`[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"192.168.122.99/24"}]}'; exit 0`);
    expect((await call("ADD", config, { CNI_PATH })).json).toMatchObject({ ips: [{ address: "192.168.122.99/24" }] });
    expect((await call("CHECK", config, { CNI_PATH })).text).toBe("");
    await call("DEL", config, { CNI_PATH });
    expect(readFileSync("/run/plugins/calls", "utf8").trim().split("\n")).toEqual([
      "ADD",
      "DEL",
      "ADD",
      "CHECK",
      "DEL",
    ]);
    expect((await call("ADD", network({ ipam: { type: "absent" } }), { CNI_PATH })).json).toMatchObject({
      code: 105,
      msg: expect.stringContaining("there is no such executable in /run/plugins"),
    });
    nothingIsLeft();
  });

  test("an IPv6 address that another machine has is refused, and released", async () => {
    w.sysctl("c", "net/ipv6/conf/default/accept_dad", "1");
    const config = network({ ipam: { type: "static", addresses: [{ address: "fd22::22/64" }] } });
    expect((await call("ADD", config)).json).toMatchObject({
      code: 101,
      msg: expect.stringContaining("use fd22::22 on eth0: another machine on this LAN (MAC "),
    });
    nothingIsLeft();
  });

  test("a record that is damaged is named, not followed, and DEL removes what can be recognised", async () => {
    const config = network({ hostrouteif: "auto" });
    const garbage = ["garbage", "", "null", "[]", "{}", '{"version":1}', "\0\0"];
    for (const content of garbage) {
      const added = await call("ADD", config);
      const [record = ""] = records();
      const path = `/run/berth/attachments/${record}`;
      writeFileSync(path, content);
      const prevResult = added.json;
      const named = { code: 6, msg: expect.stringContaining(path) };
      expect((await call("CHECK", { ...config, prevResult })).json).toMatchObject(named);
      expect((await call("ADD", config)).json).toMatchObject(named);
      expect(await call("DEL", { ...config, prevResult })).toMatchObject({ text: "", exitCode: 0 });
      nothingIsLeft();
    }
  });
  test("a record of a newer version is left to the Berth that wrote it", async () => {
    const config = network();
    await call("ADD", config);
    const [record = ""] = records();
    const path = `/run/berth/attachments/${record}`;
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace('"version":1', '"version":99'));
    expect((await call("DEL", config)).json).toMatchObject({ code: 6, msg: expect.stringContaining("version is 99") });
    writeFileSync(path, text);
    expect((await call("DEL", config)).text).toBe("");
    nothingIsLeft();
  });
});

describe("CHECK", () => {
  test("names what is missing; of what never was, code 3; a prevResult with other addresses differs", async () => {
    const config = network({ hostrouteif: "auto" });
    expect((await call("CHECK", config)).json).toMatchObject({ code: 3 });
    const added = await call("ADD", config);
    expect((await call("CHECK", { ...config, prevResult: added.json })).text).toBe("");
    const other = {
      cniVersion: "1.0.0",
      interfaces: [{ name: "eth0", sandbox: "x" }],
      ips: [{ address: "10.0.0.1/8", interface: 0 }],
    };
    expect((await call("CHECK", { ...config, prevResult: other })).json).toMatchObject({
      code: 103,
      msg: expect.stringContaining("10.0.0.1/8"),
    });
    w.ip("", "route del 192.168.122.171/32");
    expect((await call("CHECK", config)).json).toMatchObject({
      code: 103,
      msg: expect.stringContaining("route 192.168.122.171/32 dev berth-eth1: is not there"),
    });
    await call("DEL", config);
    nothingIsLeft();
  });
});

describe("GC and STATUS", () => {
  test("GC detaches what is not valid, spares what is, and without the list does nothing", async () => {
    w.namespace("d");
    const config = network({ cniVersion: "1.1.0", hostrouteif: "auto" });
    const d = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    await call("ADD", config);
    await call("ADD", config, d);
    const none = { CNI_CONTAINERID: undefined, CNI_NETNS: undefined, CNI_IFNAME: undefined };
    expect((await call("GC", config, none)).text).toBe("");
    expect(records()).toHaveLength(2);
    const valid = [{ containerID: "c2", ifname: "eth0" }];
    expect((await call("GC", { ...config, "cni.dev/valid-attachments": valid }, none)).text).toBe("");
    expect(records()).toHaveLength(1);
    expect(reserved().toSorted()).toEqual(["192.168.122.172", "fd22::3"]);
    expect((await call("CHECK", config, d)).text).toBe("");
    expect((await call("GC", { ...config, "cni.dev/valid-attachments": [] }, none)).text).toBe("");
    w.removeNamespace("d");
    nothingIsLeft();
  });

  test("GC of one network leaves another's attachments alone", async () => {
    w.namespace("d");
    const config = network({ cniVersion: "1.1.0", hostrouteif: "auto" });
    const ipam = { type: "static", addresses: [{ address: "192.168.122.200/24" }] };
    const apart = network({ cniVersion: "1.1.0", name: "apart", ipam });
    const d = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    await call("ADD", config);
    const prevResult = (await call("ADD", apart, d)).json;
    const none = { CNI_CONTAINERID: undefined, CNI_NETNS: undefined, CNI_IFNAME: undefined };
    expect((await call("GC", { ...config, "cni.dev/valid-attachments": [] }, none)).text).toBe("");
    expect(records()).toHaveLength(1);
    expect((await call("CHECK", { ...apart, prevResult }, d)).text).toBe("");
    expect((await call("DEL", apart, d)).text).toBe("");
    w.removeNamespace("d");
    nothingIsLeft();
  });

  test("STATUS is content, or says what is missing", async () => {
    const config = network({ cniVersion: "1.1.0" });
    expect((await call("STATUS", config)).text).toBe("");
    expect((await call("STATUS", { ...config, master: "nothing" })).json).toMatchObject({
      code: 51,
      msg: expect.stringContaining("serve network net: find the parent, nothing"),
    });
    w.ip("", "link set eth1 down");
    expect((await call("STATUS", config)).json).toMatchObject({
      code: 51,
      msg: "serve network net: the parent eth1 is down: nothing passes (ip link set dev eth1 up)",
    });
    w.ip("", "link set eth1 up");
    const small = { ...config, ipam: { type: "host-local", subnet: "10.3.0.0/30" } };
    await call("ADD", { ...small });
    expect((await call("STATUS", small)).json).toMatchObject({
      code: 50,
      msg: expect.stringContaining("find a free address"),
    });
    await call("DEL", small);
    for (const kind of ["ipvlan", "vlan"]) {
      const reply = await call("STATUS", { ...config, type: kind, vlanId: kind === "vlan" ? 5 : undefined });
      if (reply.exitCode !== 0)
        expect(reply.json).toMatchObject({ code: 50, msg: `serve network net: this kernel has no ${kind}` });
    }
  });
});
