import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ping } from "../../src/kernel/icmp.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { call } from "../cni/call.ts";
import { Watcher } from "../watcher.ts";
import { TestWorld, until } from "../world.ts";

const config = {
  cniVersion: "1.0.0",
  name: "tasks",
  type: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  ipam: { type: "host-local", subnet: "192.168.122.0/24", rangeStart: "192.168.122.171" },
};
const task = "192.168.122.171";

let w: TestWorld;
let watcher: Watcher;

beforeAll(async () => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("office");
  w.lan("tasks");
  w.namespace("c");
  w.plug("office", "", "eth0", "192.168.10.22/24");
  w.plug("tasks", "", "eth1");
  expect((await call("ADD", config)).json).not.toHaveProperty("code");
  watcher = new Watcher();
});
afterAll(async () => {
  await watcher[Symbol.asyncDispose]();
  w[Symbol.dispose]();
});

/** A new TCP connection each way. */
function talks(host = "192.168.10.22"): boolean {
  const c = w.at("c");
  const [out, back] = [
    exchange(undefined, c, task, 80, { timeoutMs: 200 }),
    exchange(c, undefined, host, 80, { timeoutMs: 200 }),
  ];
  return out.ok && back.ok && out.peer === host && back.peer === task;
}

/** What it says that failed, a line each. */
function failures(): string[] {
  return watcher.log.split("\n").filter((line) => line.startsWith("failed"));
}

describe("berth repair --watch", () => {
  const events: [string, () => void, string][] = [
    ["a route that is deleted", () => w.ip("", `route del ${task}`), `route ${task}/32 dev berth-eth1`],
    ["an access link that is deleted", () => w.ip("", "link del berth-eth1"), "access link berth-eth1"],
    [
      "an address that is deleted in the container",
      () => w.ip("c", `address del ${task}/24 dev eth0`),
      `address ${task}/24`,
    ],
    ["a link that is deleted in the container", () => w.ip("c", "link del eth0"), "link eth0: is not there"],
    [
      "a neighbour that is deleted in the container",
      () => w.ip("c", "neigh del 192.168.10.22 dev eth0"),
      "neighbour 192.168.10.22",
    ],
  ];
  test.each(events)("%s is mended at once, with a line that says so", async (_, damage, sentence) => {
    await until("it works", talks);
    watcher.log = "";
    damage();
    await until("it is mended", () => watcher.log.includes(sentence));
    await until("it works again", talks);
    expect(watcher.log).toContain("mended  tasks/c1/eth0: ");
  });

  test("a parent that is deleted is waited for, said once, and mended when it is there again", async () => {
    watcher.log = "";
    w.deleteLink("", "eth1");
    const sentence = "failed  tasks/c1/eth0: find the parent, eth1: there is no such link";
    await until("it is said", () => watcher.log.includes(sentence));
    w.plug("tasks", "", "eth1");
    await until("it works again", talks);
    expect(failures()).toHaveLength(1);
  });

  test("a pass that loses a race with a change is no failure: the next one tells", async () => {
    const mended = "neighbour 192.168.10.22 on eth0";
    for (let round = 0; round < 10; round++) {
      await until("it works", talks);
      watcher.log = "";
      w.ip("", `route del ${task}`); // a pass that mends it knows of no failure any more, which would be said once only
      await until("it is at rest", () => watcher.log.includes(`mended  tasks/c1/eth0: route ${task}/32`));
      watcher.log = "";
      w.ip("c", "link del eth0");
      await Bun.sleep(25 + 3 * round); // by now it is being mended
      w.deleteLink("", "eth1");
      await until("it is said", () => failures().length > 0);
      expect(failures()).toEqual(["failed  tasks/c1/eth0: find the parent, eth1: there is no such link"]);
      watcher.log = "";
      w.plug("tasks", "", "eth1");
      await until("it is mended", () => watcher.log.includes(mended));
    }
  });

  test("another host address is followed", async () => {
    w.ip("", "address del 192.168.10.22/24 dev eth0");
    w.ip("", "address add 192.168.10.44/24 brd + dev eth0");
    await until("the new one works", () => talks("192.168.10.44"));
    w.ip("", "address del 192.168.10.44/24 dev eth0");
    w.ip("", "address add 192.168.10.22/24 brd + dev eth0");
    await until("the former one works", talks);
  });

  test("more changes than its socket can hold are survived", async () => {
    watcher.process.kill("SIGSTOP");
    const churn = ["address add 10.99.0.1/32 dev eth0", "address del 10.99.0.1/32 dev eth0"].join("\n");
    w.run("", ["ip", "-batch", "-"], {}, `${churn}\n`.repeat(400));
    w.ip("", `route del ${task}`);
    expect(ping(undefined, task, { timeoutMs: 100 }).ok).toBe(false);
    watcher.process.kill("SIGCONT");
    await until("it works again", talks);
    expect(watcher.process.exitCode).toBeNull();
  });

  test("attachments that come and go meanwhile are not disturbed", async () => {
    w.namespace("d");
    const d = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    for (let i = 0; i < 5; i++) {
      expect((await call("ADD", config, d)).json).not.toHaveProperty("code");
      expect((await call("CHECK", config, d)).text).toBe("");
      expect((await call("DEL", config, d)).text).toBe("");
    }
    w.removeNamespace("d");
    expect((await call("DEL", config)).text).toBe("");
    await Bun.sleep(300);
    expect(w.ip("", "route show proto 98")).toBe("");
    expect(() => w.link("", "berth-eth1")).toThrow();
    expect(watcher.process.exitCode).toBeNull();
  });
});
