// Other users of the host: what is Berth's is closed to them. Only root can become another user, to try.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, statSync } from "node:fs";
import { HOST, TestWorld, until } from "../world.ts";
import { run } from "./host.ts";

const SOCKET = "/run/docker/plugins/berth.sock";
const OPEN_TO_ALL = "/run/open.sock";
const NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"];
const CONNECT = 'use IO::Socket::UNIX; IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$!\\n"; print "connected";';
const config = {
  cniVersion: "1.1.0",
  name: "lan",
  type: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  ipam: { type: "host-local", subnet: "10.1.0.0/24", rangeStart: "10.1.0.100" },
};

let w: TestWorld;
let plugin: Bun.Subprocess;
let open: ReturnType<typeof Bun.listen>;
beforeAll(async () => {
  w = new TestWorld();
  w.lan("lan");
  w.plug("lan", HOST, "eth1", "10.1.0.5/24");
  w.namespace("c");
  cni("ADD");
  plugin = Bun.spawn(["berth", "docker"], { stdio: ["ignore", "ignore", "inherit"] });
  await until("the plugin listens", () => existsSync(SOCKET));
  const { PoolID } = await ask("RequestPool", { Pool: "10.2.0.0/24" });
  await ask("RequestAddress", { PoolID, Address: "" });
  open = Bun.listen({ unix: OPEN_TO_ALL, socket: { data() {} } });
  chmodSync(OPEN_TO_ALL, 0o666);
});
afterAll(async () => {
  open.stop(true);
  plugin.kill("SIGTERM");
  await plugin.exited;
  cni("DEL");
  w[Symbol.dispose]();
});

function cni(verb: string): void {
  const env = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/x",
  };
  w.run(HOST, ["berth"], env, JSON.stringify(config));
}

/** What the plugin's IPAM answers. */
async function ask(call: string, body: object): Promise<Record<string, unknown>> {
  const url = `http://docker/IpamDriver.${call}`;
  const response = await fetch(url, { unix: SOCKET, method: "POST", body: JSON.stringify(body) });
  return (await response.json()) as Record<string, unknown>;
}

/** What a command says, and whether it succeeds, as a user who is nobody here. */
function asNobody(...argv: readonly string[]): readonly [boolean, string] {
  const r = Bun.spawnSync([...NOBODY, ...argv]);
  return [r.exitCode === 0, `${r.stdout.toString()}${r.stderr.toString()}`];
}

/** All that is below a directory. */
function below(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).map((name) => `${directory}/${name}`);
}

const denied = [false, expect.stringContaining("Permission denied")] as const;

describe("the Docker plugin's socket", () => {
  test("is root's alone", () => {
    const { uid, gid, mode } = statSync(SOCKET);
    expect([uid, gid, mode & 0o7777]).toEqual([0, 0, 0o600]);
  });

  test("root can connect to it, and another user cannot", () => {
    expect(run(["perl", "-e", CONNECT, SOCKET])).toBe("connected");
    expect(asNobody("perl", "-e", CONNECT, OPEN_TO_ALL)).toEqual([true, "connected"]); // the user could
    expect(asNobody("perl", "-e", CONNECT, SOCKET)).toEqual([...denied]);
  });
});

describe("what Berth keeps", () => {
  test.each(["/run/berth", "/var/lib/berth"])("%s: another user sees nothing of it", (directory) => {
    const all = below(directory);
    expect(all.length).toBeGreaterThan(0);
    expect(asNobody("ls", directory)).toEqual([...denied]);
    for (const path of all) expect([path, asNobody("stat", path)[0]]).toEqual([path, false]);
  });

  test("another user holds none of its locks, and reserves no address", () => {
    const locks = [...below("/run/berth/locks"), "/var/lib/cni/networks/lan/lock"];
    expect(locks.length).toBeGreaterThan(1);
    for (const lock of locks) {
      expect(run(["flock", "-n", lock, "echo", "held"])).toBe("held\n");
      expect([lock, asNobody("flock", "-n", lock, "echo", "held")]).toEqual([lock, [...denied]]);
    }
    const reservations = "/var/lib/cni/networks/lan";
    expect(asNobody("touch", `${reservations}/10.1.0.101`)).toEqual([...denied]);
    expect(asNobody("rm", "-f", `${reservations}/10.1.0.100`)).toEqual([...denied]);
    expect(existsSync(`${reservations}/10.1.0.100`)).toBe(true);
  });
});

test("as another user it says that it needs root, and changes nothing", () => {
  const [done, text] = asNobody("berth", "gc", "--yes");
  expect([done, text]).toEqual([false, expect.stringMatching(/root|permi/iu)]);
  expect(w.link("c", "eth0").name).toBe("eth0");
});
