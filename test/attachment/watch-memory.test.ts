// A watch runs for months: what it has done is not kept.
import { expect, test } from "bun:test";
import { call } from "../cni/call.ts";
import { HOST, TestWorld } from "../world.ts";

const config = {
  cniVersion: "1.1.0",
  name: "tasks",
  type: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  ipam: { type: "host-local", subnet: "10.77.0.0/24", rangeStart: "10.77.0.100" },
};
/** By now everything has been made that is made once. */
const FIRST = 40;
const LAST = 160;
/** What comes between two collections. One mending that is kept is some twenty objects. */
const GROWTH = 1000;

test("a hundred things that were mended leave no objects behind", async () => {
  using w = new TestWorld();
  w.sysctl(HOST, "net/ipv6/conf/default/accept_dad", "0");
  w.lan("lan");
  w.namespace("c");
  w.plug("lan", HOST, "eth1", "10.77.0.5/24");
  expect((await call("ADD", config)).json).not.toHaveProperty("code");
  const watcher = Bun.spawn([process.execPath, `${import.meta.dir}/watch-heap.ts`], { stdout: "pipe" });
  const counts: number[] = [];
  const reader = watcher.stdout.getReader();
  let rest = "";
  for (let round = 0; round < LAST; round++) {
    w.ip(HOST, "route del 10.77.0.100");
    while (counts.length <= round) {
      const { done, value } = await reader.read();
      if (done) throw new Error("the watch has ended");
      const lines = `${rest}${new TextDecoder().decode(value)}`.split("\n");
      rest = lines.pop() ?? "";
      counts.push(...lines.map(Number));
    }
  }
  watcher.kill("SIGKILL");
  await watcher.exited;
  const [first = 0, last = 0] = [counts[FIRST], counts.at(-1)];
  expect(first).toBeGreaterThan(0);
  expect([first, last, last - first < GROWTH]).toEqual([first, last, true]);
}, 120_000);
