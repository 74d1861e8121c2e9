// Docker in a virtual machine of a real OpenStack cloud (Keystone and Neutron of Debian 12, test/openstack/real): containers
// have ports of their own, and the hypervisor lets their frames pass.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { changeLink } from "../../src/kernel/links.ts";
import { namedNamespacePath } from "../../src/kernel/namespaces.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { realCloud } from "../openstack/real/cloud.ts";
import { answers, credentials, type PortJson, Site, type Vm } from "../openstack/real/site.ts";
import { Docker } from "./dockerd.ts";
import { kinds, run, start } from "./host.ts";
import { IMAGE } from "./image.ts";

const OTHER_VM = "192.168.0.4";
const OWN_VM = "192.168.0.5";

interface Group {
  readonly id: string;
  readonly name: string;
  readonly security_group_rules: readonly Record<string, unknown>[];
}

let site: Site;
let vm: Vm;
let docker: Docker;
beforeAll(async () => {
  using nl = new Netlink();
  nl.do(changeLink("lo", { up: true }));
  site = await Site.make(await realCloud());
  await site.vm("vm1", OTHER_VM);
  vm = await site.vm("vm2", OWN_VM);
  docker = await Docker.launch({ netns: namedNamespacePath("vm2"), env: credentials() });
}, 400_000);
afterAll(async () => await docker[Symbol.asyncDispose]());

/** The port that has an address; undefined where none has. */
async function portAt(ip: string): Promise<(PortJson & { readonly security_groups: readonly string[] }) | undefined> {
  return (await site.ports(`&fixed_ips=ip_address%3D${ip}`))[0] as Awaited<ReturnType<typeof portAt>>;
}

/** Security groups beside those that every project has. */
async function groups(): Promise<readonly Group[]> {
  const all = await site.demo.must<Group[]>("GET", "/security-groups");
  return all.filter((g) => g.name !== "default");
}

function addressOf(name: string): { readonly ip: string; readonly mac: string } {
  const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.MacAddress}}{{end}}";
  const [ip = "", mac = ""] = docker.run("inspect", "-f", format, name).split(" ");
  return { ip, mac };
}

const inside = (name: string, script: string): string => docker.run("exec", name, "sh", "-c", script);

/** A container reaches another VM and the outside, and is reached by that VM and its own. */
async function prove(name: string): Promise<void> {
  const { ip, mac } = addressOf(name);
  expect(await portAt(ip)).toMatchObject({ mac_address: mac, device_owner: "berth:taken" });
  expect(await vm.pairs()).toContain(`${ip} ${mac}`);
  expect(inside(name, "ip link show dev eth0")).toContain(`link/ether ${mac} `);
  expect(inside(name, "ip link show dev eth0")).toContain("mtu 1450 ");
  // the cloud takes its time to let an address pass
  expect(await answers("vm1", ip, 30)).toBe(true);
  expect(await answers("vm2", ip)).toBe(true);
  for (const other of [OTHER_VM, OWN_VM, site.outside]) inside(name, `ping -c 1 -W 5 ${other}`);
  const asked = await start([
    "nsenter",
    `--net=${namedNamespacePath("vm1")}`,
    "busybox",
    "wget",
    "-q",
    "-O",
    "-",
    `http://${ip}/cgi-bin/who`,
  ]);
  expect(asked.out).toContain(OTHER_VM);
}

/** What the cloud had before: the ports of the VMs and of the router, no pair, no group. */
async function nothingIsLeft(others: readonly string[] = []): Promise<void> {
  docker.clear();
  const left = (await site.ports()).filter((p) => !p.device_owner.startsWith("network:"));
  expect(left.map((p) => p.fixed_ips[0]?.ip_address ?? "").toSorted()).toEqual(
    [OTHER_VM, OWN_VM, ...others].toSorted(),
  );
  expect(await vm.pairs()).toEqual([]);
  expect(await groups()).toEqual([]);
  expect(run(["berth", "ls", "--json"]).trim()).toBe("[]");
  const links = run(["ip", "-n", "vm2", "-o", "link", "show"]).trim().split("\n");
  expect(links.map((l) => (l.split(": ")[1] ?? "").replace(/@.*/u, "")).toSorted()).toEqual(["eth0", "lo"]);
}

function createNetwork(...options: readonly string[]): void {
  docker.run("network", "create", "-d", "berth", "--ipam-driver", "berth", ...options, "cloudnet");
}

describe.each(kinds)("%s", (kind) => {
  test("a container on the VM's network reaches another VM, and is reached; restart; nothing stays", async () => {
    createNetwork("-o", `neutron.net.uuid=${site.networkId}`, "-o", `kind=${kind}`, "-o", "host_access=auto");
    docker.container("web", "--network", "cloudnet", "--expose", "80", "--expose", "8080-8081/udp");
    await prove("web");
    const [group] = await groups();
    const ranges = group?.security_group_rules.filter((r) => r["direction"] === "ingress") ?? [];
    expect(ranges.map((r) => [r["protocol"], r["port_range_min"], r["port_range_max"]].join(" ")).toSorted()).toEqual([
      "tcp 80 80",
      "udp 8080 8081",
    ]);
    expect((await portAt(addressOf("web").ip))?.security_groups).toContain(group?.id ?? "?");
    docker.run("restart", "-t", "0", "web");
    await prove("web");
    docker.run("rm", "-f", "web");
    await nothingIsLeft();
  }, 200_000);
});

test("kuryr's way: the network by name and its block; an existing port by its address, which stays; a MAC that is asked for", async () => {
  const wish = { network_id: site.networkId, name: "mine", fixed_ips: [{ ip_address: "192.168.0.177" }] };
  const own = await site.demo.must<PortJson>("POST", "/ports", { port: wish });
  const named = ["-o", "neutron.net.name=private", "-o", "host_access=auto"];
  createNetwork("--subnet", "192.168.0.0/24", "--gateway", "192.168.0.1", ...named);
  docker.container("web", "--network", "cloudnet", "--ip", "192.168.0.177");
  expect(addressOf("web")).toEqual({ ip: "192.168.0.177", mac: own.mac_address });
  await prove("web");
  docker.container("other", "--network", "cloudnet", "--mac-address", "02:00:5e:10:00:07");
  expect(addressOf("other").mac).toBe("02:00:5e:10:00:07");
  await prove("other");
  const taken = await docker.start("run", "--name", "taken", "--network", "cloudnet", "--ip", OTHER_VM, IMAGE);
  expect(taken.code).not.toBe(0);
  expect(taken.err).toContain(OTHER_VM);
  docker.run("rm", "-f", "taken", "web", "other");
  await nothingIsLeft(["192.168.0.177"]);
  expect(await site.port(own.id)).toMatchObject({ name: "mine", device_owner: "", device_id: "" });
  await site.demo.must("DELETE", `/ports/${own.id}`);
}, 200_000);

test("five at the same time", async () => {
  createNetwork("-o", `neutron.net.uuid=${site.networkId}`);
  const names = Array.from({ length: 5 }, (_, i) => `web${i}`);
  const all = await Promise.all(
    names.map((n) => docker.start("run", "-d", "--name", n, "--network", "cloudnet", IMAGE)),
  );
  expect(all.filter((r) => r.code !== 0).map((r) => r.err)).toEqual([]);
  for (const name of names) expect(await answers("vm1", addressOf(name).ip, 30)).toBe(true);
  await Promise.all(names.map((n) => docker.start("rm", "-f", n)));
  await nothingIsLeft();
}, 200_000);
