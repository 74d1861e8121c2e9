// Virtual machines that `berth vm run` runs, beside a container that CNI attached: who reaches whom, and what is left.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { processNamespacePath } from "../../src/kernel/namespaces.ts";
import { Qmp } from "../../src/vm/qmp.ts";
import { call } from "../cni/call.ts";
import { Watcher } from "../watcher.ts";
import { HOST, TestWorld, until } from "../world.ts";
import { MonitoredGuest } from "./guest.ts";

const main = `${import.meta.dir}/../../src/main.ts`;
const CONFIG = "/run/tasks.conf";
const TAPS = "/run/berth/taps";

const network = {
  cniVersion: "1.1.0",
  name: "tasks",
  type: "berth",
  kind: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  ipam: {
    type: "host-local",
    ranges: [
      [{ subnet: "192.168.122.0/24", rangeStart: "192.168.122.100" }],
      [{ subnet: "fd22::/64", rangeStart: "fd22::100" }],
    ],
  },
};

let w: TestWorld;
let before: unknown;
beforeAll(() => {
  w = new TestWorld();
  w.lan("office");
  w.lan("tasks");
  for (const name of ["c", "peer", "other"]) w.namespace(name);
  w.plug("office", HOST, "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", HOST, "eth1");
  w.plug("tasks", "peer", "eth0", "192.168.122.9/24", "fd22::9/64");
  // another host: its own address, and a container of its own on the same LAN
  w.plug("tasks", "other", "eth0", "192.168.122.8/24", "fd22::8/64");
  writeFileSync(CONFIG, JSON.stringify(network));
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  before = host();
});
afterAll(() => w[Symbol.dispose]());

/**
 * The host's state, without counts of who needs more frames of a parent: of a macvtap whose namespace ends Linux 6.18 now and
 * then keeps them for good, as was seen before Berth was called again.
 */
function host(): unknown {
  const counts = new Set(["promiscuity", "allmulti"]);
  return JSON.parse(JSON.stringify(w.snapshot(HOST), (key, value: unknown) => (counts.has(key) ? undefined : value)));
}

/** Nothing is left in the kernel, in IPAM, in /run/berth and in /dev. */
afterEach(() => {
  expect(host()).toEqual(before);
  const reservations = "/var/lib/cni/networks/tasks";
  const left = existsSync(reservations)
    ? readdirSync(reservations).filter((f) => /^[\da-f]*[.:]/u.test(f) && f !== ".berth")
    : [];
  expect(left.filter((f) => !f.startsWith("last"))).toEqual([]);
  for (const directory of ["/run/berth/attachments", TAPS]) {
    expect(existsSync(directory) ? readdirSync(directory) : []).toEqual([]);
  }
  expect(readdirSync("/dev").filter((f) => f.startsWith("tap-"))).toEqual([]);
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function berth(...argv: string[]): Outcome {
  const r = Bun.spawnSync([process.execPath, main, ...argv], { argv0: "berth" });
  return { code: r.exitCode, out: r.stdout.toString(), err: r.stderr.toString() };
}

function must(...argv: string[]): string {
  const { code, out, err } = berth(...argv);
  expect({ argv, code, err }).toMatchObject({ code: 0 });
  return out;
}

interface Row {
  readonly containerId: string;
  readonly addresses: readonly string[];
  readonly guest?: { readonly mac: string; readonly mtu: number; readonly commands: readonly string[] };
  readonly tap?: string;
  readonly state: string;
}

function list(): Row[] {
  return JSON.parse(must("ls", "--json")) as Row[];
}

function rowOf(id: string): Row {
  const row = list().find((r) => r.containerId === id);
  if (row === undefined) throw new Error(`${id} is not attached`);
  return row;
}

/** `berth vm run` of a program, and what it prints. */
class Run implements AsyncDisposable {
  readonly process: Bun.Subprocess<"ignore", "pipe", "pipe">;

  constructor(flags: readonly string[], command: readonly string[]) {
    this.process = Bun.spawn([process.execPath, main, "vm", "run", "--config", CONFIG, ...flags, "--", ...command], {
      argv0: "berth",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** Ends it as a service manager would. */
  async end(): Promise<number> {
    this.process.kill("SIGTERM");
    return await this.process.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

/** The world pings once more where the first request was lost to address resolution. */
function reaches(from: string, to: string): void {
  try {
    w.ping(from, to);
  } catch {
    w.ping(from, to);
  }
}

describe("a guest beside a container", () => {
  test("reaches it, a LAN peer, another host and its own host, by both families, and is reached", async () => {
    expect((await call("ADD", network)).json).not.toHaveProperty("code");
    const container = w.ipJson("c", "address show dev eth0");
    const info = container[0]?.["addr_info"] as { local: string; scope: string }[];
    const containerIps = info.filter((a) => a.scope === "global").map((a) => a.local);
    using guest = new MonitoredGuest();
    await using machine = new Run(["--name", "vm1", "--tap-owner", "1000:1000"], guest.command(1));
    await guest.agent.ready();
    const { addresses, guest: part, tap } = rowOf("vm1");
    expect(addresses).toEqual(["192.168.122.101/24", "fd22::101/64"]);
    expect(tap).toBe(`${TAPS}/tasks:vm1:tap-vm1`);
    expect(await guest.agent.must("cat /sys/class/net/eth0/address")).toBe(`${part?.mac}\n`);
    for (const command of part?.commands ?? []) await guest.agent.must(command);
    const others = [
      "192.168.122.9",
      "fd22::9",
      "192.168.122.8",
      "fd22::8",
      "192.168.10.22",
      "fd10::22",
      ...containerIps,
    ];
    expect(others.length).toBe(8);
    for (const ip of others) await guest.agent.must(`ping -c 1 -W 5 ${ip} || ping -c 1 -W 5 ${ip}`);
    for (const from of [HOST, "peer", "other", "c"]) {
      for (const to of ["192.168.122.101", "fd22::101"]) reaches(from, to);
    }
    expect(must("check")).toContain("ok    tasks/vm1/tap-vm1");
    // the host is not heard on the guest's link: neither its ARP nor its own IPv6 addresses
    expect(w.ipJson(HOST, "address show dev tap-vm1")[0]?.["addr_info"]).toEqual([]);
    // what is not right any more is mended while the guest runs
    w.ip(HOST, "neigh del 192.168.122.101 dev berth-eth1");
    expect(berth("check").code).toBe(1);
    expect(must("repair")).toContain(
      "mended  tasks/vm1/tap-vm1: neighbour 192.168.122.101 on berth-eth1: is not there",
    );
    reaches(HOST, "192.168.122.101");
    expect(await machine.end()).toBe(0);
    expect((await call("DEL", network)).text).toBe("");
  });

  test("has a second NIC on another network, and both are its own", async () => {
    const office = {
      ...network,
      name: "office",
      master: "eth0",
      ipam: { type: "static", addresses: [{ address: "192.168.10.50/24" }] },
    };
    writeFileSync("/run/office.conf", JSON.stringify(office));
    using guest = new MonitoredGuest();
    await using machine = new Run(["--config", "/run/office.conf", "--name", "vm1"], guest.command(2));
    await guest.agent.ready();
    const rows = list();
    expect(rows.map((r) => r.addresses[0])).toEqual(["192.168.10.50/24", "192.168.122.100/24"]);
    const macs = await guest.agent.must("cat /sys/class/net/eth0/address /sys/class/net/eth1/address");
    expect(macs.trim().split("\n")).toEqual([rows[1]?.guest?.mac ?? "", rows[0]?.guest?.mac ?? ""]);
    for (const command of rows[0]?.guest?.commands ?? []) await guest.agent.must(command.replaceAll("eth0", "eth1"));
    await guest.agent.must("ping -c 1 -W 5 192.168.10.22 || ping -c 1 -W 5 192.168.10.22");
    reaches(HOST, "192.168.10.50");
    await machine.end();
  });
});

function run(...command: string[]): Outcome {
  return berth("vm", "run", "--config", CONFIG, "--name", "vm1", "--", ...command);
}

test("berth vm watch follows a QEMU that another program has started", async () => {
  must("attach", "--config", CONFIG, "--kind", "macvtap", "--tap-mode", "0600", "--id", "vm1");
  const { tap = "", guest: part } = rowOf("vm1");
  using guest = new MonitoredGuest();
  const argv = guest.command(1).map((word) =>
    word
      .replace("{fd}", "3")
      .replace("{mac}", part?.mac ?? "")
      .replace("{mtu}", "1500"),
  );
  const qemu = Bun.spawn(["sh", "-c", `exec "$@" 3<>'${tap}'`, "sh", ...argv], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  await guest.agent.ready();
  for (const command of part?.commands ?? []) await guest.agent.must(command);
  const watch = Bun.spawn([process.execPath, main, "vm", "watch", "--name", "vm1", "--qmp", guest.qmp], {
    argv0: "berth",
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  const follow = (async (): Promise<void> => {
    for await (const bytes of watch.stdout) said += Buffer.from(bytes).toString();
  })();
  const control = await Qmp.connect(guest.control, () => {});
  await until("it runs", () => said === "here vm1\n");
  reaches(HOST, "192.168.122.100");
  await control.execute("stop");
  await until("it is stopped", () => said.endsWith("away vm1\n"));
  expect(w.ipJson(HOST, "link show dev tap-vm1")[0]?.["flags"]).not.toContain("UP");
  expect(w.ip(HOST, "route show 192.168.122.100")).toBe("");
  await control.execute("cont");
  await until("it runs again", () => said.endsWith("away vm1\nhere vm1\n"));
  reaches(HOST, "192.168.122.100");
  qemu.kill("SIGKILL");
  await follow;
  expect(await watch.exited).toBe(0);
  expect(said).toBe("here vm1\naway vm1\nhere vm1\n");
  must("detach", "--id", "vm1");
});

function isReserved(): boolean {
  return existsSync("/var/lib/cni/networks/tasks/192.168.122.150");
}

test("a machine that moves keeps its addresses, in a store of this host's or in one that both hosts have", async () => {
  const mac = "02:00:5e:10:00:50";
  const attach = ["attach", "--config", CONFIG, "--kind", "macvtap", "--tap-mode", "0600"];
  must(...attach, "--id", "vm1", "--mac", mac, "--ip", "192.168.122.150");
  const former = rowOf("vm1");
  writeFileSync("/run/vm1.json", must("vm", "export", "--name", "vm1"));
  const prepare = ["vm", "prepare", "--config", CONFIG, "--state", "/run/vm1.json"];
  const isPrepared = (): void => {
    expect(rowOf("vm1")).toMatchObject({ state: "kept down", addresses: former.addresses, guest: { mac } });
    expect(w.ipJson(HOST, "link show dev tap-vm1")[0]?.["flags"]).not.toContain("UP");
    expect(must("check")).toContain("ok ");
  };
  expect(berth(...prepare)).toMatchObject({ code: 1, err: expect.stringContaining("it is attached since") });
  must("detach", "--id", "vm1", "--keep-addresses");
  expect(isReserved()).toBe(true);
  expect(must(...prepare, "--dry-run")).not.toContain("allmulticast");
  must(...prepare);
  isPrepared();
  // it is still on the other host: the reservation is that one's
  must("detach", "--id", "vm1");
  expect(isReserved()).toBe(true);
  must(...prepare);
  must("vm", "switch", "--name", "vm1");
  must("detach", "--id", "vm1");
  expect(isReserved()).toBe(false);
  // in a store of its own it is this host's from the beginning
  must(...prepare);
  isPrepared();
  expect(isReserved()).toBe(true);
  must("detach", "--id", "vm1");
  expect(isReserved()).toBe(false);
  // somebody else has got the address meanwhile: nothing is made, nothing is taken from it
  must(...attach, "--id", "vm2", "--ip", "192.168.122.150");
  expect(berth(...prepare)).toMatchObject({ code: 1, err: expect.stringContaining("192.168.122.150") });
  expect(list().map((r) => r.containerId)).toEqual(["vm2"]);
  expect(must("check")).toContain("ok ");
  must("detach", "--id", "vm2");
});

test("an address that another machine has is not given to a guest", () => {
  w.address("peer", "eth0", "192.168.122.100/24");
  writeFileSync("/run/careful.conf", JSON.stringify({ ...network, conflictDetection: { probes: 2, quarantineS: 1 } }));
  const attach = ["attach", "--config", "/run/careful.conf", "--kind", "macvtap", "--tap-mode", "0600", "--id", "vm1"];
  expect(berth(...attach)).toMatchObject({ code: 0, err: expect.stringContaining("192.168.122.100 is in quarantine") });
  expect(rowOf("vm1").addresses).toEqual(["192.168.122.101/24", "fd22::101/64"]);
  expect(must("check")).toContain("ok ");
  must("detach", "--id", "vm1");
  w.ip("peer", "address del 192.168.122.100/24 dev eth0");
  rmSync("/var/lib/cni/networks/tasks", { recursive: true });
});

describe("the program of a machine", () => {
  test("gets a descriptor for each queue; its exit status is the command's", async () => {
    const machine = new Run(
      ["--name", "vm1", "--queues", "3"],
      [
        "sh",
        "-c",
        "for fd in 3 4 5 6; do readlink /proc/self/fd/$fd; done; echo {fd} {fds} {mac} {ip} {mtu} {ifname} {other}; exit 7",
      ],
    );
    const [out, err] = await Promise.all([machine.process.stdout.text(), machine.process.stderr.text()]);
    expect(await machine.process.exited).toBe(7);
    const node = `${TAPS}/tasks:vm1:tap-vm1`;
    const mac = /MAC (\S+),/u.exec(err)?.[1] ?? "?";
    const words = `3 3:4:5 ${mac} 192.168.122.100 1500 tap-vm1 {other}`;
    expect(out.trim().split("\n")).toEqual([node, node, node, words]);
  });

  test.each([
    ["SIGTERM", 128 + 15],
    ["SIGINT", 128 + 2],
    ["SIGUSR1", 128 + 10],
  ] as const)("%s reaches it; a program that it ends is status %d", async (signal, status) => {
    const machine = new Run(["--name", "vm1"], ["sh", "-c", ": {fd}; echo up; exec sleep 60"]);
    await machine.process.stdout.getReader().read();
    await until("it sleeps", () => list().some((r) => r.state === "attached"));
    machine.process.kill(signal);
    expect(await machine.process.exited).toBe(status);
  });

  test("outlives Berth where that is killed; gc takes the attachment back after its end, and not before", async () => {
    const machine = new Run(["--name", "vm1"], ["sh", "-c", ": {fd}; echo $$; exec sleep 60"]);
    const first = await machine.process.stdout.getReader().read();
    const pid = Number(Buffer.from(first.value ?? []).toString());
    await until("it is the machine's", () =>
      readFileSync("/run/berth/attachments/tasks:vm1:tap-vm1.json", "utf8").includes(`"pid":${pid}`),
    );
    machine.process.kill("SIGKILL");
    await machine.process.exited;
    expect(must("gc")).toBe("nothing to collect\n");
    expect(berth("vm", "run", "--config", CONFIG, "--name", "vm1", "--", "true", "{fd}")).toMatchObject({
      code: 1,
      err: expect.stringContaining(`process ${pid} runs it already`),
    });
    process.kill(pid, "SIGKILL");
    await until("it has ended", () => rowOf("vm1").state === "its process gone");
    expect(must("gc")).toBe("collected tasks/vm1/tap-vm1\n");
  });

  test("is no stray though its record is lost, until it has ended", async () => {
    const ipam = { type: "static", addresses: [{ address: "192.168.122.77/24" }] };
    writeFileSync("/run/static.conf", JSON.stringify({ ...network, ipam }));
    const command = ["sh", "-c", ": {fd}; echo $$; exec sleep 60"];
    const machine = Bun.spawn(
      [process.execPath, main, "vm", "run", "--config", "/run/static.conf", "--name", "vm1", "--", ...command],
      {
        argv0: "berth",
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
    const pid = Number(Buffer.from((await machine.stdout.getReader().read()).value ?? []).toString());
    machine.kill("SIGKILL");
    await machine.exited;
    rmSync("/run/berth/attachments", { recursive: true });
    berth("gc", "--yes");
    expect(existsSync(`${TAPS}/tasks:vm1:tap-vm1`)).toBe(true);
    expect(w.ipJson(HOST, "link show dev tap-vm1").length).toBe(1);
    expect(w.ip(HOST, "route show 192.168.122.77")).not.toBe("");
    process.kill(pid, "SIGKILL");
    await until("gc takes it", () => {
      berth("gc", "--yes");
      return !w.ip(HOST, "-o link show").includes("tap-vm1");
    });
    expect(existsSync(`${TAPS}/tasks:vm1:tap-vm1`)).toBe(false);
  });

  test("holds the device of a former link after its parent was made anew: check and the watcher say so until it is started anew", async () => {
    w.ip(HOST, "link add over0 type bridge");
    w.ip(HOST, "link set over0 up");
    const ipam = { type: "static", addresses: [{ address: "192.168.122.78/24" }] };
    writeFileSync("/run/over.conf", JSON.stringify({ ...network, name: "over", master: "over0", ipam }));
    const flags = ["vm", "run", "--config", "/run/over.conf", "--name", "vm1", "--"];
    const machine = Bun.spawn([process.execPath, main, ...flags, "sh", "-c", ": {fd}; echo up; exec sleep 60"], {
      argv0: "berth",
      stdio: ["ignore", "pipe", "ignore"],
    });
    await machine.stdout.getReader().read();
    expect(must("check")).toContain("ok    over/vm1/tap-vm1");
    await using watcher = new Watcher();
    w.deleteLink(HOST, "over0");
    // others' links have the lowest numbers that are free: the new one shall have another than the former
    w.ip(HOST, "link add link eth1 name theirs type macvtap mode bridge");
    w.ip(HOST, "link add over0 type bridge");
    w.ip(HOST, "link set over0 up");
    const sentence = /link tap-vm1: sleep \(pid \d+\) has the device of a link that is gone, and reaches nobody/u;
    await until("the watcher has mended it", () =>
      watcher.log.includes("mended  over/vm1/tap-vm1: link tap-vm1: is not there"),
    );
    await until("the watcher says what it cannot mend", () => sentence.test(watcher.log));
    expect(berth("check")).toMatchObject({ code: 1, out: expect.stringMatching(sentence) });
    machine.kill("SIGTERM");
    await machine.exited;
    expect(list()).toEqual([]);
    w.ip(HOST, "link delete theirs");
    w.deleteLink(HOST, "over0");
  });

  test("is not the runtime's: its garbage collection leaves it alone", async () => {
    const machine = new Run(["--name", "vm1"], ["sh", "-c", ": {fd}; echo up; exec sleep 60"]);
    await machine.process.stdout.getReader().read();
    expect((await call("GC", { ...network, "cni.dev/valid-attachments": [] })).text).toBe("");
    expect(rowOf("vm1").state).toBe("attached");
    expect(must("check")).toContain("ok ");
    await machine.end();
  });

  test("that is not there, or has no place for the descriptor: nothing is left", () => {
    expect(run("no-such-program", "{fd}")).toMatchObject({
      code: 1,
      err: expect.stringContaining("start no-such-program"),
    });
    expect(run("sleep", "60")).toMatchObject({ code: 1, err: expect.stringContaining("neither {fd} nor {fds}") });
    expect(run("true", "{fd}", "{fd2}")).toMatchObject({
      code: 1,
      err: expect.stringContaining("there is no such network"),
    });
    expect(run("true", "{fd}", "{vhostfd}")).toMatchObject({ code: 1, err: expect.stringContaining("Give --vhost.") });
    // where the kernel has the back end, the program gets its descriptor; where not, that is said
    const vhost = berth(
      "vm",
      "run",
      "--config",
      CONFIG,
      "--name",
      "vm1",
      "--vhost",
      "--",
      "readlink",
      "/proc/self/fd/{vhostfd}",
      "/proc/self/fd/{fd}",
    );
    expect(vhost).toMatchObject(
      existsSync("/dev/vhost-net")
        ? { code: 0, out: `/dev/vhost-net\n${TAPS}/tasks:vm1:tap-vm1\n` }
        : { code: 1, err: expect.stringContaining("modprobe vhost_net") },
    );
  });
});

/** A container with a /dev of its own. */
async function startContainer(): Promise<{ pid: number; [Symbol.dispose]: () => void }> {
  const p = Bun.spawn(
    ["unshare", "--net", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /dev; echo up; exec sleep 60"],
    {
      stdout: "pipe",
    },
  );
  await p.stdout.getReader().read();
  return { pid: p.pid, [Symbol.dispose]: () => p.kill("SIGKILL") };
}

/** A macvtap of somebody else's, whose device has that number: links get the lowest that is free. */
function takeNumber(number: string): void {
  for (let i = 0; i < 20; i++) {
    w.ip(HOST, `link add link eth1 name theirs${i} type macvtap mode bridge`);
    if (w.run(["sh", "-c", `cat /sys/class/net/theirs${i}/tap*/dev`]).trim() === number) return;
  }
  throw new Error(`no link got ${number}`);
}

/** Deletes all of them. */
function deleteTheirs(): void {
  for (const { ifname } of w.ipJson(HOST, "link show"))
    if (typeof ifname === "string" && ifname.startsWith("theirs")) w.ip(HOST, `link delete ${ifname}`);
}

/** A node's device number. */
function at(path: string): string {
  return w.run(["stat", "-c", "%Hr:%Lr", path]).trim();
}

function attachAt(id: string, path: string): void {
  must("attach", "--config", CONFIG, "--kind", "macvtap", "--tap-path", path, "--id", id);
}

describe("a device node", () => {
  test("in a container: made, found wrong, mended, removed; others at its place stay", async () => {
    using c = await startContainer();
    const dev = `/proc/${c.pid}/root/dev`;
    const attach = (...more: string[]): Outcome =>
      berth(
        "attach",
        "--config",
        CONFIG,
        "--kind",
        "macvtap",
        "--tap-owner",
        "7:8",
        "--tap-mode",
        "0640",
        "--pid",
        `${c.pid}`,
        ...more,
      );
    expect(attach()).toMatchObject({ code: 0, out: expect.stringContaining("its device is /dev/tap-eth0") });
    const stat = (): string => w.run(["stat", "-c", "%F %u:%g %a", `${dev}/tap-eth0`]).trim();
    expect(stat()).toBe("character special file 7:8 640");
    // it is the link's own: opened, it is a tap with the link's name
    const numbers = w.run(["stat", "-c", "%Hr:%Lr", `${dev}/tap-eth0`]).trim();
    w.run(["chmod", "0666", `${dev}/tap-eth0`]);
    expect(berth("check")).toMatchObject({
      code: 1,
      out: expect.stringContaining("its mode is 0666, planned was 0640"),
    });
    must("repair");
    expect(stat()).toBe("character special file 7:8 640");
    // the link is made anew, with another number: the node follows
    w.run(["nsenter", `--net=${processNamespacePath(c.pid)}`, "ip", "link", "delete", "eth0"]);
    w.ip(HOST, "link add link eth1 name taking type macvtap mode bridge");
    must("repair");
    expect(w.run(["stat", "-c", "%Hr:%Lr", `${dev}/tap-eth0`]).trim()).not.toBe(numbers);
    expect(must("check")).toContain("ok ");
    w.ip(HOST, "link delete taking");
    must("detach", "--pid", `${c.pid}`);
    expect(existsSync(`${dev}/tap-eth0`)).toBe(false);
    writeFileSync(`${dev}/tap-eth0`, "somebody's");
    expect(attach()).toMatchObject({ code: 1, err: expect.stringContaining("Something else has that name") });
    expect(readFileSync(`${dev}/tap-eth0`, "utf8")).toBe("somebody's");
    expect(attach("--tap-path", "/nowhere/tap")).toMatchObject({
      code: 1,
      err: expect.stringContaining("Its directory is not there"),
    });
  });

  test("is made in the container, wherever its symbolic links point", async () => {
    using c = await startContainer();
    const inContainer = (...argv: string[]): string => w.run(["nsenter", `--mount=/proc/${c.pid}/ns/mnt`, ...argv]);
    mkdirSync("/run/victim");
    inContainer("ln", "-s", "/run/victim", "/dev/out");
    inContainer("ln", "-s", "../../../../../run/victim", "/dev/up");
    inContainer("mount", "-t", "tmpfs", "tmpfs", "/run");
    const attach = (path: string): Outcome =>
      berth("attach", "--config", CONFIG, "--kind", "macvtap", "--tap-path", path, "--pid", `${c.pid}`);
    for (const path of ["/dev/out/tap", "/dev/up/tap"]) {
      expect(attach(path)).toMatchObject({ code: 1, err: expect.stringContaining("Its directory is not there") });
    }
    inContainer("mkdir", "/run/victim");
    expect(attach("/dev/out/tap").code).toBe(0);
    expect(inContainer("ls", "/run/victim")).toBe("tap\n");
    expect(readdirSync("/run/victim")).toEqual([]);
    // a link in the node's place is never followed, neither to be given away nor to be removed
    must("detach", "--pid", `${c.pid}`);
    writeFileSync("/run/victim/file", "", { mode: 0o600 });
    inContainer("ln", "-s", "/run/victim/file", "/dev/tap-eth0");
    expect(attach("/dev/tap-eth0").code).toBe(1);
    expect(w.run(["stat", "-c", "%a", "/run/victim/file"])).toBe("600\n");
    rmSync("/run/victim", { recursive: true });
  });

  const v1 = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .find((l) => / - cgroup \S+ (\S*,)?devices/u.test(l))
    ?.split(" ")[4];
  test.skipIf(v1 === undefined)(
    "may be opened by a container that its control group forbids all devices (skipped where version 1 is not in force)",
    async () => {
      using c = await startContainer();
      const group = `${v1}/berth-guests-${process.pid}`;
      mkdirSync(group);
      try {
        writeFileSync(`${group}/devices.deny`, "a");
        writeFileSync(`${group}/cgroup.procs`, `${c.pid}`);
        must("attach", "--config", CONFIG, "--kind", "macvtap", "--tap-mode", "0600", "--pid", `${c.pid}`);
        const devices = (): string => readFileSync(`${group}/devices.list`, "utf8").trim();
        const numbers = w.run(["stat", "-c", "%Hr:%Lr", `/proc/${c.pid}/root/dev/tap-eth0`]).trim();
        expect(devices()).toBe(`c ${numbers} rw`);
        expect(must("check")).toContain("ok ");
        writeFileSync(`${group}/devices.deny`, "a");
        expect(berth("check")).toMatchObject({ code: 1, out: expect.stringContaining(`may not open ${numbers}`) });
        must("repair");
        must("detach", "--pid", `${c.pid}`);
        expect(devices()).toBe("");
      } finally {
        c[Symbol.dispose]();
        await until("the group is empty", () => readFileSync(`${group}/cgroup.procs`, "utf8") === "");
        w.run(["rmdir", group]);
      }
    },
  );

  test("of a link that is gone is taken back, though another link has its number by now; another attachment's is not", () => {
    mkdirSync("/run/places");
    const [own, others] = ["/run/places/one", "/run/places/two"];
    attachAt("vm1", own);
    const number = at(own);
    w.ip(HOST, "link delete tap-vm1");
    takeNumber(number);
    must("detach", "--id", "vm1");
    expect(existsSync(own)).toBe(false);
    deleteTheirs();
    // the same place is another attachment's by now, its number even the same
    attachAt("vm1", own);
    w.ip(HOST, "link delete tap-vm1");
    rmSync(own);
    attachAt("vm2", own);
    must("detach", "--id", "vm1");
    expect(existsSync(own)).toBe(true);
    // somebody moved it there: a name says nothing
    attachAt("vm3", others);
    renameSync(own, "/run/places/three");
    renameSync(others, own);
    must("detach", "--id", "vm2");
    expect(existsSync(own)).toBe(true);
    expect(readdirSync("/run/places").toSorted()).toEqual(["one", "three"]);
    renameSync(own, others);
    must("detach", "--id", "vm3");
    rmSync("/run/places", { recursive: true });
  });

  test("whose record is lost is found: in Berth's directory, in /dev, and where a network has it made; others' stay", () => {
    mkdirSync("/run/confs");
    const network3 = { ...network, kind: "macvtap", tap: { path: "/run/confs/given" } };
    writeFileSync("/run/confs/tasks.conf", JSON.stringify(network3));
    must("attach", "--config", CONFIG, "--kind", "macvtap", "--tap-mode", "0600", "--id", "vm1");
    attachAt("vm2", "/dev/tap-berth");
    must("attach", "--network", "tasks", "--conf-dir", "/run/confs", "--id", "vm3");
    const nodes = [`${TAPS}/tasks:vm1:tap-vm1`, "/dev/tap-berth", "/run/confs/given"];
    const numbers = nodes.map(at);
    w.run(["mknod", "/dev/tap-theirs", "c", ...(numbers[0] ?? "").split(":")]);
    const gc = (...flags: string[]): string => must("gc", "--conf-dir", "/run/confs", "--grace", "0", ...flags);
    expect(gc()).toBe("nothing to collect\n");
    for (const name of readdirSync("/run/berth/attachments")) rmSync(`/run/berth/attachments/${name}`);
    for (const id of ["vm1", "vm2", "vm3"]) w.ip(HOST, `link delete tap-${id}`);
    const said = gc();
    for (const node of nodes) expect(said).toContain(`of no record: device node ${node} on the host\n`);
    expect(said).not.toContain("theirs");
    expect(nodes.map(at)).toEqual(numbers);
    expect(gc("--dry-run")).toContain("rm /dev/tap-berth\n");
    gc("--yes");
    expect(nodes.map((node) => existsSync(node))).toEqual([false, false, false]);
    expect(existsSync("/dev/tap-theirs")).toBe(true);
    rmSync("/dev/tap-theirs");
    rmSync("/run/confs", { recursive: true });
    rmSync("/var/lib/cni/networks/tasks", { recursive: true });
  });

  test("of a CNI call: its path is in the result, and DEL without a record takes it away too", async () => {
    const config = { ...network, kind: "macvtap", tap: { owner: 107, mode: "0600" } };
    const { json } = await call("ADD", config);
    const tap = `${TAPS}/tasks:c1:eth0`;
    expect(json).toMatchObject({ interfaces: [{ name: "eth0", tap }], ips: [{ address: "192.168.122.100/24" }, {}] });
    expect(w.run(["stat", "-c", "%F %u:%g %a", tap])).toBe("character special file 107:0 600\n");
    expect(w.ipJson("c", "address show dev eth0")[0]?.["addr_info"]).toEqual([]);
    expect((await call("CHECK", { ...config, prevResult: json })).text).toBe("");
    rmSync("/run/berth/attachments", { recursive: true });
    expect((await call("DEL", { ...config, prevResult: json })).text).toBe("");
    expect(existsSync(tap)).toBe(false);
    // the namespace is gone before DEL: the node is on the host
    expect((await call("ADD", config)).json).not.toHaveProperty("code");
    w.removeNamespace("c");
    expect((await call("DEL", config)).text).toBe("");
    expect(existsSync(tap)).toBe(false);
    w.namespace("c");
  });
});
