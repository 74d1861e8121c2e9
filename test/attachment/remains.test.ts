// A container that was started again under its id: what is left of its earlier attachment is cleared away first.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { lockFile } from "../../src/kernel/locks.ts";
import { call } from "../cni/call.ts";
import { HOST, type Snapshot, TestWorld, until } from "../world.ts";

const LOCK = "/run/berth/locks/parent-eth1";
const config = {
  cniVersion: "1.1.0",
  name: "tasks",
  type: "macvlan",
  master: "eth1",
  hostAccess: { table: "own" },
  ipam: { type: "host-local", subnet: "10.77.0.0/24", rangeStart: "10.77.0.100" },
};

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl(HOST, "net/ipv6/conf/default/accept_dad", "0");
  w.lan("lan");
  w.plug("lan", HOST, "eth1", "10.77.0.5/24");
  before = w.snapshot(HOST);
});
afterAll(() => w[Symbol.dispose]());

/** Whether somebody waits for a lock file (proc_locks(5)). */
function isWaitedFor(path: string): boolean {
  const { ino } = statSync(path);
  const lines = readFileSync("/proc/locks", "utf8").split("\n");
  return lines.some((line) => line.includes("-> FLOCK") && line.includes(`:${ino} `));
}

test("the host's part of what is left goes under the parent's lock, as another attachment may be at work on it", async () => {
  w.namespace("c");
  expect(await call("ADD", config)).toMatchObject({ exitCode: 0 });
  w.removeNamespace("c");
  w.namespace("c");
  const hosts = (): string => w.ip(HOST, "route show table all proto 98") + w.ip(HOST, "rule show");
  const whole = hosts();
  expect(whole).toContain("10.77.0.100");
  const held = lockFile(LOCK);
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/../../src/main.ts`], {
    env: {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c",
      CNI_IFNAME: "eth0",
      PATH: process.env["PATH"],
    },
    stdin: new Blob([JSON.stringify(config)]),
    stdout: "pipe",
  });
  await until("it waits for the lock", () => isWaitedFor(LOCK));
  expect(hosts()).toBe(whole);
  expect(w.link(HOST, "berth-eth1").up).toBe(true);
  held[Symbol.dispose]();
  const answer: unknown = JSON.parse(await child.stdout.text());
  expect(await child.exited).toBe(0);
  expect(answer).toMatchObject({ ips: [{ address: "10.77.0.101/24" }] });
  expect((await call("CHECK", { ...config, prevResult: answer })).text).toBe("");
  expect((await call("DEL", config)).text).toBe("");
  w.removeNamespace("c");
  expect(w.snapshot(HOST)).toEqual(before);
});
