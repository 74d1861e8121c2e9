// Docker as Debian 12 ships it (20.10), with Berth as network and IPAM plugin.
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { HOST } from "../world.ts";
import { DockerHost, BOTH, FOUR, OFFICE, PEER, PRINTER } from "./docker-host.ts";
import { kinds, reserved, run, start } from "./host.ts";
import { IMAGE } from "./image.ts";
import { installPlugins, writeNetwork } from "./networks.ts";
import { runPage } from "./page.ts";

let h: DockerHost;
beforeAll(async () => {
  h = await DockerHost.launch();
});
afterEach(async () => {
  await h.docker.recover();
});
afterAll(async () => {
  await h[Symbol.asyncDispose]();
});

describe.each(kinds)("%s", (kind) => {
  test("run, stop, start, restart, rm; both families", () => {
    h.createNetwork("lan", kind, ...BOTH);
    h.docker.container("web", "--network", "lan");
    h.prove("web", kind);
    h.docker.run("stop", "-t", "0", "web");
    h.docker.run("start", "web");
    h.prove("web", kind);
    h.docker.run("restart", "-t", "0", "web");
    h.prove("web", kind);
    h.docker.run("rm", "-f", "web");
    expect(reserved().toSorted()).toEqual(["192.168.122.1", "fd22::1"]); // the gateways, as long as the network is
    h.nothingIsLeft();
  });

  test("--ip, --mac-address, an MTU; what is taken, set aside or elsewhere is refused with the reason", async () => {
    h.createNetwork("lan", kind, ...FOUR, "--aux-address", "printer=192.168.122.128", "-o", "mtu=1400");
    const MAC = "02:00:5e:10:00:07";
    h.docker.container("first", "--network", "lan");
    expect(h.attached("first").IPAddress).toBe("192.168.122.129"); // of the range, without what is set aside
    h.docker.container("web", "--network", "lan", "--ip", "192.168.122.177", "--mac-address", MAC);
    expect(h.attached("web")).toMatchObject({ IPAddress: "192.168.122.177", MacAddress: MAC });
    h.prove("web", kind, 1400);
    expect(await h.refused("--network", "lan", "--ip", "192.168.122.177")).toContain("192.168.122.177");
    expect(await h.refused("--network", "lan", "--ip", "192.168.122.128")).toContain("192.168.122.128");
    expect(await h.refused("--network", "lan", "--ip", "192.168.122.1")).toContain("192.168.122.1");
    expect(await h.refused("--network", "lan", "--ip", "10.9.9.9")).toContain("10.9.9.9");
    h.prove("web", kind, 1400);
    h.nothingIsLeft();
  });

  test("two networks, of one of which the host has an address itself; disconnect, connect, restart", () => {
    h.createNetwork("lan", kind, ...FOUR);
    h.createNetwork("office", kind, ...OFFICE);
    h.docker.run("create", "--name", "web", "--network", "lan", IMAGE);
    h.docker.run("network", "connect", "office", "web");
    h.docker.run("start", "web");
    const both = (): void => {
      h.w.answers(h.attached("web").IPAddress);
      h.w.answers(h.attached("web", "office").IPAddress, [HOST, "desk"]);
      run(["berth", "check"]);
    };
    both();
    h.docker.run("network", "disconnect", "office", "web");
    h.prove("web", kind);
    h.docker.run("network", "connect", "--ip", "192.168.10.140", "office", "web");
    expect(h.attached("web", "office").IPAddress).toBe("192.168.10.140");
    both();
    h.docker.run("restart", "-t", "0", "web");
    both();
    h.docker.run("network", "disconnect", "lan", "web");
    h.w.answers("192.168.10.140", [HOST, "desk"]);
    h.docker.run("network", "connect", "lan", "web");
    both();
    h.nothingIsLeft();
  });

  test("--internal: LAN and host, and no way beyond", () => {
    h.createNetwork("lan", kind, ...FOUR, "--internal");
    h.docker.container("web", "--network", "lan");
    expect(h.inside("web", "ip route")).not.toContain("default");
    const { IPAddress } = h.attached("web");
    for (const from of [HOST, "peer"]) h.w.run(from, ["busybox", "ping", "-c", "1", "-W", "3", IPAddress]);
    h.inside("web", `ping -c 1 -W 3 ${PEER} && ping -c 1 -W 3 192.168.10.22`);
    expect(() => h.inside("web", "ping -c 1 -W 1 192.168.10.30")).toThrow();
    h.nothingIsLeft();
  });

  test("twenty at the same time", async () => {
    h.createNetwork("lan", kind, ...FOUR);
    const names = Array.from({ length: 20 }, (_, i) => `web${i}`);
    const all = await Promise.all(
      names.map((n) => h.docker.start("run", "-d", "--name", n, "--network", "lan", IMAGE)),
    );
    expect(all.filter((r) => r.code !== 0).map((r) => r.err)).toEqual([]);
    const addresses = names.map((n) => h.attached(n).IPAddress);
    expect(new Set(addresses).size).toBe(20);
    for (const address of addresses) h.w.answers(address);
    run(["berth", "check"]);
    await Promise.all(names.map((n) => h.docker.start("rm", "-f", n)));
    expect(reserved()).toEqual(["192.168.122.1"]);
    h.nothingIsLeft();
  });
});

test("names: of the LAN's DNS server, and of other containers, by Docker's resolver", () => {
  h.createNetwork("lan", "macvlan", ...FOUR);
  h.docker.container("web", "--network", "lan", "--dns", PEER);
  h.docker.container("other", "--network", "lan", "--dns", PEER);
  expect(h.inside("web", `nslookup -type=a ${PRINTER} 2>&1 || true`)).toContain(PEER);
  expect(h.inside("web", "nslookup -type=a other 2>&1 || true")).toContain(h.attached("other").IPAddress);
  h.nothingIsLeft();
});

test("Docker, CNI and the command on one network: no address twice, one list, each takes back its own", async () => {
  installPlugins();
  writeNetwork({ name: "tasks", kind: "macvlan", ipv4Only: true });
  h.createNetwork("lan", "macvlan", ...FOUR, "--ipam-opt", "network=tasks");
  const names = Array.from({ length: 8 }, (_, i) => `web${i}`);
  for (const name of names) h.w.namespace(name);
  const all = await Promise.all(
    names.flatMap((name) => [
      h.docker.start("run", "-d", "--name", name, "--network", "lan", IMAGE),
      start(["berth", "attach", "--network", "tasks", "--netns", name]),
    ]),
  );
  expect(all.filter((r) => r.code !== 0).map((r) => r.err)).toEqual([]);
  const attachments = JSON.parse(run(["berth", "ls", "--json"])) as { readonly addresses: readonly string[] }[];
  const addresses = attachments.flatMap((a) => a.addresses);
  expect(new Set(addresses).size).toBe(16);
  expect(reserved().length).toBe(17); // with the gateway
  for (const address of addresses) h.w.answers(address);
  await Promise.all(
    names.flatMap((name) => [
      h.docker.start("rm", "-f", name),
      start(["berth", "detach", "--network", "tasks", "--netns", name]),
    ]),
  );
  expect(reserved()).toEqual(["192.168.122.1"]);
  for (const name of names) h.w.removeNamespace(name);
  h.nothingIsLeft();
});

test("the page's commands, from nothing to a ping and back", () => {
  runPage("docker");
  h.nothingIsLeft();
});
