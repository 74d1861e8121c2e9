import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { previewRepair, repair } from "../../src/attachment/repair.ts";
import { type AttachmentRecord, listRecords, writeRecord } from "../../src/attachment/record.ts";
import { ping } from "../../src/kernel/icmp.ts";
import { accept, bind, close, connect, listen, receive, send } from "../../src/kernel/libc.ts";
import { openIn, socketAddress } from "../../src/kernel/sockets.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { call } from "../cni/call.ts";
import { failureOf } from "../failing.ts";
import { type Snapshot, TestWorld } from "../world.ts";

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("office");
  w.lan("tasks");
  w.namespace("neighbour");
  w.plug("office", "", "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", "neighbour", "eth0", "192.168.122.30/24");
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  w.deleteLink("", "eth1");
  w.plug("tasks", "", "eth1");
  before = w.snapshot("");
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
});
afterAll(() => w[Symbol.dispose]());

const config = {
  cniVersion: "1.0.0",
  name: "tasks",
  type: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  defaultRoute: "auto",
  ipam: {
    type: "host-local",
    ranges: [[{ subnet: "192.168.122.0/24", rangeStart: "192.168.122.171" }], [{ subnet: "fd22::/64" }]],
  },
};
const addresses = ["192.168.122.171", "fd22::2"];

function record(): AttachmentRecord {
  const [only] = listRecords(() => {});
  if (only === undefined) throw new Error("there is no record");
  return only;
}

/** A new TCP connection each way for each family, host and LAN. */
function everythingTalks(hosts = ["192.168.10.22", "fd10::22"]): void {
  const c = w.at("c");
  for (const [i, host] of hosts.entries()) {
    const task = addresses[i] ?? "";
    expect({ task, ...exchange(undefined, c, task, 80) }).toMatchObject({ ok: true, peer: host });
    expect({ host, ...exchange(c, undefined, host, 80) }).toMatchObject({ ok: true, peer: task });
  }
  expect(exchange(w.at("neighbour"), c, addresses[0] ?? "", 80)).toMatchObject({ ok: true });
}

async function detached(): Promise<void> {
  expect((await call("DEL", config)).text).toBe("");
  w.removeNamespace("c");
  expect(w.snapshot("")).toEqual(before);
}

const damages: [string, () => void, string][] = [
  ["a route on the host", () => w.ip("", "route del 192.168.122.171"), "route 192.168.122.171/32 dev berth-eth1"],
  [
    "a neighbour on the host",
    () => w.ip("", "neigh del 192.168.122.171 dev berth-eth1"),
    "neighbour 192.168.122.171 on berth-eth1",
  ],
  [
    "a neighbour with another MAC",
    () => w.ip("c", "neigh replace 192.168.10.22 lladdr 02:00:00:00:00:99 dev eth0 nud permanent"),
    "neighbour 192.168.10.22 on eth0",
  ],
  ["a rule", () => w.ip("c", "rule del from 192.168.122.171"), "rule from 192.168.122.171/32"],
  ["the default route", () => w.ip("c", "route del default"), "route default via 192.168.122.1 dev eth0"],
  ["an address", () => w.ip("c", "address del 192.168.122.171/24 dev eth0"), "address 192.168.122.171/24 on eth0"],
  ["the access link", () => w.ip("", "link del berth-eth1"), "access link berth-eth1"],
  ["the access link's state", () => w.ip("", "link set berth-eth1 down"), "link berth-eth1: is down"],
  ["the link's state", () => w.ip("c", "link set eth0 down"), "link eth0: is down"],
  ["the link's MAC", () => w.ip("c", "link set eth0 address 02:00:00:00:00:77"), "link eth0: MAC"],
  ["the link", () => w.ip("c", "link del eth0"), "link eth0: is not there"],
];

describe("what was damaged by hand is mended, with the same MAC and addresses", () => {
  test.each(damages)("%s", async (_, damage, sentence) => {
    await call("ADD", config);
    const mac = w.link("c", "eth0").mac;
    const whole = [w.snapshot("c"), w.snapshot("")];
    damage();
    const preview = await previewRepair(record());
    expect(preview.found.join("; ")).toContain(sentence);
    const { found } = await repair(record());
    expect(found.join("; ")).toContain(sentence);
    expect(w.link("c", "eth0").mac).toBe(mac);
    everythingTalks();
    expect([w.snapshot("c"), w.snapshot("")]).toEqual(whole);
    expect((await repair(record())).found).toEqual([]);
    expect((await call("CHECK", config)).text).toBe("");
    await detached();
  });
});

describe("what changed on the host is followed", () => {
  test("a parent that is deleted and made again; an open TCP connection survives", async () => {
    await call("ADD", config);
    const open: number[] = [];
    const server = openIn(w.at("c"), 2, 1, 0, 5000);
    bind(server, socketAddress("192.168.122.171", 9000));
    listen(server, 1);
    const client = openIn(undefined, 2, 1, 0, 5000);
    connect(client, socketAddress("192.168.122.171", 9000));
    const served = accept(server);
    open.push(server, client, served);
    w.deleteLink("", "eth1");
    w.plug("tasks", "", "eth1");
    expect((await repair(record())).found.join("; ")).toContain("link eth0: is not there");
    everythingTalks();
    const buffer = new Uint8Array(16);
    send(client, new TextEncoder().encode("still"));
    expect(new TextDecoder().decode(buffer.subarray(0, receive(served, buffer)))).toBe("still");
    for (const fd of open) close(fd);
    before = { ...before, ...w.snapshot("") }; // the parent is another one now
    await call("DEL", config);
    w.removeNamespace("c");
    expect(w.ip("", "route show proto 98")).toBe("");
  });

  test("what is mended where an address is still being detected, as after a repair that was killed, waits for that", async () => {
    const { json } = await call("ADD", config);
    w.ip("c", "link set dev eth0 down");
    w.sysctl("c", "net/ipv6/conf/eth0/accept_dad", "1");
    w.sysctl("c", "net/ipv6/conf/eth0/dad_transmits", "2"); // one a second
    w.ip("c", "address add fd22::2/64 dev eth0");
    w.ip("c", "link set dev eth0 up");
    expect(w.ip("c", "-6 address show dev eth0 tentative")).toContain("fd22::2");
    await repair(record());
    expect((await call("CHECK", { ...config, prevResult: json })).text).toBe("");
    everythingTalks();
    await detached();
  });

  test("a parent that is renamed", async () => {
    await call("ADD", config);
    w.ip("", "link set eth1 down");
    w.ip("", "link set eth1 name lan7");
    w.ip("", "link set lan7 up");
    await repair(record());
    expect(record().parent).toBe("lan7");
    everythingTalks();
    expect((await call("DEL", config)).text).toBe("");
    w.removeNamespace("c");
    w.ip("", "link set lan7 down");
    w.ip("", "link set lan7 name eth1");
    expect(w.ip("", "route show proto 98")).toBe("");
  });

  test("a parent that goes down and up, and loses carrier, heals by itself", async () => {
    await call("ADD", config);
    w.ip("", "link set eth1 down");
    expect(ping(undefined, "192.168.122.171", { timeoutMs: 200 }).ok).toBe(false);
    w.ip("", "link set eth1 up");
    everythingTalks();
    expect((await repair(record())).found).toEqual([]);
    await detached();
  });

  test("a host address that changes", async () => {
    await call("ADD", config);
    w.ip("", "address del 192.168.10.22/24 dev eth0");
    w.ip("", "address add 192.168.10.44/24 dev eth0");
    expect((await previewRepair(record())).obsolete.length).toBeGreaterThan(0);
    await repair(record());
    everythingTalks(["192.168.10.44", "fd10::22"]);
    expect(w.ip("c", "neigh show nud permanent")).not.toContain("192.168.10.22");
    expect(w.ip("c", "route show table all")).not.toContain("192.168.10.22");
    await call("DEL", config);
    w.ip("", "address del 192.168.10.44/24 dev eth0");
    w.ip("", "address add 192.168.10.22/24 brd + dev eth0");
    w.removeNamespace("c");
    expect(w.snapshot("")).toEqual(before);
  });

  test("the parent's MTU, lowered and raised again", async () => {
    await call("ADD", config);
    for (const mtu of [1300, 1500]) {
      w.ip("", `link set eth1 mtu ${mtu}`);
      await repair(record());
      expect(w.link("c", "eth0").mtu).toBe(mtu);
      everythingTalks();
    }
    await detached();
  });
});

test("an attachment that was never finished is not made up", async () => {
  await call("ADD", config);
  const { allocation: _, ...unfinished } = record();
  w.ip("c", "link del eth0");
  writeRecord({ ...unfinished, plan: [] });
  expect((await failureOf(repair(record()))).message).toContain("it was never finished");
  expect(() => w.link("c", "eth0")).toThrow();
  w.ip("", "link del berth-eth1");
  await call("DEL", config);
  w.removeNamespace("c");
});

describe("what cannot be mended is said", () => {
  test("another mode; another link in its place; a namespace that is gone", async () => {
    await call("ADD", config);
    w.ip("c", "link set eth0 type macvlan mode private");
    expect((await failureOf(repair(record()))).message).toContain("link eth0: mode is private, planned was bridge");
    w.ip("c", "link del eth0");
    w.ip("c", "link add eth0 type bridge");
    expect((await failureOf(repair(record()))).message).toContain("eth0");
    expect(w.link("c", "eth0").kind).toBe("bridge");
    const kept = record();
    w.removeNamespace("c");
    expect((await failureOf(repair(kept))).message).toContain("there is no network namespace");
    w.namespace("c");
    expect((await failureOf(repair(kept))).message).toContain("is another namespace now");
    await call("DEL", config);
    await failureOf(repair(kept));
    w.removeNamespace("c");
    expect(w.snapshot("")).toEqual(before);
  });
});
