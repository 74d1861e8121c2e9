import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { ping } from "../../src/kernel/icmp.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { call } from "../cni/call.ts";
import { Watcher } from "../watcher.ts";
import { TestWorld, until } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  for (const lan of ["office", "tasks", "vpn"]) w.lan(lan);
  w.plug("office", "", "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", "", "eth1");
  w.plug("vpn", "", "wg0", "10.8.0.2/24");
  w.namespace("peer");
  w.plug("tasks", "peer", "eth0", "192.168.122.9/24");
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
});
afterEach(() => w.removeNamespace("c"));
afterAll(() => w[Symbol.dispose]());

const task = "192.168.122.171";
function network(more: object = {}): Record<string, unknown> {
  return {
    cniVersion: "1.1.0",
    name: "tasks",
    type: "macvlan",
    master: "eth1",
    hostAccess: "auto",
    ipam: { type: "static", addresses: [{ address: `${task}/24` }] },
    ...more,
  };
}

async function add(config: unknown): Promise<readonly string[]> {
  const reply = await call("ADD", config);
  expect(reply.json).not.toHaveProperty("code");
  return reply.remarks;
}

async function end(config: unknown): Promise<void> {
  expect((await call("DEL", config)).text).toBe("");
}

describe("another way that the kernel would choose", () => {
  test("a VPN's rule on the host: said by ADD, wrong for CHECK, and gone with a table of Berth's own", async () => {
    w.ip("", "route add default via 10.8.0.1 dev wg0 table 51820");
    w.ip("", "rule add priority 1000 from all table 51820");
    const config = network();
    const said = `packets of the host to ${task} leave by wg0 (table 51820), not by berth-eth1`;
    const remarks = await add(config);
    expect(remarks.join("\n")).toContain(said);
    expect(remarks.join("\n")).toContain(`"hostAccess": {"table": "own"}`);
    expect((await call("CHECK", config)).json).toMatchObject({ code: 103, msg: expect.stringContaining(said) });
    expect((await call("DEL", config)).text).toBe("");
    const own = network({ hostAccess: { table: "own" } });
    expect(await add(own)).toEqual([]);
    expect((await call("CHECK", own)).text).toBe("");
    expect(exchange(undefined, w.at("c"), task, 80)).toMatchObject({ ok: true });
    w.ip("", "rule del priority 1000");
    w.ip("", "route flush table 51820");
    await end(own);
  });

  test("a rule for replies only, by the host's address", async () => {
    w.ip("", "route add default via 10.8.0.1 dev wg0 table 51820");
    w.ip("", "rule add priority 1000 from 192.168.10.22 table 51820");
    const config = network();
    expect(await add(config)).toEqual([
      expect.stringContaining(`packets of the host from 192.168.10.22 to ${task} leave by wg0 (table 51820)`),
    ]);
    w.ip("", "rule del priority 1000");
    expect((await call("CHECK", config)).text).toBe("");
    w.ip("", "route flush table 51820");
    await end(config);
  });

  test("a route that somebody adds later, on the host and in the container", async () => {
    const config = network({ hostAccess: { metric: 50 } });
    expect(await add(config)).toEqual([]);
    await using watcher = new Watcher();
    w.ip("", `route add ${task}/32 dev wg0 metric 10`);
    await until("it is said", () =>
      watcher.log.includes(`hinders tasks/c1/eth0: packets of the host to ${task} leave by wg0`),
    );
    w.ip("", `route del ${task}/32 dev wg0 metric 10`);
    await until("it is over", () => watcher.log.includes("over    tasks/c1/eth0: packets of the host"));
    w.ip("c", "rule add priority 10 to 192.168.10.0/24 blackhole");
    const check = await call("CHECK", config);
    expect(check.json["msg"]).toContain(
      `packets of the container from ${task} to 192.168.10.22 have no way, not by eth0`,
    );
    w.ip("c", "rule del priority 10");
    expect((await call("CHECK", config)).text).toBe("");
    await end(config);
  });

  test("a table that the user named is the user's to lead to", async () => {
    const config = network({ hostAccess: { table: 1234 } });
    expect(await add(config)).toEqual([]);
    expect((await call("CHECK", config)).text).toBe("");
    await end(config);
  });
});

describe("a parent without carrier", () => {
  test("is said by ADD, CHECK and STATUS and by a watcher; host and task talk again once it is back, without a hand", async () => {
    const config = network();
    expect(await add(config)).toEqual([]);
    expect((await call("STATUS", config)).text).toBe("");
    await using watcher = new Watcher();
    const talks = (): boolean => exchange(undefined, w.at("c"), task, 80, { timeoutMs: 200 }).ok;
    await until("it works", talks);
    const port = (state: string): string => w.ip("lans", `link set port2 ${state}`); // eth1's
    port("down");
    const dead =
      "the parent eth1 has no carrier: nothing passes, not even between host and container, until it is back";
    await until("it is said", () => watcher.log.includes(`hinders tasks/c1/eth0: ${dead}\n`));
    expect(talks()).toBe(false);
    expect((await call("CHECK", config)).remarks).toEqual([dead]);
    expect((await call("CHECK", config)).text).toBe("");
    expect((await call("STATUS", config)).json).toMatchObject({ code: 51, msg: expect.stringContaining(dead) });
    w.namespace("d");
    const second = network({ ipam: { type: "static", addresses: [{ address: "192.168.122.172/24" }] } });
    const d = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    expect((await call("ADD", second, d)).remarks).toEqual([dead]);
    // a neighbour that remembers another owner learns of both when they can be heard again
    w.ip("peer", `neigh replace ${task} lladdr 02:00:00:00:00:99 dev eth0 nud stale`);
    port("up");
    await until("it is over", () => watcher.log.includes(`over    tasks/c1/eth0: ${dead}\n`));
    await until("host and task talk", talks);
    await until("it is announced", () => w.ip("peer", `neigh show ${task}`).includes(w.link("c", "eth0").mac ?? "?"));
    expect((await call("STATUS", config)).text).toBe("");
    expect((await call("DEL", second, d)).text).toBe("");
    w.removeNamespace("d");
    await end(config);
  });
});

describe("IPv6 that is disabled on the host", () => {
  const dual = network({
    ipam: { type: "static", addresses: [{ address: `${task}/24` }, { address: "fd22::171/64" }] },
  });

  test("for links to come, as an access link: IPv4 works, and the rest is said", async () => {
    w.sysctl("", "net/ipv6/conf/default/disable_ipv6", "1");
    const before = w.snapshot("");
    expect(await add(dual)).toEqual([
      expect.stringContaining("no host access by IPv6: the host has no global IPv6 address"),
    ]);
    expect(exchange(undefined, w.at("c"), task, 80)).toMatchObject({ ok: true, peer: "192.168.10.22" });
    expect(exchange(w.at("c"), undefined, "192.168.10.22", 80)).toMatchObject({ ok: true, peer: task });
    const checked = await call("CHECK", dual);
    expect(checked.text).toBe("");
    expect(checked.remarks).toEqual([expect.stringContaining("no host access by IPv6")]);
    expect((await call("DEL", dual)).text).toBe("");
    expect(w.snapshot("")).toEqual(before);
    w.sysctl("", "net/ipv6/conf/default/disable_ipv6", "0");
    expect(await add(dual)).toEqual([]);
    expect(exchange(undefined, w.at("c"), "fd22::171", 80)).toMatchObject({ ok: true, peer: "fd10::22" });
    await end(dual);
  });

  test("altogether", async () => {
    w.sysctl("", "net/ipv6/conf/all/disable_ipv6", "1");
    expect(await add(dual)).toEqual([expect.stringContaining("disable_ipv6")]);
    expect(ping(undefined, task)).toMatchObject({ ok: true });
    w.sysctl("", "net/ipv6/conf/all/disable_ipv6", "0");
    await end(dual);
    w.ip("", "address add fd10::22/64 dev eth0");
  });

  test("in the container only: the attachment's link has it all the same, and both families work", async () => {
    w.sysctl("c", "net/ipv6/conf/all/disable_ipv6", "1");
    w.sysctl("c", "net/ipv6/conf/default/disable_ipv6", "1");
    expect(await add(dual)).toEqual([]);
    expect(exchange(undefined, w.at("c"), "fd22::171", 80)).toMatchObject({ ok: true });
    await end(dual);
  });
});

describe.skipIf(Bun.which("nft") === null)("a strict firewall (skipped where nft is not installed)", () => {
  test("is said by CHECK and STATUS, on either side, and not touched", async () => {
    const config = network();
    expect(await add(config)).toEqual([]);
    expect((await call("CHECK", config)).remarks).toEqual([]);
    w.run(["nft", "add table inet fw; add chain inet fw in { type filter hook input priority 0; policy drop; }"]);
    w.run("c", ["nft", "add table ip t; add chain ip t out { type filter hook output priority 0; policy drop; }"]);
    const rules = w.run(["nft", "list", "ruleset"]);
    const onHost =
      "the host's firewall (nft inet fw in) drops what no rule of it accepts: what comes in by berth-eth1 needs one";
    const inside =
      "the container's firewall (nft ip t out) drops what no rule of it accepts: what goes out by eth0 needs one";
    const checked = await call("CHECK", config);
    expect(checked.text).toBe("");
    expect(checked.remarks).toEqual([onHost, inside]);
    expect((await call("STATUS", config)).remarks).toEqual([onHost]);
    expect(ping(w.at("c"), "192.168.10.22", { timeoutMs: 100 }).ok).toBe(false);
    // what the sentence asks for
    w.run(["nft", "add rule inet fw in iifname berth-eth1 accept"]);
    w.run("c", ["nft", "add rule ip t out oifname eth0 accept"]);
    expect(ping(w.at("c"), "192.168.10.22")).toMatchObject({ ok: true });
    w.run(["nft", "flush chain inet fw in"]);
    expect(w.run(["nft", "list", "ruleset"])).toBe(rules);
    await end(config);
    w.run(["nft", "delete table inet fw"]);
  });
});
