// Virtual machines' attachments, as far as they go without device nodes, which nobody makes in a user namespace. The rest
// is in test/guests, as root.
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Places } from "../../src/plan/places.ts";
import { applyPlan, mendPlan, undoPlan, verifyPlan } from "../../src/plan/plan.ts";
import type { Step } from "../../src/plan/step.ts";
import { watchVm } from "../../src/vm/watch.ts";
import { call } from "../cni/call.ts";
import { Monitor } from "../guests/monitor.ts";
import { Watcher } from "../watcher.ts";
import { TestWorld, until } from "../world.ts";

const main = `${import.meta.dir}/../../src/main.ts`;
const CONFIG = "/run/tasks.conf";
const network = {
  cniVersion: "1.1.0",
  name: "tasks",
  type: "berth",
  kind: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  ipam: { type: "host-local", subnet: "192.168.122.0/24", rangeStart: "192.168.122.100" },
};

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  for (const lan of ["office", "tasks"]) w.lan(lan);
  w.namespace("c");
  w.plug("office", "", "eth0", "192.168.10.22/24");
  w.plug("tasks", "", "eth1");
  writeFileSync(CONFIG, JSON.stringify(network));
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
});
afterAll(() => w[Symbol.dispose]());

function berth(...argv: string[]): { code: number; out: string; err: string } {
  const r = Bun.spawnSync([process.execPath, main, ...argv], { argv0: "berth" });
  return { code: r.exitCode, out: r.stdout.toString(), err: r.stderr.toString() };
}

function must(...argv: string[]): string {
  const { code, out, err } = berth(...argv);
  expect({ argv, code, err }).toMatchObject({ code: 0 });
  return out;
}

/** The host's way to an address: its route and its neighbour, empty where there is none. */
function way(ip: string): string {
  return (
    w.ip("", `route show ${ip} proto 98`) +
    w
      .ip("", "neigh show nud permanent")
      .split("\n")
      .filter((l) => l.startsWith(`${ip} `))
      .join("")
  );
}

test("a link that is another program's: addresses and the host's way, and nothing else of Berth's", async () => {
  const before = w.snapshot("");
  const attach = ["attach", "--config", CONFIG, "--id", "vm1", "--foreign-link", "--mac", "02:00:5e:10:00:50"];
  expect(must(...attach)).toContain("192.168.122.100/24, MAC 02:00:5e:10:00:50, MTU 1500");
  expect(w.ip("", "-o link")).not.toContain("tap-vm1");
  expect(way("192.168.122.100")).toMatch(/scope link[\s\S]*lladdr 02:00:5e:10:00:50/u);
  const [row] = JSON.parse(must("ls", "--json")) as { ifName: string; guest: { commands: string[] } }[];
  expect(row?.ifName).toBe("tap-vm1");
  const accessMac = w.link("", "berth-eth1").mac ?? "";
  expect(row?.guest.commands).toEqual([
    "ip link set dev eth0 mtu 1500 up",
    "ip address replace 192.168.122.100/24 brd + dev eth0",
    "ip -4 route replace 192.168.10.22/32 dev eth0 scope link src 192.168.122.100",
    `ip neigh replace 192.168.10.22 lladdr ${accessMac} dev eth0 nud permanent`,
  ]);
  expect(must("vm", "libvirt-xml", "--name", "vm1")).toContain("<interface type='direct'");
  expect(must("vm", "guest", "--name", "vm1")).toContain("MAC 02:00:5e:10:00:50");
  expect(berth(...attach)).toMatchObject({ code: 1, err: expect.stringContaining("it is attached since") });
  // a runtime's garbage collection knows nothing of it, a container's attachment of the network it does
  expect((await call("ADD", network)).json).not.toHaveProperty("code");
  expect((await call("GC", { ...network, "cni.dev/valid-attachments": [] })).text).toBe("");
  expect(must("ls")).toContain("vm1");
  expect(must("ls")).not.toContain("c1");
  expect(must("check")).toContain("ok    tasks/vm1/tap-vm1");
  w.ip("", "route del 192.168.122.100/32 dev berth-eth1");
  expect(berth("check").code).toBe(1);
  {
    await using watcher = new Watcher(); // in the host's namespace, as the attachment is
    await until("it is mended", () => watcher.log.includes("mended  tasks/vm1/tap-vm1: route 192.168.122.100/32"));
    w.ip("", "route del 192.168.122.100/32 dev berth-eth1");
    await until("it is mended at once", () => watcher.log.split("mended").length === 3);
  }
  expect(must("check")).toContain("ok    tasks/vm1/tap-vm1");
  must("detach", "--id", "vm1");
  expect(w.snapshot("")).toEqual(before);
  expect(readdirSync("/run/berth/attachments")).toEqual([]);
});

test("a machine that comes and goes: the host's way is there exactly while QEMU runs it", async () => {
  must("attach", "--config", CONFIG, "--id", "vm1", "--foreign-link");
  const ip = "192.168.122.100";
  const key = { network: "tasks", containerId: "vm1", ifName: "tap-vm1" };
  const said: string[] = [];
  const report = {
    arrived: () => void said.push("here"),
    left: () => void said.push("away"),
    moved: () => void said.push("moved"),
    failed: (failure: Error) => void said.push(failure.message),
  };
  const last = (word: string, times: number): Promise<void> =>
    until(`${word}, ${times} times; ${said.join(" ")}`, () => said.filter((s) => s === word).length === times);
  for (const ends of ["here", "moved"] as const) {
    said.length = 0;
    const monitor = new Monitor(`/run/monitor-${ends}`);
    const watching = watchVm([key], monitor.path, report);
    await last("away", 1);
    expect(way(ip)).toBe("");
    expect(must("ls")).toContain("kept down");
    expect(must("check")).toContain("ok ");
    monitor.event("RESUME");
    await last("here", 1);
    expect(way(ip)).not.toBe("");
    // within a moment, and what is repeated changes nothing
    for (const event of ["STOP", "RESUME", "RESUME", "STOP"]) monitor.event(event);
    await last("away", 3);
    expect(way(ip)).toBe("");
    monitor.event("MIGRATION", { status: "completed" });
    if (ends === "here") monitor.event("RESUME");
    await Bun.sleep(50);
    monitor[Symbol.dispose]();
    expect(await watching).toEqual({ moved: ends === "moved" });
    expect(said.at(-1)).toBe(ends);
  }
  expect(must("vm", "switch", "--name", "vm1", "--dry-run")).toContain(`ip -4 route add ${ip}/32 dev berth-eth1`);
  expect(must("vm", "switch", "--name", "vm1")).toBe("here tasks/vm1/tap-vm1\n");
  expect(way(ip)).not.toBe("");
  expect(must("vm", "switch", "--name", "vm1", "--away", "--json")).toContain('"here": false');
  expect(way(ip)).toBe("");
  must("detach", "--id", "vm1", "--keep-addresses");
  expect(existsSync(`/var/lib/cni/networks/tasks/${ip}`)).toBe(true);
  expect(berth("vm", "switch", "--name", "vm1")).toMatchObject({
    code: 1,
    err: expect.stringContaining("has no attachment"),
  });
});

test("a watch without a monitor says so; a container does not move", async () => {
  must("attach", "--config", CONFIG, "--netns", "c");
  expect(berth("vm", "switch", "--name", "c").err).toContain("has no attachment");
  must("detach", "--netns", "c");
});

test("a device node cannot be made here: that is said, and nothing is left", async () => {
  const before = w.snapshot("");
  const attach = ["attach", "--config", CONFIG, "--kind", "macvtap", "--tap-owner", "7:8", "--id", "vm1"];
  expect(must(...attach, "--dry-run").split("\n")).toContain("chown 7:8 /run/berth/taps/tasks:vm1:tap-vm1");
  expect(must("vm", "run", "--config", CONFIG, "--name", "vm1", "--dry-run", "--", "qemu", "fd={fd}")).toContain(
    "\nqemu fd=3 '3<>/run/berth/taps/tasks:vm1:tap-vm1'\n".replaceAll("'", ""),
  );
  for (const argv of [attach, ["vm", "run", "--config", CONFIG, "--name", "vm1", "--", "true", "{fd}"]]) {
    expect(berth(...argv)).toMatchObject({
      code: 1,
      err: expect.stringContaining("Nobody makes device nodes in a user namespace"),
    });
  }
  expect((await call("ADD", { ...network, kind: "macvtap", tap: {} })).json).toMatchObject({
    msg: expect.stringContaining("make the device node"),
  });
  expect(w.snapshot("")).toEqual(before);
  expect(readdirSync("/run/berth/attachments")).toEqual([]);
  expect(readdirSync("/run/berth/taps")).toEqual([]);
  expect(readdirSync("/var/lib/cni/networks/tasks").filter((f) => f.startsWith("192"))).toEqual([]);
});

test("a link that is kept down is, whoever sets it up; a machine's link is the host's in nothing", async () => {
  const link: Step = {
    type: "link",
    where: "container",
    name: "tap0",
    parent: { name: "eth1", where: "host" },
    detail: { kind: "macvtap", mode: "bridge" },
    mac: "02:00:00:00:00:01",
  };
  const here: Step[] = [link, { type: "up", where: "container", link: "tap0", alias: "berth:x", guest: true }];
  const held: Step[] = [link, { type: "down", where: "container", link: "tap0" }];
  using places = Places.open("/run/netns/c");
  await applyPlan(here, places);
  expect(await verifyPlan(here, places)).toEqual([]);
  const flags = w.ipJson("c", "link show dev tap0")[0]?.["flags"];
  expect(flags).toEqual(expect.arrayContaining(["NOARP", "ALLMULTI", "UP"]));
  w.ip("c", "link set tap0 arp on allmulticast off");
  expect((await verifyPlan(here, places)).length).toBe(2);
  await mendPlan(here, places);
  expect(await verifyPlan(here, places)).toEqual([]);
  expect(await mendPlan(held, places)).toEqual(["link tap0: is up, while its virtual machine is elsewhere"]);
  expect(await verifyPlan(held, places)).toEqual([]);
  expect(await undoPlan(held, places)).toEqual([]);
  expect(w.ip("c", "-o link")).not.toContain("tap0");
});

test("what does not fit together is refused", () => {
  const check = (json: object): string => {
    writeFileSync("/run/other.conf", JSON.stringify({ ...network, ...json }));
    return berth("network", "check", "/run/other.conf").out;
  };
  expect(check({ tap: {} })).toContain("use tap with kind macvlan: it belongs to macvtap");
  expect(check({ kind: "macvtap", tap: { mode: "0999" } })).toContain("tap.mode");
  expect(check({ kind: "macvtap", tap: { path: "/dev/../tap" } })).toContain("tap.path");
  expect(check({ kind: "macvtap", tap: { path: "dev/tap" } })).toContain("tap.path");
  expect(check({ kind: "macvtap", tap: { owner: 1, group: 2, mode: "660", path: "/dev/tap-eth0" } })).toContain("good");
  expect(berth("attach", "--config", CONFIG, "--tap-owner", "root", "--id", "x")).toMatchObject({
    code: 2,
    err: expect.stringContaining("root is no UID:GID"),
  });
  expect(readFileSync(CONFIG, "utf8")).not.toContain("tap");
});
