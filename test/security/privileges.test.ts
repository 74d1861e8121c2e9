// The services run with what their units give them, and need it: without any one of the capabilities something fails.
//
// No systemd runs here: confine.ts does what it would do. Device nodes cannot be made in a user namespace, which tests run in,
// whatever capabilities there are: for CAP_MKNOD, CAP_CHOWN, CAP_FOWNER and bpf(2), which a virtual machine's node takes, it is
// only checked that they are no hindrance.
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { arch } from "node:process";
import { listRecords } from "../../src/attachment/record.ts";
import { mount, MS_BIND, MS_REC, MS_SHARED, unmount } from "../../src/kernel/libc.ts";
import { processNamespacePath } from "../../src/kernel/namespaces.ts";
import { call } from "../cni/call.ts";
import { Dockerd, errorOf, recorded } from "../docker/dockerd.ts";
import { PluginHost, SOCKET } from "../docker/plugin.ts";
import { HOST, TestWorld } from "../world.ts";
import type { Confinement } from "./confine.ts";
import { executablePath } from "../executable.ts";
import { confinementOf, unit, wordsOf } from "./units.ts";

/** What cannot be missed here, as a device node cannot be made anyhow. */
const forNodes = new Set(["CAP_MKNOD", "CAP_CHOWN", "CAP_FOWNER"]);
const isPossible = arch === "x64"; // system-calls.json has x86-64's numbers

let berth: string;
beforeAll(async () => {
  berth = await executablePath();
  mount("none", "/", "", MS_REC | MS_SHARED); // as systemd has it: services see what is mounted later
});

function without(c: Confinement, capability: string): Confinement {
  return { ...c, capabilities: c.capabilities.filter((name) => name !== capability) };
}

function confined(spec: Confinement, args: readonly string[]): string[] {
  return [process.execPath, `${import.meta.dir}/confine.ts`, JSON.stringify(spec), berth, ...args];
}

interface Ended {
  readonly code: number;
  readonly text: string;
}

function run(spec: Confinement, args: readonly string[]): Ended {
  const r = Bun.spawnSync(confined(spec, args), { stderr: "pipe", env: { PATH: "/usr/bin:/bin" } });
  return { code: r.exitCode, text: r.stdout.toString() + r.stderr.toString() };
}

/** A service that runs, and what it says meanwhile. */
class Service implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #reading: Promise<unknown>;
  text = "";

  constructor(spec: Confinement, args: readonly string[]) {
    this.#child = Bun.spawn(confined(spec, args), {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: { PATH: "/usr/bin:/bin" },
    });
    const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
      for await (const part of stream) this.text += new TextDecoder().decode(part);
    };
    this.#reading = Promise.all([read(this.#child.stdout), read(this.#child.stderr)]);
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Waits until something holds; false where it has not come to hold in that time, or the service has ended. */
  async comesTo(holds: () => boolean, ms = 10_000): Promise<boolean> {
    for (const end = performance.now() + ms; !holds(); await Bun.sleep(20))
      if (this.ended || performance.now() > end) return false;
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.exited;
    await this.#reading;
  }
}

let w: TestWorld;
/** A process of root's with every capability, in a namespace that has no other name. */
let container: Bun.Subprocess;
const HIDDEN = "/run/hidden/netns";

function build(): void {
  for (const state of ["/run/berth", "/var/lib/cni", "/var/lib/berth"]) rmSync(state, { recursive: true, force: true });
  w = new TestWorld();
  w.lan("lan");
  w.namespace("c");
  w.namespace("hidden");
  w.plug("lan", HOST, "eth1", "192.168.122.1/24");
  container = Bun.spawn(["unshare", "--net", "sleep", "1000"]);
  // a directory that is not for everybody, as a user's /run/user/1000: root itself has no way in without a capability
  mkdirSync("/run/hidden", { recursive: true });
  writeFileSync(HIDDEN, "");
  mount("/run/netns/hidden", HIDDEN, "", MS_BIND);
}

async function demolish(): Promise<void> {
  container.kill("SIGKILL");
  await container.exited;
  chmodSync("/run/hidden", 0o700);
  unmount(HIDDEN);
  w[Symbol.dispose]();
}

const config = {
  cniVersion: "1.0.0",
  name: "net",
  type: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  ipam: { type: "host-local", subnet: "192.168.122.0/24", rangeStart: "192.168.122.10" },
};

describe("the units", () => {
  const names = readdirSync(new URL("../../packaging/", import.meta.url)).filter((f) => f.endsWith(".service"));

  test.each(names)("%s: no new privileges, no more capabilities than it says, native system calls", (name) => {
    const settings = unit(name);
    expect(settings.get("NoNewPrivileges")).toEqual(["yes"]);
    expect(settings.has("CapabilityBoundingSet")).toBe(true);
    const berths =
      wordsOf(settings, "ExecStart").includes("/opt/cni/bin/berth") &&
      !wordsOf(settings, "ExecStart").includes("/bin/cat");
    if (!berths) return;
    expect(wordsOf(settings, "SystemCallFilter")[0]).toBe("@system-service");
    for (const key of ["SystemCallArchitectures", "RestrictAddressFamilies", "RestrictNamespaces", "LockPersonality"])
      expect([key, settings.has(key)]).toEqual([key, true]);
  });

  test("the one that makes named namespaces has no mounts of its own: what it makes must be there for others", () => {
    for (const key of [
      "ProtectSystem",
      "ProtectHome",
      "PrivateTmp",
      "PrivateDevices",
      "ReadOnlyPaths",
      "ProtectKernelTunables",
    ])
      expect([key, unit("berth-site.service").has(key)]).toEqual([key, false]);
  });

  test.skipIf(Bun.which("systemd-analyze") === null)("systemd understands all of it (needs systemd-analyze)", () => {
    const paths = names.map((name) => new URL(`../../packaging/${name}`, import.meta.url).pathname);
    const r = Bun.spawnSync(["systemd-analyze", "verify", ...paths], {
      stderr: "pipe",
      env: { PATH: "/usr/bin:/bin", SYSTEMD_LOG_LEVEL: "warning" },
    });
    const said = r.stderr
      .toString()
      .split("\n")
      .filter((line) => line.includes("packaging/") || /berth-\w+\.service:\d+/u.test(line));
    expect(said.filter((line) => !line.includes("is not executable"))).toEqual([]);
  });
});

describe.skipIf(!isPossible)("confinement itself (needs x86-64)", () => {
  const spec: Confinement = {
    capabilities: [],
    systemCalls: ["@system-service"],
    families: ["AF_UNIX"],
    writable: ["/run"],
  };

  test("the program runs; a netlink socket, a mount, a file elsewhere are refused", () => {
    expect(run(spec, ["version"])).toMatchObject({ code: 0, text: expect.stringMatching(/^berth \d/u) });
    expect(run(spec, ["ls"]).text).toContain("no attachments");
    expect(run({ ...spec, families: ["AF_UNIX", "AF_INET"] }, ["status", "--config", "/none"]).code).toBe(1);
    writeFileSync("/run/net.conf", JSON.stringify({ ...config, ipam: {} }));
    expect(run(spec, ["status", "--config", "/run/net.conf"])).toMatchObject({
      code: 1,
      text: expect.stringContaining("EAFNOSUPPORT"),
    });
    const elsewhere = run(spec, ["install", "--bin-dir", "/usr/berth-was-here"]);
    expect([elsewhere.code, /EROFS|read-only/u.test(elsewhere.text), existsSync("/usr/berth-was-here")]).toEqual([
      1,
      true,
      false,
    ]);
  });
});

/** What an attachment's service must do; which of it did not come about. */
async function notMended(spec: Confinement): Promise<string[]> {
  const wrong: string[] = [];
  const netns = { c: "/run/netns/c", pid: processNamespacePath(container.pid), hidden: HIDDEN };
  for (const [id, path] of Object.entries(netns)) {
    const added = await call("ADD", config, { CNI_CONTAINERID: id, CNI_NETNS: path });
    if (added.exitCode !== 0) throw new Error(added.text);
  }
  chmodSync("/run/hidden", 0);
  const ips = listRecords(() => {}).map((r) => r.allocation?.ips[0]?.address.replace(/\/.*/u, "") ?? "");
  const hasRoutes = (): boolean => {
    const text = w.ip(HOST, "route show dev berth-eth1");
    return ips.every((ip) => text.includes(`${ip} `));
  };
  const inContainer = (): string => w.run(["nsenter", `--net=${netns.pid}`, "ip", "-o", "address"]);
  {
    await using service = new Service(spec, ["repair", "--watch"]);
    await service.comesTo(() => service.text !== "", 1500);
    const mended = async (what: string, spoil: () => void, holds: () => boolean): Promise<void> => {
      if (!service.ended) spoil();
      if (!(await service.comesTo(holds, 4000))) wrong.push(what);
    };
    await mended(
      "the host's routes",
      () => w.ip(HOST, "link delete berth-eth1"),
      () => w.ipJson(HOST, "link show").some((l) => l["ifname"] === "berth-eth1") && hasRoutes(),
    );
    await mended(
      "a link in a named namespace",
      () => w.ip("c", "link delete eth0"),
      () => w.ip("c", "-o address").includes("eth0"),
    );
    await mended(
      "a link in a process's namespace",
      () => w.run(["nsenter", `--net=${netns.pid}`, "ip", "link", "delete", "eth0"]),
      () => inContainer().includes("eth0"),
    );
    await mended(
      "a link in a hidden namespace",
      () => w.ip("hidden", "link delete eth0"),
      () => w.ip("hidden", "-o address").includes("eth0"),
    );
    await service.comesTo(() => /EPERM|EACCES/u.test(service.text), 2500); // announcements come some time after
    if (service.ended) wrong.push(`it ended: ${service.text}`);
    else if (/EPERM|EACCES/u.test(service.text)) wrong.push(service.text); // what fails as it was spoilt just then is mended next
  }
  chmodSync("/run/hidden", 0o700);
  for (const [id, path] of Object.entries(netns)) await call("DEL", config, { CNI_CONTAINERID: id, CNI_NETNS: path });
  return wrong;
}

describe.skipIf(!isPossible)("berth-repair.service (needs x86-64)", () => {
  beforeEach(build);
  afterEach(demolish);

  const own = confinementOf("berth-repair.service");

  test("with exactly what the unit gives, everything is mended and announced", async () => {
    expect(await notMended(own)).toEqual([]);
  });

  test.each(own.capabilities.filter((c) => !forNodes.has(c)))("without %s something is not", async (capability) => {
    expect(await notMended(without(own, capability))).not.toEqual([]);
  });
});

describe.skipIf(!isPossible)("berth-site.service (needs x86-64)", () => {
  beforeEach(build);
  afterEach(demolish);

  /** Up, up again, down; what of it went wrong. */
  function lacking(spec: Confinement): string[] {
    writeFileSync(
      "/run/site.yaml",
      `networks:
  lan: {kind: macvlan, master: eth1, hostAccess: auto, conflictDetection: {probes: 1, waitMs: 50}, ipam: {type: host-local, subnet: 192.168.122.0/24, rangeStart: 192.168.122.10}}
attachments:
  - {network: lan, netns: made, create: true}
  - {network: lan, pid: ${container.pid}}
  - {network: lan, netns: ${HIDDEN}, id: hidden}
`,
    );
    chmodSync("/run/hidden", 0);
    const wrong: string[] = [];
    const up = run(spec, ["up", "/run/site.yaml"]);
    if (up.code !== 0 || !up.text.includes("3 attached")) wrong.push(up.text);
    else {
      // for everybody, not for the service alone
      if (!w.run(["ip", "netns", "exec", "made", "ip", "-o", "address"]).includes("eth0"))
        wrong.push("the namespace was not made");
      const again = run(spec, ["up", "/run/site.yaml"]);
      if (!again.text.includes("3 kept")) wrong.push(again.text);
    }
    const down = run(spec, ["down", "/run/site.yaml"]);
    if (down.code !== 0 || existsSync("/run/netns/made") || listRecords(() => {}).length > 0) wrong.push(down.text);
    chmodSync("/run/hidden", 0o700);
    run({ ...own }, ["down", "/run/site.yaml"]);
    return wrong;
  }

  const own = confinementOf("berth-site.service");

  test("with exactly what the unit gives, all is attached and detached, namespaces made and deleted for everybody", () => {
    expect(lacking(own)).toEqual([]);
  });

  test.each(own.capabilities.filter((c) => !forNodes.has(c)))("without %s something is not", (capability) => {
    expect(lacking(without(own, capability))).not.toEqual([]);
  });
});

describe.skipIf(!isPossible)("berth-docker.service (needs x86-64)", () => {
  const own = confinementOf("berth-docker.service");
  let host: PluginHost;
  beforeEach(() => {
    host = new PluginHost();
  });
  afterEach(() => host[Symbol.dispose]());

  /** A recorded life of a network with its containers; what of it went wrong. */
  async function lacking(spec: Confinement): Promise<string[]> {
    const wrong: string[] = [];
    await using service = new Service(spec, ["docker", "--socket", SOCKET]);
    if (!(await service.comesTo(() => existsSync(SOCKET)))) return [`it does not listen: ${service.text}`];
    const d = new Dockerd(host, SOCKET);
    const hostAccess = { host_access: "auto" };
    for (const message of recorded("life")) {
      const options = message.request["Options"];
      const generic = (options as Record<string, Record<string, string>> | undefined)?.["com.docker.network.generic"];
      if (message.call === "NetworkDriver.CreateNetwork" && generic !== undefined) Object.assign(generic, hostAccess);
      const answer = await d.replay(message);
      const error = errorOf(answer);
      if (error !== undefined) return [...wrong, error];
      if (message.call === "NetworkDriver.Join") {
        const arrived = await service.comesTo(() => listRecords(() => {}).every((r) => r.inTransit !== true));
        if (!arrived) return [...wrong, `it does not arrive: ${service.text}`];
      }
    }
    await service.comesTo(() => /berth:/u.test(service.text), 1500); // announcements
    if (service.text.includes("berth:")) wrong.push(service.text);
    return wrong;
  }

  test("with exactly what the unit gives, a network lives and ends", async () => {
    expect(await lacking(own)).toEqual([]);
    host.nothingIsLeft();
  });

  test.each(own.capabilities)("without %s something fails", async (capability) => {
    expect(await lacking(without(own, capability))).not.toEqual([]);
  });
});
