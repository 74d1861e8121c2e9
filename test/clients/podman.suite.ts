// Podman with its CNI backend, as Debian 12 ships it (4.3).
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { ClientHost, type Kind, kinds, reserved, run, start } from "./host.ts";
import { IMAGE, makeArchive } from "./image.ts";
import { installPlugins, writeNetwork } from "./networks.ts";
import { HOST_NAMESERVER, resourceLimits } from "./machine.ts";
import { runPage } from "./page.ts";
import { keepCalls } from "./record.ts";

/** What concerns this machine alone; what concerns Berth is on the page. */
const machineConf = `[containers]
default_ulimits = [${resourceLimits()}]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
`;
/** A plugin that refuses every ADD, for what a failure late in a chain leaves behind. */
const REFUSE = `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}';;
ADD) echo '{"cniVersion":"1.0.0","code":111,"msg":"not today"}'; exit 1;;
esac
`;

/** For ping: Podman gives containers no raw sockets, and busybox knows no other way. */
const CREATE = ["run", "-d", "--cap-add", "NET_RAW"];
const root = new URL("../..", import.meta.url).pathname;

let w: ClientHost;
const podman = (...args: string[]): string => run(["podman", ...args]).trim();

beforeAll(() => {
  installPlugins();
  writeFileSync("/opt/cni/bin/refuse", REFUSE);
  chmodSync("/opt/cni/bin/refuse", 0o755);
  mkdirSync("/etc/containers/containers.conf.d", { recursive: true });
  writeFileSync("/etc/containers/containers.conf.d/machine.conf", machineConf);
  run(["cp", `${root}packaging/podman-cni.conf`, "/etc/containers/containers.conf.d/"]);
  makeArchive("/run/image.tar");
  podman("load", "-q", "-i", "/run/image.tar");
  w = new ClientHost();
});
afterEach(() => {
  podman("rm", "-fa", "-t", "0");
});
afterAll(() => w[Symbol.dispose]());

interface Attached {
  readonly IPAddress: string;
  readonly IPPrefixLen: number;
  readonly GlobalIPv6Address: string;
  readonly GlobalIPv6PrefixLen: number;
  readonly MacAddress: string;
}

/** What Podman says of a container on a network. */
function attached(name: string, network = "lan"): Attached {
  const [c] = JSON.parse(podman("inspect", name)) as { NetworkSettings: { Networks: Record<string, Attached> } }[];
  const found = c?.NetworkSettings.Networks[network];
  if (found === undefined) throw new Error(`podman inspect ${name}: it is not on ${network}`);
  return found;
}

function addressesOf(name: string): string[] {
  const a = attached(name);
  const four = `${a.IPAddress}/${a.IPPrefixLen}`;
  return a.GlobalIPv6Address === "" ? [four] : [four, `${a.GlobalIPv6Address}/${a.GlobalIPv6PrefixLen}`];
}

function prove(name: string, kind: Kind, nameservers = ["192.168.122.1", HOST_NAMESERVER]): void {
  const netns = podman("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", name);
  w.prove({
    netns,
    kind,
    addresses: addressesOf(name),
    mac: attached(name).MacAddress,
    nameservers,
    inside: (script) => podman("exec", name, "sh", "-c", script),
  });
}

describe.each(kinds)("%s", (kind) => {
  test("run, stop, start, restart, rm", () => {
    writeNetwork({ name: "lan", kind });
    podman(...CREATE, "--name", "web", "--network", "lan", IMAGE);
    prove("web", kind);
    podman("stop", "-t", "0", "web");
    w.nothingIsLeft();
    podman("start", "web");
    prove("web", kind);
    podman("restart", "-t", "0", "web");
    prove("web", kind);
    podman("rm", "-f", "-t", "0", "web");
    w.nothingIsLeft();
    keepCalls("podman-run", kind);
  });

  test("--ip and --mac-address, which come in CNI_ARGS", () => {
    writeNetwork({ name: "lan", kind });
    const asked = ["--ip", "192.168.122.177", "--mac-address", "02:00:5e:10:00:07"];
    podman(...CREATE, "--name", "web", "--network", "lan", ...asked, IMAGE);
    expect(addressesOf("web")[0]).toBe("192.168.122.177/24");
    expect(attached("web").MacAddress).toBe("02:00:5e:10:00:07");
    prove("web", kind);
    podman("rm", "-f", "-t", "0", "web");
    w.nothingIsLeft();
    keepCalls("podman-asked", kind);
  });

  test("two networks; disconnect, connect and restart", () => {
    writeNetwork({ name: "lan", kind, ipv4Only: true });
    const range = { rangeStart: "192.168.122.200", rangeEnd: "192.168.122.210" };
    // without nameservers: Podman takes a disconnected network's out of resolv.conf even if another network has them too
    writeNetwork({ name: "second", kind, range, plugin: { dns: {} } });
    // without names Podman numbers the interfaces in any order
    const networks = ["--network", "lan:interface_name=eth0", "--network", "second:interface_name=eth1"];
    podman(...CREATE, "--name", "web", ...networks, IMAGE);
    const both = (): void => {
      prove("web", kind);
      w.answers(attached("web", "second").IPAddress);
    };
    both();
    podman("network", "disconnect", "second", "web");
    expect(reserved().length).toBe(1);
    prove("web", kind);
    podman("network", "connect", "second", "web");
    both();
    podman("restart", "-t", "0", "web");
    both();
    podman("network", "disconnect", "lan", "web");
    w.answers(attached("web", "second").IPAddress);
    podman("rm", "-f", "-t", "0", "web");
    w.nothingIsLeft();
    keepCalls("podman-two-networks", kind);
  });

  test("an address that is taken, or of another subnet: the words are shown, nothing is left", async () => {
    writeNetwork({ name: "lan", kind, ipv4Only: true });
    podman(...CREATE, "--name", "web", "--network", "lan", "--ip", "192.168.122.177", IMAGE);
    const refused = async (ip: string): Promise<string> => {
      const r = await start(["podman", "run", "--name", "other", "--network", "lan", "--ip", ip, IMAGE]);
      expect(r.code).not.toBe(0);
      podman("rm", "-f", "-t", "0", "other");
      return r.err;
    };
    expect(await refused("192.168.122.177")).toContain("192.168.122.177");
    expect(await refused("10.9.9.9")).toMatch(/10\.9\.9\.9/u);
    prove("web", kind);
    podman("rm", "-f", "-t", "0", "web");
    w.nothingIsLeft();
    keepCalls("podman-refused", kind);
  });

  test("a plugin after Berth in the chain refuses: nothing is left", async () => {
    writeNetwork({ name: "lan", kind, cniVersion: "1.0.0", chained: [{ type: "refuse" }] });
    const r = await start(["podman", "run", "--name", "web", "--network", "lan", IMAGE]);
    expect(r.code).not.toBe(0);
    expect(r.err).toContain("not today");
    w.nothingIsLeft();
    keepCalls("podman-chain-fails", kind);
  });

  test("twenty at the same time", async () => {
    writeNetwork({ name: "lan", kind, ipv4Only: true });
    const names = Array.from({ length: 20 }, (_, i) => `web${i}`);
    const all = await Promise.all(
      names.map((n) => start(["podman", ...CREATE, "--name", n, "--network", "lan", IMAGE])),
    );
    expect(all.filter((r) => r.code !== 0).map((r) => r.err)).toEqual([]);
    const addresses = names.map((n) => attached(n).IPAddress);
    expect(new Set(addresses).size).toBe(20);
    for (const address of addresses) w.answers(address);
    await Promise.all(names.map((n) => start(["podman", "rm", "-f", "-t", "0", n])));
    w.nothingIsLeft();
  });
});

test("Podman and the command on one network: no address twice, one list, each takes back its own", () => {
  writeNetwork({ name: "lan", kind: "macvlan", ipv4Only: true });
  w.namespace("c");
  podman(...CREATE, "--name", "web", "--network", "lan", IMAGE);
  run(["berth", "attach", "--network", "lan", "--netns", "c"]);
  expect(reserved().toSorted()).toEqual(["192.168.122.128", "192.168.122.129"]);
  w.answers("192.168.122.129");
  const listed = JSON.parse(run(["berth", "ls", "--json"])) as unknown[];
  expect(listed.length).toBe(2);
  run(["berth", "detach", "--network", "lan", "--netns", "c"]);
  expect(reserved()).toEqual(["192.168.122.128"]);
  prove("web", "macvlan");
  podman("rm", "-f", "-t", "0", "web");
  w.removeNamespace("c");
  w.nothingIsLeft();
});

test("a network that Podman itself creates has no host access, until it is added to the file", () => {
  podman("network", "create", "-d", "macvlan", "-o", "parent=eth1", "--subnet", "192.168.122.0/24", "made");
  const peerHears = (): void => {
    podman(...CREATE, "--name", "web", "--network", "made", "--ip", "192.168.122.177", IMAGE);
    w.run("peer", ["busybox", "ping", "-c", "1", "-W", "3", "192.168.122.177"]);
  };
  peerHears();
  expect(() => w.answers("192.168.122.177")).toThrow();
  podman("rm", "-f", "-t", "0", "web");
  const file = "/etc/cni/net.d/made.conflist";
  const list = JSON.parse(readFileSync(file, "utf8")) as { plugins: Record<string, unknown>[] };
  const [first, ...others] = list.plugins;
  writeFileSync(file, JSON.stringify({ ...list, plugins: [{ ...first, hostrouteif: "auto" }, ...others] }));
  peerHears();
  w.answers("192.168.122.177");
  podman("rm", "-f", "-t", "0", "web");
  podman("network", "rm", "made");
  w.nothingIsLeft();
});

test("the page's commands, from nothing to a ping and back", () => {
  runPage("podman");
  w.nothingIsLeft();
});
