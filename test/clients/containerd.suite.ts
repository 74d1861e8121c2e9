// containerd as Debian 12 ships it (1.6): `ctr run --cni`, and its CRI service as a kubelet uses it.
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { until } from "../world.ts";
import { Cri } from "./cri.ts";
import { ClientHost, kinds, reserved, run, start } from "./host.ts";
import { IMAGE, makeArchive } from "./image.ts";
import { installPlugins, type Network, writeNetwork } from "./networks.ts";
import { runPage } from "./page.ts";
import { keepCalls } from "./record.ts";

const SOCKET = "/run/containerd/containerd.sock";
/** What concerns this machine alone: no registry, no AppArmor, no right to set the OOM score. */
const machineConf = `version = 2
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`;

let w: ClientHost;
let daemon: Bun.Subprocess;
const cri = new Cri(SOCKET);
const ctr = (...args: string[]): string => run(["ctr", ...args]).trim();

beforeAll(async () => {
  installPlugins();
  // the CRI service calls it for every pod
  run(["cp", "/usr/lib/cni/loopback", "/usr/lib/cni/portmap", "/opt/cni/bin/"]);
  makeArchive("/run/image.tar");
  mkdirSync("/etc/containerd", { recursive: true });
  writeFileSync("/etc/containerd/config.toml", machineConf);
  w = new ClientHost();
  daemon = Bun.spawn(["containerd"], {
    stdio: ["ignore", Bun.file("/run/containerd.log"), Bun.file("/run/containerd.log")],
  });
  await until("containerd answers", () => Bun.spawnSync(["ctr", "version"]).exitCode === 0);
  for (const namespace of ["default", "k8s.io"]) ctr("-n", namespace, "images", "import", "/run/image.tar");
});
afterEach(() => {
  for (const file of readdirSync("/etc/cni/net.d")) rmSync(`/etc/cni/net.d/${file}`);
});
afterAll(async () => {
  daemon.kill();
  await daemon.exited;
  w[Symbol.dispose]();
});

/** The container's process, whose namespace its network is in. */
function pidOf(id: string): string {
  const line =
    ctr("task", "ls")
      .split("\n")
      .find((l) => l.startsWith(`${id} `)) ?? "";
  return line.split(/ +/u)[1] ?? "";
}

function addressesIn(netns: string): string[] {
  const said = run(["nsenter", `--net=${netns}`, "ip", "-o", "address", "show", "dev", "eth0", "scope", "global"]);
  return [...said.matchAll(/ inet6? (\S+)/gu)].map((m) => m[1] ?? "");
}

/** Ends a container of ctr's; ctr calls no DEL for one that it left running. */
function finish(id: string): void {
  ctr("task", "rm", "-f", id);
  ctr("containers", "rm", id);
}

describe.each(kinds)("ctr run --cni, %s", (kind) => {
  test("in the foreground: DEL comes when its process has gone, with an empty CNI_NETNS", () => {
    writeNetwork({ name: "lan", kind });
    const script =
      "for i in 1 2 3 4 5; do ping -c 1 -W 1 192.168.122.22 && ping -c 1 -W 1 192.168.10.22 && exit; done; exit 1";
    ctr("run", "--rm", "--cni", "--cgroup", "/ctr/a", IMAGE, "a", "sh", "-c", script);
    w.nothingIsLeft();
    keepCalls("containerd-ctr", kind);
  });

  test("in the background: everything holds; nobody calls DEL, and berth gc takes it back", async () => {
    writeNetwork({ name: "lan", kind });
    ctr("run", "-d", "--cni", "--cgroup", "/ctr/b", IMAGE, "b");
    const netns = `/proc/${pidOf("b")}/ns/net`;
    const exec = (script: string): string =>
      ctr("task", "exec", "--exec-id", Bun.randomUUIDv7(), "b", "sh", "-c", script);
    w.prove({ netns, kind, addresses: addressesIn(netns), inside: exec });
    finish("b");
    await until("the namespace is gone", () => run(["berth", "gc", "--json"]) !== "" && reserved().length === 0);
    w.nothingIsLeft();
    keepCalls("containerd-ctr-detached", kind);
  });

  test("ten at the same time", async () => {
    writeNetwork({ name: "lan", kind, ipv4Only: true });
    const ids = Array.from({ length: 10 }, (_, i) => `c${i}`);
    const script = "ping -c 1 -W 3 192.168.122.22 && ping -c 1 -W 3 192.168.10.22";
    const all = await Promise.all(
      ids.map((id) => start(["ctr", "run", "--rm", "--cni", "--cgroup", `/ctr/${id}`, IMAGE, id, "sh", "-c", script])),
    );
    expect(all.filter((r) => r.code !== 0).map((r) => r.err)).toEqual([]);
    w.nothingIsLeft();
  });
});

describe.each(kinds)("CRI, %s", (kind) => {
  /** Writes the network, and waits until containerd has read it: it watches the directory. */
  async function network(varied: Omit<Network, "name" | "kind">): Promise<void> {
    const text = readFileSync(writeNetwork({ name: "lan", kind, ...varied }), "utf8");
    for (const end = performance.now() + 10_000; !(await cri.networks()).includes(text);) {
      if (performance.now() > end) throw new Error(`containerd has not read ${text}`);
      await Bun.sleep(20);
    }
  }

  /** The addresses that it reports are those in the namespace, and everything holds. */
  async function prove(name: string, hostPort?: number): Promise<{ readonly id: string; readonly netns: string }> {
    const { id, ips } = await cri.run(name, hostPort);
    const netns = await cri.netns(id);
    const addresses = addressesIn(netns);
    expect(addresses.map((a) => a.replace(/\/.*/u, ""))).toEqual([...ips]);
    const pid = sandboxPid(id);
    const inside = (script: string): string =>
      run(["nsenter", `--target=${pid}`, "--net", "--mount", "--root", "/bin/sh", "-c", script]);
    w.prove({ netns, kind, addresses, inside });
    return { id, netns };
  }

  test("run, stop twice, remove", async () => {
    await network({});
    const { id } = await prove("pod1");
    await cri.stop(id);
    await cri.stop(id);
    await cri.remove(id);
    w.nothingIsLeft();
    keepCalls("containerd-cri", kind);
  });

  test("chained with portmap: the odd capitals of its port mappings are no wish of Berth's", async () => {
    const portmap = { type: "portmap", capabilities: { portMappings: true } };
    await network({
      ipv4Only: true,
      chained: [portmap],
      plugin: {
        capabilities: { portMappings: true, dns: true, ipRanges: true, "io.kubernetes.cri.pod-annotations": true },
      },
    });
    const { id } = await prove("pod2", 8080);
    w.mapped(8080);
    await cri.stop(id);
    await cri.remove(id);
    w.nothingIsLeft();
    keepCalls("containerd-cri-portmap", kind);
  });

  test("a namespace that vanished before the stop, as after a reboot", async () => {
    await network({});
    const { id, netns } = await prove("pod3");
    run(["umount", netns]);
    rmSync(netns);
    await cri.stop(id);
    await cri.remove(id);
    w.nothingIsLeft();
    keepCalls("containerd-cri-netns-gone", kind);
  });

  test("no address is left: the pod fails with Berth's words, and nothing stays of it", async () => {
    await network({ range: { rangeStart: "192.168.122.200", rangeEnd: "192.168.122.200" } });
    const { id } = await prove("pod4");
    const failure = await cri.run("pod5").then(() => "", String);
    expect(failure).toContain("192.168.122.200");
    await cri.stop(id);
    await cri.remove(id);
    w.nothingIsLeft();
    keepCalls("containerd-cri-no-address", kind);
  });

  test("ten pods at the same time", async () => {
    await network({ ipv4Only: true });
    const pods = await Promise.all(Array.from({ length: 10 }, async (_, i) => await cri.run(`many${i}`)));
    for (const pod of pods) w.answers(pod.ips[0] ?? "");
    for (const pod of pods) {
      await cri.stop(pod.id);
      await cri.remove(pod.id);
    }
    w.nothingIsLeft();
  });
});

/** The first process of a pod sandbox. */
function sandboxPid(id: string): string {
  const line =
    ctr("-n", "k8s.io", "task", "ls")
      .split("\n")
      .find((l) => l.startsWith(id)) ?? "";
  return line.split(/ +/u)[1] ?? "";
}

test("the page's commands, from nothing to a ping and back", () => {
  runPage("containerd");
  w.nothingIsLeft();
});
