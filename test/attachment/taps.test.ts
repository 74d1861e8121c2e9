import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, statSync } from "node:fs";
import { newBridge } from "../../src/kernel/links.ts";
import { tapDevice } from "../../src/kernel/taps.ts";
import { call } from "../cni/call.ts";
import { Watcher } from "../watcher.ts";
import { TestWorld, until } from "../world.ts";

/** The devices are in /dev, root's outside of the tests' user namespace; no user namespace may make nodes of its own. */
const rootOutside = /^\s*0\s+0\s/u.test(readFileSync("/proc/self/uid_map", "utf8"));

let w: TestWorld;
let holder: Bun.Subprocess | undefined;

beforeAll(() => {
  w = new TestWorld();
  for (const lan of ["office", "tasks"]) w.lan(lan);
  w.plug("office", "", "eth0", "192.168.10.22/24");
  w.plug("tasks", "", "eth1");
  w.namespace("c");
  // device nodes are named by an index that other namespaces have too: high ones are rarely taken
  const high = 40 + Math.floor(Math.random() * 200);
  for (const [namespace, length] of [
    ["", high],
    ["c", high + 30],
  ] as const) {
    const made = w.netlink(namespace).batch(Array.from({ length }, (_, i) => newBridge(`filler${i}`)));
    expect(made.every((error) => error === undefined)).toBe(true);
  }
  w.subInterface("eth1", "spare", { kind: "macvtap", mode: "bridge" });
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
});
afterEach(close);
afterAll(() => w[Symbol.dispose]());

function network(more: object): Record<string, unknown> {
  return {
    cniVersion: "1.1.0",
    name: "tasks",
    type: "macvlan",
    master: "eth1",
    hostrouteif: "spare",
    ipam: { type: "static", addresses: [{ address: "192.168.122.171/24" }] },
    ...more,
  };
}

/** Starts a program that opens a link's tap device and keeps it open; it is named as CHECK and the others name it. */
async function open(namespace: string, name: string): Promise<string> {
  const device = tapDevice(name, w.at(namespace));
  const node = `/dev/tap${w.link(namespace, name).index}`;
  // glibc's makedev
  const wanted =
    device === undefined ? 0 : ((device.major & 0xfff) << 8) | (device.minor & 0xff) | ((device.minor & 0xfff00) << 12);
  expect(statSync(node).rdev).toBe(wanted);
  const child = Bun.spawn(["sh", "-c", `exec 3<>${node}; echo open; exec sleep 60`], { stdout: "pipe" });
  holder = child;
  await child.stdout.getReader().read();
  await until("it is sleep", () => readFileSync(`/proc/${child.pid}/comm`, "utf8") === "sleep\n");
  return `sleep (pid ${child.pid}) has its tap device open and takes all its frames`;
}

async function close(): Promise<void> {
  holder?.kill("SIGKILL");
  await holder?.exited;
  holder = undefined;
}

describe.skipIf(!rootOutside)(
  "a tap that a program opens (skipped for ordinary users: the devices in /dev are root's)",
  () => {
    test("of a user's access link: ADD is refused, CHECK and STATUS fail, each naming the program, as long as it is open", async () => {
      const before = w.snapshot("");
      let taken = await open("", "spare");
      const config = network({});
      expect((await call("ADD", config)).json).toMatchObject({
        code: 7,
        msg: `use spare as the access link: ${taken}`,
      });
      expect(w.snapshot("")).toEqual(before);
      await close();
      expect((await call("ADD", config)).json).not.toHaveProperty("code");
      expect((await call("CHECK", config)).text).toBe("");
      expect((await call("STATUS", config)).text).toBe("");
      taken = await open("", "spare");
      expect((await call("CHECK", config)).json).toMatchObject({
        code: 103,
        msg: expect.stringContaining(`access link spare: ${taken}`),
      });
      expect((await call("STATUS", config)).json).toMatchObject({ code: 51, msg: expect.stringContaining(taken) });
      await close();
      expect((await call("CHECK", config)).text).toBe("");
      expect((await call("DEL", config)).text).toBe("");
    });

    test("of the attachment itself: CHECK fails, and a watcher says when it begins and when it is over", async () => {
      const config = network({ type: "macvtap", hostrouteif: "auto" });
      expect((await call("ADD", config)).json).not.toHaveProperty("code");
      await using watcher = new Watcher();
      expect((await call("CHECK", config)).text).toBe("");
      const taken = await open("c", "eth0");
      expect((await call("CHECK", config)).json).toMatchObject({
        code: 103,
        msg: expect.stringContaining(`link eth0: ${taken}`),
      });
      await until("it is said", () => watcher.log.includes(`hinders tasks/c1/eth0: link eth0: ${taken}\n`));
      await close();
      await until("it is said to be over", () => watcher.log.includes(`over    tasks/c1/eth0: link eth0: ${taken}\n`));
      expect(watcher.log.split("hinders").length).toBe(2);
      expect((await call("CHECK", config)).text).toBe("");
      expect((await call("DEL", config)).text).toBe("");
    });

    test("of an attachment without addresses is a virtual machine's: nothing is wrong with that", async () => {
      const { ipam: _, hostrouteif: __, ...layer2 } = network({ type: "macvtap" });
      expect((await call("ADD", layer2)).json).not.toHaveProperty("code");
      await open("c", "eth0");
      expect((await call("CHECK", layer2)).text).toBe("");
      await close();
      expect((await call("DEL", layer2)).text).toBe("");
    });
  },
);
