// Docker as Debian 12 ships it (20.10), with Berth as network and IPAM plugin.
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { namedNamespacePath } from "../../src/kernel/namespaces.ts";
import { HOST, until } from "../world.ts";
import { Docker } from "./dockerd.ts";
import { ClientHost, type Kind, kinds, reserved, run } from "./host.ts";
import { IMAGE } from "./image.ts";

const STATE = "/var/lib/berth/docker";
/** Docker's own resolver, which user-defined networks get. */
const RESOLVER = "127.0.0.11";
const PEER = "192.168.122.22";

let w: ClientHost;
let docker: Docker;
let dns: Bun.Subprocess;
beforeAll(async () => {
  docker = await Docker.launch(); // it lets the host forward, which is not Berth's doing
  w = new ClientHost();
  const server = [process.execPath, `${import.meta.dir}/dns.ts`, "printer.lan", PEER];
  dns = Bun.spawn(["nsenter", `--net=${namedNamespacePath("peer")}`, ...server], {
    stdio: ["ignore", "ignore", "ignore"],
  });
});
afterEach(async () => {
  await docker.stopPlugin();
  await docker.stopDaemon();
  await docker.startPlugin();
  await docker.startDaemon();
  docker.clear();
});
afterAll(async () => {
  dns.kill();
  await docker[Symbol.asyncDispose]();
  w[Symbol.dispose]();
});

/** The command of the documentation, with what a test adds; `-o` options follow. */
function createNetwork(name: string, kind: Kind, ...more: readonly string[]): void {
  const access = ["-o", "parent=eth1", "-o", `kind=${kind}`, "-o", "mode=bridge", "-o", "host_access=auto"];
  docker.run("network", "create", "-d", "berth", "--ipam-driver", "berth", ...access, ...more, name);
}
const FOUR = ["--subnet", "192.168.122.0/24", "--ip-range", "192.168.122.128/26"] as const;
const BOTH = [
  ...FOUR,
  "--ipv6",
  "--subnet",
  "fd22::/64",
  "--gateway",
  "fd22::1",
  "--ip-range",
  "fd22::1:0/112",
] as const;

interface Attached {
  readonly IPAddress: string;
  readonly IPPrefixLen: number;
  readonly GlobalIPv6Address: string;
  readonly GlobalIPv6PrefixLen: number;
  readonly MacAddress: string;
}

/** What Docker says of a container on a network. */
function attached(name: string, network = "lan"): Attached {
  const networks = JSON.parse(docker.run("inspect", "-f", "{{json .NetworkSettings.Networks}}", name)) as Record<
    string,
    Attached
  >;
  const found = networks[network];
  if (found === undefined) throw new Error(`docker inspect ${name}: it is not on ${network}`);
  return found;
}

const inside = (name: string, script: string): string => docker.run("exec", name, "sh", "-c", script);

/** All that is promised of a container whose `eth0` is on `lan`. */
function prove(name: string, kind: Kind, mtu?: number): void {
  const a = attached(name);
  const six = a.GlobalIPv6Address === "" ? [] : [`${a.GlobalIPv6Address}/${a.GlobalIPv6PrefixLen}`];
  w.prove({
    netns: docker.run("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", name),
    kind,
    addresses: [`${a.IPAddress}/${a.IPPrefixLen}`, ...six],
    mac: a.MacAddress,
    nameservers: [RESOLVER],
    inside: (script) => inside(name, script),
    ...(mtu === undefined ? {} : { mtu }),
  });
}

/** Why `docker run` fails; the container that is left of it is removed. */
async function refused(...args: readonly string[]): Promise<string> {
  const r = await docker.start("run", "--name", "refused", ...args, IMAGE);
  expect(r.code).not.toBe(0);
  docker.run("rm", "-f", "refused");
  return r.err;
}

/** After containers and networks are removed: nothing in the kernel, in IPAM, in the records, in the driver's memory. */
function nothingIsLeft(): void {
  docker.clear();
  w.nothingIsLeft();
  const kept = existsSync(STATE) ? readdirSync(STATE, { recursive: true }).map(String) : [];
  expect(kept.filter((f) => f.includes(".json"))).toEqual([]);
}

describe.each(kinds)("%s", (kind) => {
  test("run, stop, start, restart, rm; both families", () => {
    createNetwork("lan", kind, ...BOTH);
    docker.container("web", "--network", "lan");
    prove("web", kind);
    docker.run("stop", "-t", "0", "web");
    docker.run("start", "web");
    prove("web", kind);
    docker.run("restart", "-t", "0", "web");
    prove("web", kind);
    docker.run("rm", "-f", "web");
    expect(reserved().toSorted()).toEqual(["192.168.122.1", "fd22::1"]); // the gateways, as long as the network is
    nothingIsLeft();
  });

  test("--ip, --mac-address, an MTU; what is taken, set aside or elsewhere is refused with the reason", async () => {
    createNetwork("lan", kind, ...FOUR, "--aux-address", "printer=192.168.122.128", "-o", "mtu=1400");
    const MAC = "02:00:5e:10:00:07";
    docker.container("web", "--network", "lan", "--ip", "192.168.122.177", "--mac-address", MAC);
    expect(attached("web")).toMatchObject({ IPAddress: "192.168.122.177", MacAddress: MAC });
    prove("web", kind, 1400);
    expect(await refused("--network", "lan", "--ip", "192.168.122.177")).toContain("192.168.122.177");
    expect(await refused("--network", "lan", "--ip", "192.168.122.128")).toContain("192.168.122.128");
    expect(await refused("--network", "lan", "--ip", "192.168.122.1")).toContain("192.168.122.1");
    expect(await refused("--network", "lan", "--ip", "10.9.9.9")).toContain("10.9.9.9");
    docker.container("next", "--network", "lan");
    expect(attached("next").IPAddress).toBe("192.168.122.129"); // of the range, without what is set aside
    prove("web", kind, 1400);
    nothingIsLeft();
  });

  test("two networks of one LAN; disconnect, connect, restart", () => {
    createNetwork("lan", kind, ...FOUR);
    createNetwork("second", kind, "--subnet", "192.168.122.0/24", "--ip-range", "192.168.122.192/28");
    docker.run("create", "--name", "web", "--network", "lan", IMAGE);
    docker.run("network", "connect", "second", "web");
    docker.run("start", "web");
    const both = (): void => {
      for (const network of ["lan", "second"]) w.answers(attached("web", network).IPAddress);
    };
    both();
    docker.run("network", "disconnect", "second", "web");
    prove("web", kind);
    docker.run("network", "connect", "--ip", "192.168.122.200", "second", "web");
    expect(attached("web", "second").IPAddress).toBe("192.168.122.200");
    both();
    docker.run("restart", "-t", "0", "web");
    both();
    docker.run("network", "disconnect", "lan", "web");
    w.answers(attached("web", "second").IPAddress);
    nothingIsLeft();
  });

  test("--internal: LAN and host, and no way beyond", () => {
    createNetwork("lan", kind, ...FOUR, "--internal");
    docker.container("web", "--network", "lan");
    expect(inside("web", "ip route")).not.toContain("default");
    const { IPAddress } = attached("web");
    for (const from of [HOST, "peer"]) w.run(from, ["busybox", "ping", "-c", "1", "-W", "3", IPAddress]);
    inside("web", `ping -c 1 -W 3 ${PEER} && ping -c 1 -W 3 192.168.10.22`);
    expect(() => inside("web", "ping -c 1 -W 1 192.168.10.30")).toThrow();
    nothingIsLeft();
  });

  test("twenty at the same time", async () => {
    createNetwork("lan", kind, ...FOUR);
    const names = Array.from({ length: 20 }, (_, i) => `web${i}`);
    const all = await Promise.all(names.map((n) => docker.start("run", "-d", "--name", n, "--network", "lan", IMAGE)));
    expect(all.filter((r) => r.code !== 0).map((r) => r.err)).toEqual([]);
    const addresses = names.map((n) => attached(n).IPAddress);
    expect(new Set(addresses).size).toBe(20);
    for (const address of addresses) w.answers(address);
    run(["berth", "check"]);
    await Promise.all(names.map((n) => docker.start("rm", "-f", n)));
    expect(reserved()).toEqual(["192.168.122.1"]);
    nothingIsLeft();
  });

  test("dockerd is killed, and the container that restarts always is there again", async () => {
    createNetwork("lan", kind, ...FOUR);
    docker.container("web", "--network", "lan", "--restart", "always");
    docker.container("once", "--network", "lan");
    await docker.stopDaemon("SIGKILL");
    await docker.startDaemon();
    await until(
      "the container runs",
      () => docker.run("inspect", "-f", "{{.State.Running}}", "web") === "true",
      30_000,
    );
    prove("web", kind);
    docker.run("start", "once");
    prove("once", kind);
    nothingIsLeft();
  });

  test("--live-restore: dockerd stops and starts, the container goes on", async () => {
    await docker.stopDaemon();
    await docker.startDaemon("--live-restore");
    createNetwork("lan", kind, ...FOUR);
    docker.container("web", "--network", "lan");
    const pid = docker.run("inspect", "-f", "{{.State.Pid}}", "web");
    const { IPAddress } = attached("web");
    await docker.stopDaemon();
    w.answers(IPAddress);
    await docker.startDaemon("--live-restore");
    expect(docker.run("inspect", "-f", "{{.State.Pid}}", "web")).toBe(pid);
    prove("web", kind);
    docker.container("other", "--network", "lan");
    expect(attached("other").IPAddress).not.toBe(IPAddress);
    nothingIsLeft();
  });

  test("the plugin is killed under running containers, and started again", async () => {
    createNetwork("lan", kind, ...FOUR);
    docker.container("web", "--network", "lan");
    await docker.stopPlugin("SIGKILL");
    const { IPAddress } = attached("web");
    w.answers(IPAddress);
    docker.run("stop", "-t", "0", "web"); // nobody is told
    await docker.startPlugin();
    docker.run("start", "web");
    prove("web", kind);
    await docker.stopPlugin("SIGKILL");
    docker.run("rm", "-f", "web");
    await docker.startPlugin();
    await until("what the container had is given back", () => run(["berth", "ls", "--json"]).trim() === "[]");
    docker.container("web", "--network", "lan", "--ip", IPAddress);
    prove("web", kind);
    nothingIsLeft();
  });

  test("the driver is away while dockerd starts", async () => {
    createNetwork("lan", kind, ...FOUR);
    docker.container("web", "--network", "lan");
    await docker.stopDaemon();
    await docker.stopPlugin();
    await docker.startDaemon();
    expect((await docker.start("start", "web")).code).not.toBe(0);
    await docker.startPlugin();
    docker.run("start", "web");
    prove("web", kind);
    nothingIsLeft();
  }, 400_000);

  test("a network is removed while the driver is away", async () => {
    createNetwork("lan", kind, ...FOUR, "--aux-address", "printer=192.168.122.128");
    docker.container("web", "--network", "lan");
    docker.run("stop", "-t", "0", "web");
    await docker.stopPlugin("SIGKILL");
    docker.run("rm", "-f", "web");
    const removed = await docker.start("network", "rm", "lan");
    console.log(`docker network rm without the driver: ${removed.code} ${removed.err}`);
    await docker.startPlugin();
    if (removed.code !== 0) docker.run("network", "rm", "lan");
    await until("the network is forgotten", () => reserved().length === 0, 30_000);
    nothingIsLeft();
  }, 400_000);
});

test("names: of the LAN's DNS server, and of other containers, by Docker's resolver", () => {
  createNetwork("lan", "macvlan", ...FOUR);
  docker.container("web", "--network", "lan", "--dns", PEER);
  docker.container("other", "--network", "lan", "--dns", PEER);
  expect(inside("web", "nslookup -type=a printer.lan 2>&1 || true")).toContain(PEER);
  expect(inside("web", "nslookup -type=a other 2>&1 || true")).toContain(attached("other").IPAddress);
  nothingIsLeft();
});
