// Live migration: ten moves of an idle guest between two hosts by Berth, and ten by hand, in turn, pinged every 20 ms from a
// LAN peer and from a container on each host's parent.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { namedNamespacePath } from "../../src/kernel/namespaces.ts";
import { ping } from "../../src/kernel/icmp.ts";
import { Qmp, type QmpEvent } from "../../src/vm/qmp.ts";
import { TestWorld, until } from "../world.ts";
import { MonitoredGuest } from "./guest.ts";
import { SmallHost } from "./hosts.ts";

const ROUNDS = 10;
const CONFIG = "/run/tasks.conf";
const PINGERS = ["peer", "ca", "cb"] as const;
const BERTHS = "192.168.122.50";
const BERTHS6 = "fd22::50";
const BY_HAND = { ip: "192.168.122.60", mac: "02:00:00:00:0a:0b" } as const;

let w: TestWorld;
let hosts: readonly [SmallHost, SmallHost];
beforeAll(async () => {
  w = new TestWorld();
  w.lan("office");
  w.lan("tasks");
  for (const name of ["peer", "ca", "cb", "h1", "h2"]) w.namespace(name);
  w.plug("tasks", "peer", "eth0", "192.168.122.9/24", "fd22::9/64");
  for (const [i, name] of ["h1", "h2"].entries()) {
    w.plug("office", name, "eth0", `192.168.10.${i + 1}/24`, `fd10::${i + 1}/64`);
    w.plug("tasks", name, "eth1");
  }
  writeFileSync(
    CONFIG,
    JSON.stringify({
      cniVersion: "1.1.0",
      name: "tasks",
      type: "berth",
      kind: "macvlan",
      master: "eth1",
      hostAccess: "auto",
      ipam: { type: "host-local", ranges: [[{ subnet: "192.168.122.0/24" }], [{ subnet: "fd22::/64" }]] },
    }),
  );
  hosts = [await SmallHost.in("h1"), await SmallHost.in("h2")];
  hosts[0].berth("attach", "--config", CONFIG, "--netns", "ca", "--ip", "192.168.122.21", "--ip", "fd22::21");
  hosts[1].berth("attach", "--config", CONFIG, "--netns", "cb", "--ip", "192.168.122.22", "--ip", "fd22::22");
});
afterAll(async () => {
  for (const host of hosts) await host[Symbol.asyncDispose]();
  w[Symbol.dispose]();
});

/** A guest where it runs, and the program that holds it there. */
interface Placed {
  readonly guest: MonitoredGuest;
  readonly process: Bun.Subprocess;
}

/** A way to have a guest on a host: first there, or to come from another. */
interface Way {
  readonly ip: string;
  /** Starts QEMU on the host; `more` is added to its command line. */
  start(host: SmallHost, ...more: string[]): Promise<Placed>;
  /** Before the guest comes. */
  prepare(guest: MonitoredGuest, from: SmallHost, to: SmallHost): Promise<void>;
  /** After QEMU has ended on a host. */
  after(host: SmallHost): void;
}

const byBerth: Way = {
  ip: BERTHS,
  async start(host, ...more) {
    const guest = new MonitoredGuest();
    const flags = ["--config", CONFIG, "--name", "vm1", "--qmp", guest.qmp, "--ip", BERTHS, "--ip", BERTHS6];
    const command = host.berthCommand("vm", "run", ...flags, "--", ...guest.command(1, ...more));
    const process = Bun.spawn(command, { stdio: ["ignore", "ignore", "ignore"] });
    await guest.agent.connected();
    return { guest, process };
  },
  async prepare(guest, from, to) {
    writeFileSync("/run/vm1.json", from.berth("vm", "export", "--name", "vm1"));
    const prepared = to.berth("vm", "prepare", "--config", CONFIG, "--state", "/run/vm1.json", "--json");
    const { commands } = (JSON.parse(prepared) as { guest: { commands: readonly string[] } }).guest;
    for (const command of commands) await guest.agent.must(command);
  },
  after() {
    // berth vm run has detached it
  },
};

/** What an administrator would do: the same macvtap on both hosts, set up and down at QEMU's events. */
const byHand: Way = {
  ip: BY_HAND.ip,
  async start(host, ...more) {
    const guest = new MonitoredGuest();
    const device = w
      .run(host.name, ["sh", "-c", "mount -t sysfs sysfs /mnt && cat /mnt/class/net/hand/tap*/dev; umount /mnt"])
      .trim();
    const node = `${guest.directory}/tap`;
    w.run(["mknod", node, "c", ...device.split(":")]);
    const argv = guest
      .command(1, ...more)
      .map((word) => word.replace("{fd}", "3").replace("{mac}", BY_HAND.mac).replace("{mtu}", "1500"));
    const fd = openSync(node, "r+");
    const process = Bun.spawn(host.command(...argv), { stdio: ["ignore", "ignore", "ignore", fd] });
    closeSync(fd);
    await guest.agent.connected();
    const onEvent = ({ event }: QmpEvent): void => {
      const state = event === "STOP" ? "down" : event === "RESUME" ? "up" : undefined;
      if (state !== undefined) w.ip(host.name, `link set hand ${state}`);
    };
    await connected(guest.qmp, onEvent);
    return { guest, process };
  },
  async prepare(_guest, _from, to) {
    makeByHand(to.name);
  },
  after(host) {
    w.ip(host.name, "link delete hand");
  },
};

function makeByHand(host: string): void {
  w.ip(host, `link add link eth1 name hand address ${BY_HAND.mac} type macvtap mode bridge`);
  w.sysctl(host, "net/ipv6/conf/hand/disable_ipv6", "1");
}

/** `ping` every 20 ms; the longest time without an answer, milliseconds, when it is ended. */
class Pinger {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "ignore">;

  constructor(from: string, to: string) {
    this.#process = Bun.spawn(
      ["nsenter", `--net=${namedNamespacePath(from)}`, "ping", "-D", "-n", "-i", "0.02", "-W", "1", to],
      {
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
  }

  async end(): Promise<number> {
    this.#process.kill("SIGINT");
    const text = await this.#process.stdout.text();
    const times = [...text.matchAll(/^\[([\d.]+)\].*time=/gmu)].map((m) => Number(m[1]) * 1000);
    return Math.max(...times.slice(1).map((t, i) => t - (times[i] ?? t)));
  }
}

/** Moves a guest that runs on one host to the other; the outage that each pinger saw, milliseconds. */
async function migrate(
  way: Way,
  { guest, process }: Placed,
  from: SmallHost,
  to: SmallHost,
): Promise<{ placed: Placed; outages: number[] }> {
  await way.prepare(guest, from, to);
  const socket = `unix:/run/migration-${crypto.randomUUID()}`;
  const placed = await way.start(to, "-incoming", socket);
  using target = await connected(placed.guest.control);
  using source = await connected(guest.control);
  const pingers = PINGERS.map((pinger) => new Pinger(pinger, way.ip));
  await Bun.sleep(500); // the pings' own beginning
  await source.execute("migrate-set-parameters", { "max-bandwidth": 2 ** 30, "downtime-limit": 300 });
  await source.execute("migrate", { uri: socket });
  await settled("the migration", async () => statusIn(await source.execute("query-migrate")), ["completed", "failed"]);
  expect(statusIn(await source.execute("query-migrate"))).toBe("completed");
  await settled("the guest to run", async () => statusIn(await target.execute("query-status")), ["running"]);
  await Bun.sleep(1500); // what would come late
  const outages: number[] = [];
  for (const pinger of pingers) outages.push(await pinger.end());
  await source.execute("quit").catch(() => {}); // it may end before it answers
  await process.exited;
  guest[Symbol.dispose]();
  way.after(from);
  return { placed, outages };
}

async function connected(path: string, onEvent: (event: QmpEvent) => void = () => {}): Promise<Qmp> {
  for (const end = performance.now() + 30_000; ; await Bun.sleep(20)) {
    try {
      return await Qmp.connect(path, onEvent);
    } catch (e) {
      if (performance.now() > end) throw e;
    }
  }
}

function statusIn(answer: unknown): string {
  return (answer as { status?: string }).status ?? "";
}

async function settled(what: string, ask: () => Promise<string>, ends: readonly string[]): Promise<void> {
  for (const end = performance.now() + 60_000; ; await Bun.sleep(20)) {
    const is = await ask();
    if (ends.includes(is)) return;
    if (performance.now() > end) throw new Error(`waited 60 s for ${what}: it is ${is}`);
  }
}

/** A TCP connection from a namespace to the guest's echo server, with the last number that came back. */
class Connection implements Disposable {
  readonly process: Bun.Subprocess<"ignore", "pipe", "inherit">;
  last = "";

  constructor(from: string, to: string) {
    this.process = Bun.spawn(
      ["nsenter", `--net=${namedNamespacePath(from)}`, process.execPath, `${import.meta.dir}/tcp.ts`, to, "7"],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    void this.#follow();
  }

  async #follow(): Promise<void> {
    const reader = this.process.stdout.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      this.last = Buffer.from(part.value).toString().trim().split("\n").at(-1) ?? this.last;
    }
  }

  /** Further lines come back on the same connection. */
  async goesOn(): Promise<void> {
    const before = Number(this.last);
    await until(`the connection goes on after ${this.last}`, () => Number(this.last) > before + 3);
  }

  [Symbol.dispose](): void {
    this.process.kill("SIGKILL");
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return ((sorted[Math.floor((sorted.length - 1) / 2)] ?? 0) + (sorted[Math.ceil((sorted.length - 1) / 2)] ?? 0)) / 2;
}

/** Of each move the longest gap that any pinger saw. */
function worst(outages: readonly number[][]): number[] {
  return outages.map((o) => Math.max(...o));
}

function line(name: string, outages: readonly number[][]): string {
  const gaps = worst(outages);
  return `${name}: longest gap per move, ms: ${gaps.map(Math.round).join(" ")}; median ${Math.round(median(gaps))}`;
}

function reservedOn(host: SmallHost): string[] {
  const names = host.run("sh", "-c", "ls /var/lib/cni/networks/tasks 2>/dev/null || true");
  return names.split("\n").filter((f) => /^[\da-f]+[.:][\da-f.:]+$/u.test(f));
}

test("a guest moves ten times: connections live on, addresses and the host's way move along, the outage is that of the best way by hand", async () => {
  makeByHand("h1");
  let hand = await byHand.start(hosts[0]);
  w.ip("h1", "link set hand up");
  await hand.guest.agent.ready();
  await hand.guest.agent.must(`ip address add ${BY_HAND.ip}/24 dev eth0; ip link set eth0 up`);
  let berths = await byBerth.start(hosts[0]);
  await berths.guest.agent.ready();
  const row = (JSON.parse(hosts[0].berth("ls", "--json")) as { guest?: { commands: string[] } }[]).find(
    (r) => r.guest !== undefined,
  );
  for (const command of row?.guest?.commands ?? []) await berths.guest.agent.must(command);
  await berths.guest.agent.must(
    "nc -ll -p 7 -e cat >/dev/null 2>&1 & until netstat -ltn | grep -q ':7 '; do usleep 100000; done",
  );
  using first = new Connection("ca", BERTHS);
  using second = new Connection("cb", BERTHS);
  const connections = [first, second];
  await until("both are connected", () => connections.every((c) => c.last !== ""));

  const seen: { hand: number[][]; berth: number[][] } = { hand: [], berth: [] };
  for (let round = 0; round < ROUNDS; round++) {
    const [from, to] = round % 2 === 0 ? hosts : ([hosts[1], hosts[0]] as const);
    const other = await migrate(byHand, hand, from, to);
    hand = other.placed;
    const own = await migrate(byBerth, berths, from, to);
    berths = own.placed;
    seen.hand.push(other.outages);
    seen.berth.push(own.outages);
    for (const connection of connections) await connection.goesOn();
    // everybody reaches it where it is now, its host too; the addresses are reserved there and only there
    for (const ip of [BERTHS, BERTHS6]) {
      for (const pinger of PINGERS) expect(ping(w.at(pinger), ip, { timeoutMs: 2000 })).toMatchObject({ ok: true });
      to.run("ping", "-c", "1", "-W", "2", ip);
    }
    expect(to.berth("check")).not.toContain("wrong");
    expect(reservedOn(to)).toEqual(expect.arrayContaining([BERTHS, BERTHS6]));
    expect(reservedOn(from)).not.toContain(BERTHS);
    expect(from.berth("ls")).not.toContain("vm1");
    expect(from.run("ip", "route", "show", BERTHS)).toBe("");
    expect(from.run("ip", "-o", "link")).not.toContain("tap-vm1");
  }

  const each = PINGERS.map((p, i) => {
    const of = (outages: readonly number[][]): number => Math.round(median(outages.map((o) => o[i] ?? 0)));
    return `${p} ${of(seen.berth)} / ${of(seen.hand)}`;
  });
  console.log(line("by Berth", seen.berth));
  console.log(line("by hand ", seen.hand));
  console.log(`medians by pinger, by Berth / by hand, ms: ${each.join(", ")}`);
  console.log(`ratio of the medians: ${(median(worst(seen.berth)) / median(worst(seen.hand))).toFixed(2)}`);

  for (const { guest, process } of [hand, berths]) {
    process.kill("SIGTERM");
    await process.exited;
    guest[Symbol.dispose]();
  }
  for (const host of hosts) expect(host.berth("ls")).not.toContain("vm1");
  w.ip("h1", "link delete hand");
  hosts[0].berth("detach", "--id", "ca");
  hosts[1].berth("detach", "--id", "cb");
  for (const host of hosts) {
    expect(host.berth("ls")).toBe("no attachments\n");
    expect(reservedOn(host)).toEqual([]);
    expect(host.run("sh", "-c", "ls /run/berth/taps /run/berth/attachments")).toBe(
      "/run/berth/attachments:\n\n/run/berth/taps:\n",
    );
    expect(host.run("ip", "-o", "link").trim().split("\n").length).toBe(3);
    expect(host.run("ip", "route")).not.toContain("proto 98");
  }
}, 900_000);
