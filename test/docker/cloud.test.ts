// Docker's networks in an OpenStack VM, with a cloud in memory: the options of kuryr-libnetwork, ports by address, exposed
// ports, and that nothing of it stays, in the cloud as in the kernel.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { listRecords } from "../../src/attachment/record.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { byPassword, type Json as Row, send, User } from "../openstack/contract/users.ts";
import { DoubleCloud } from "../openstack/double/cloud.ts";
import { HOST, type Json, until } from "../world.ts";
import { type Answer, Dockerd, errorOf, textOf } from "./dockerd.ts";
import { PluginHost, SOCKET } from "./plugin.ts";

const KEY = "/run/docker/netns/c1";
const CIDR = "10.77.0.0/24";
const ids = { NetworkID: "a".repeat(64), EndpointID: "e".repeat(64) };

let w: PluginHost;
let d: Dockerd;
let cloud: DoubleCloud;
let demo: User;
let net: Row;
let subnet: Row;
let vm: Row;

beforeEach(async () => {
  using nl = new Netlink();
  nl.do(changeLink("lo", { up: true }));
  w = new PluginHost();
  cloud = await DoubleCloud.start({ maxAllowedAddressPair: 100 });
  demo = new User(
    cloud.authUrl,
    await send("POST", `${cloud.authUrl}/auth/tokens`, {}, byPassword("demo", "demo", "demo")),
  );
  net = await demo.make("network", { name: "private" });
  subnet = await demo.make("subnet", { name: "private-4", network_id: net.id, cidr: CIDR, ip_version: 4 });
  const mac = textOf(w.ipJson(HOST, "link show eth1")[0]?.["address"]);
  const fixed = [{ ip_address: "10.77.0.5" }];
  vm = await demo.make("port", {
    network_id: net.id,
    mac_address: mac,
    fixed_ips: fixed,
    device_owner: "compute:nova",
    device_id: "vm",
  });
  await demo.make("port", {
    network_id: net.id,
    fixed_ips: [{ ip_address: "10.77.0.10" }],
    device_owner: "compute:nova",
    device_id: "peer",
  });
  for (const state of ["/run/berth", "/var/lib/berth"]) rmSync(state, { recursive: true, force: true });
  process.env["OS_AUTH_URL"] = cloud.authUrl;
  for (const key of ["OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"]) process.env[key] = "demo";
  for (const key of ["OS_USER_DOMAIN_ID", "OS_PROJECT_DOMAIN_ID"]) process.env[key] = "default";
  await w.start();
  d = new Dockerd(w, SOCKET);
});
afterEach(async () => {
  await w.stop();
  for (const key of Object.keys(process.env)) if (key.startsWith("OS_")) delete process.env[key];
  await cloud[Symbol.asyncDispose]();
  w[Symbol.dispose]();
});

async function call(name: string, request: Readonly<Record<string, Json>>): Promise<Answer["body"]> {
  const answer = await d.call(name, request);
  expect({ name, error: errorOf(answer) }).toEqual({ name, error: undefined });
  return answer.body;
}

/** What Docker asks for a network of these options; the pool's id. */
async function createNetwork(
  options: Record<string, string>,
  ipam: Record<string, string> = {},
  Pool = "",
): Promise<string> {
  const pool = await call("IpamDriver.RequestPool", { Pool, Options: ipam });
  const PoolID = textOf(pool["PoolID"]);
  const Gateway = textOf((pool["Data"] as Record<string, Json>)["com.docker.network.gateway"]) || "10.77.0.1/24";
  if (Pool !== "") {
    const Options = { RequestAddressType: "com.docker.network.gateway" };
    await call("IpamDriver.RequestAddress", { PoolID, Address: "10.77.0.1", Options });
  }
  await call("NetworkDriver.CreateNetwork", {
    NetworkID: ids.NetworkID,
    Options: { "com.docker.network.generic": { parent: "eth1", ...options } },
    IPv4Data: [{ AddressSpace: "berth", Pool: pool["Pool"] ?? "", Gateway }],
  });
  return PoolID;
}

/** What Docker asks for a container; its address. */
async function run(
  PoolID: string,
  asked: { Address?: string; MacAddress?: string; exposed?: Json } = {},
): Promise<string> {
  const given = await call("IpamDriver.RequestAddress", { PoolID, Address: asked.Address ?? "" });
  const Address = textOf(given["Address"]);
  await call("NetworkDriver.CreateEndpoint", {
    ...ids,
    Interface: { Address, AddressIPv6: "", MacAddress: asked.MacAddress ?? "" },
    Options: { "com.docker.network.endpoint.exposedports": asked.exposed ?? [] },
  });
  await call("NetworkDriver.Join", { ...ids, SandboxKey: KEY });
  await until("the link is in its container", () => listRecords(() => {}).every((r) => r.inTransit !== true));
  return Address.replace(/\/.*/u, "");
}

async function remove(PoolID: string, Address: string): Promise<void> {
  await call("NetworkDriver.Leave", ids);
  await call("NetworkDriver.DeleteEndpoint", ids);
  await call("IpamDriver.ReleaseAddress", { PoolID, Address });
  d.end(KEY);
}

async function removeNetwork(PoolID: string): Promise<void> {
  await call("IpamDriver.ReleaseAddress", { PoolID, Address: "10.77.0.1" });
  await call("NetworkDriver.DeleteNetwork", { NetworkID: ids.NetworkID });
}

const portAt = async (ip: string): Promise<Row> => {
  const { body } = await demo.ask("GET", `/ports?network_id=${net.id}&fixed_ips=ip_address%3D${ip}`);
  return (body.ports as Row[])[0];
};
const pairs = async (): Promise<string[]> => {
  const { allowed_address_pairs: all } = await demo.port(vm.id);
  return (all as Row[]).map((p) => `${p.ip_address} ${p.mac_address}`);
};
async function groups(): Promise<Row[]> {
  const { body } = await demo.ask("GET", "/security-groups");
  return (body.security_groups as Row[]).filter((g) => g.name !== "default");
}

/** The VM's own port and the peer's: nothing else, no pair, no group; and nothing in the kernel. */
async function nothingIsLeft(others: readonly string[] = []): Promise<void> {
  const left = await demo.find(`network_id=${net.id}`, "device_id");
  expect(left).toEqual([...others, "peer", "vm"].toSorted());
  expect(await pairs()).toEqual([]);
  expect(await groups()).toEqual([]);
  w.nothingIsLeft();
}

test("no subnet and no IPAM option: the VM's own network; the port gives address and MAC, the pair lets its frames pass", async () => {
  const PoolID = await createNetwork({ "neutron.net.uuid": net.id, host_access: "auto" });
  const ip = await run(PoolID);
  const port = await portAt(ip);
  expect(port).toMatchObject({ device_owner: "berth:taken", name: expect.stringMatching(/^berth-reserved-/u) });
  expect(await pairs()).toEqual([`${ip} ${port?.mac_address}`]);
  const [link] = w.ipJson("c1", "address show dev eth0");
  expect(link).toMatchObject({ address: port?.mac_address, mtu: 1450 });
  for (const from of ["peer", HOST]) w.ping(from, ip);
  await remove(PoolID, ip);
  await removeNetwork(PoolID);
  await nothingIsLeft();
});

/** With the ids that are known when the cloud is there. */
function filled(given: Record<string, string>): Record<string, string> {
  const made = { SUBNET: String(subnet.id), NET: String(net.id) };
  return Object.fromEntries(
    Object.entries(given).map(([key, text]) => [key, text.replace("SUBNET", made.SUBNET).replace("NET", made.NET)]),
  );
}

describe.each([
  ["the network by name, the block by --subnet, as with kuryr", { "neutron.net.name": "private" }, {}, CIDR],
  ["the subnet by id", {}, { "neutron.subnet.uuid": "SUBNET" }, ""],
  ["the subnet by name", { "neutron.subnet.name": "private-4" }, { "neutron.subnet.name": "private-4" }, ""],
  ["the network, to both drivers", { "neutron.net.uuid": "NET" }, { "neutron.net.uuid": "NET" }, ""],
])("%s", (_, options: Record<string, string>, ipam: Record<string, string>, Pool) => {
  test("is used; what is not needed any more is given back", async () => {
    const PoolID = await createNetwork(filled(options), filled(ipam), Pool);
    const ip = await run(PoolID, { MacAddress: "02:00:5e:10:00:07" });
    expect(await portAt(ip)).toMatchObject({ mac_address: "02:00:5e:10:00:07", device_owner: "berth:taken" });
    w.ping("peer", ip);
    await remove(PoolID, ip);
    await removeNetwork(PoolID);
    await nothingIsLeft();
  });
});

test("--ip-range: addresses of that part of the subnet", async () => {
  const Options = { "neutron.net.uuid": net.id };
  const { body } = await d.send("IpamDriver.RequestPool", { Pool: CIDR, SubPool: "10.77.0.192/30", Options });
  const PoolID = textOf(body["PoolID"]);
  const all = await Promise.all([1, 2, 3].map(() => call("IpamDriver.RequestAddress", { PoolID, Address: "" })));
  const addresses = all.map((a) => textOf(a["Address"]).replace(/\/.*/u, ""));
  expect(new Set(addresses).size).toBe(3);
  for (const ip of addresses) expect(ip).toMatch(/^10\.77\.0\.19[2-5]$/u);
  for (const Address of addresses) await call("IpamDriver.ReleaseAddress", { PoolID, Address });
  await nothingIsLeft();
});

test("a subnet of a pool, by the pool's name", async () => {
  const pool = await demo.make("subnetpool", { name: "blocks", prefixes: ["10.78.0.0/24"], default_prefixlen: 24 });
  const other = await demo.make("network", { name: "other" });
  const made = { network_id: other.id, cidr: "10.78.0.0/24", ip_version: 4, subnetpool_id: pool.id };
  const { id } = await demo.make("subnet", made);
  const answer = await call("IpamDriver.RequestPool", { Pool: "", Options: { "neutron.pool.name": "blocks" } });
  expect(answer).toMatchObject({ Pool: "0.0.0.0/0", Data: { "com.docker.network.gateway": "10.78.0.1/24" } });
  expect(JSON.parse(textOf(answer["PoolID"]))).toMatchObject({
    pool: "10.78.0.0/24",
    cloud: { network: other.id, subnet: id },
  });
});

test("a port that somebody made for the address is used, with its MAC, and stays; one in use is refused", async () => {
  const own = await demo.make("port", { network_id: net.id, name: "mine", fixed_ips: [{ ip_address: "10.77.0.177" }] });
  const PoolID = await createNetwork({ "neutron.net.uuid": net.id });
  expect(await run(PoolID, { Address: "10.77.0.177" })).toBe("10.77.0.177");
  expect(w.ipJson("c1", "link show eth0")[0]).toMatchObject({ address: own.mac_address });
  expect(await demo.port(own.id)).toMatchObject({ name: "mine", device_owner: "berth:taken" });
  const peers = await d.send("IpamDriver.RequestAddress", { PoolID, Address: "10.77.0.10" });
  expect(errorOf(peers)).toMatch(/10\.77\.0\.10: the port .* of compute:nova peer has it/u);
  await remove(PoolID, "10.77.0.177");
  await removeNetwork(PoolID);
  expect(await demo.port(own.id)).toMatchObject({ name: "mine", device_owner: "", device_id: "" });
  await nothingIsLeft([""]);
});

test("exposed ports are rules of a group that the port has beside its own, for as long as the container lives", async () => {
  const PoolID = await createNetwork({ "neutron.net.uuid": net.id });
  const exposed = [80, 81, 443].map((Port) => ({ Proto: 6, Port })).concat({ Proto: 17, Port: 53 });
  const ip = await run(PoolID, { exposed });
  const [group] = await groups();
  const rules = ((group ?? {}).security_group_rules as Row[]).filter((r) => r.direction === "ingress");
  expect(rules.map((r) => [r.ethertype, r.protocol, r.port_range_min, r.port_range_max].join(" ")).toSorted()).toEqual([
    "IPv4 tcp 443 443",
    "IPv4 tcp 80 81",
    "IPv4 udp 53 53",
  ]);
  const port = await portAt(ip);
  expect(port?.security_groups).toHaveLength(2);
  expect(port?.security_groups).toContain(group?.id);
  await remove(PoolID, ip);
  await removeNetwork(PoolID);
  await nothingIsLeft();
});

test("a container ends while the plugin is away: its successor gives everything back", async () => {
  const PoolID = await createNetwork({ "neutron.net.uuid": net.id });
  const ip = await run(PoolID, { exposed: [{ Proto: 6, Port: 80 }] });
  await w.stop();
  d.end(KEY); // the container ends unheard
  await w.start();
  await until("what it had is given back", () => listRecords(() => {}).length === 0);
  expect(await portAt(ip)).toBeUndefined();
  await removeNetwork(PoolID);
  await nothingIsLeft();
});

test.each([
  ["a network that there is not", { "neutron.net.name": "nonsense" }, /find the network nonsense/u],
  [
    "another network than the subnet's",
    { "neutron.net.name": "other" },
    /find the subnet with network other, cidr 10\.77\.0\.0\/24/u,
  ],
])("%s is refused", async (_, options, message) => {
  await demo.make("network", { name: "other" });
  const pool = await call("IpamDriver.RequestPool", { Pool: CIDR });
  const answer = await d.send("NetworkDriver.CreateNetwork", {
    NetworkID: ids.NetworkID,
    Options: { "com.docker.network.generic": { parent: "eth1", ...options } },
    IPv4Data: [{ AddressSpace: "berth", Pool: pool["Pool"] ?? "", Gateway: "10.77.0.1/24" }],
  });
  expect(errorOf(answer)).toMatch(message);
  await nothingIsLeft();
});

test("twenty addresses at once are twenty ports", async () => {
  const PoolID = await createNetwork({ "neutron.net.uuid": net.id });
  const all = await Promise.all(
    Array.from({ length: 20 }, () => call("IpamDriver.RequestAddress", { PoolID, Address: "" })),
  );
  expect(new Set(all.map((a) => a["Address"])).size).toBe(20);
  for (const { Address } of all as { Address: string }[]) {
    await call("IpamDriver.ReleaseAddress", { PoolID, Address: Address.replace(/\/.*/u, "") });
  }
  await removeNetwork(PoolID);
  await nothingIsLeft();
});

function endpointOf(i: number): { NetworkID: string; EndpointID: string } {
  return { NetworkID: ids.NetworkID, EndpointID: `${i}`.padStart(64, "e") };
}

test("of several calls at once each has an id of its own towards the cloud, also where it waits for its turn", async () => {
  let asked = new Map<string, string[]>();
  const answer = cloud.neutron.answer.bind(cloud.neutron);
  cloud.neutron.answer = (question) => {
    const id = String(question.headers["x-openstack-request-id"]);
    asked.set(id, [...(asked.get(id) ?? []), `${question.method} ${question.path.replace(/[\da-f-]{36}/u, "ID")}`]);
    return answer(question);
  };
  /** What each of some calls asked, and that it was the same under as many ids. */
  const askedBy = async (calls: readonly (() => Promise<Answer>)[]): Promise<string[] | undefined> => {
    asked = new Map();
    for (const answered of await Promise.all(calls.map((c) => c()))) expect(errorOf(answered)).toBeUndefined();
    const lists = [...asked.values()];
    expect(lists).toEqual(calls.map(() => lists[0] ?? []));
    return lists[0];
  };
  const PoolID = await createNetwork({ "neutron.net.uuid": net.id });
  const ips = Array.from({ length: 10 }, (_, i) => `10.77.0.${100 + i}`);
  const addresses = ips.map((Address) => () => d.send("IpamDriver.RequestAddress", { PoolID, Address }));
  expect(await askedBy(addresses)).toContain("POST /v2.0/ports");
  for (const [i, ip] of ips.entries()) {
    const Interface = { Address: `${ip}/24`, AddressIPv6: "", MacAddress: "" };
    await call("NetworkDriver.CreateEndpoint", { ...endpointOf(i), Interface });
  }
  const joins = ips.map(
    (_, i) => () => d.send("NetworkDriver.Join", { ...endpointOf(i), SandboxKey: `/run/docker/netns/c${i}` }),
  );
  expect(await askedBy(joins)).toContain("PUT /v2.0/ports/ID");
  for (const [i, Address] of ips.entries()) {
    await call("NetworkDriver.DeleteEndpoint", endpointOf(i));
    await call("IpamDriver.ReleaseAddress", { PoolID, Address });
  }
  await removeNetwork(PoolID);
  await nothingIsLeft();
});

test("sixty containers at once: requests of one plugin, some of whom share a lock file, do not wait for ever", async () => {
  const PoolID = await createNetwork({ "neutron.net.uuid": net.id, host_access: "auto" });
  const endpoint = async (i: number): Promise<string> => {
    const own = { NetworkID: ids.NetworkID, EndpointID: `${i}`.padStart(64, "e") };
    const Address = textOf((await d.send("IpamDriver.RequestAddress", { PoolID, Address: "" })).body["Address"]);
    const Interface = { Address, AddressIPv6: "", MacAddress: "" };
    const created = await d.send("NetworkDriver.CreateEndpoint", { ...own, Interface });
    const joined = await d.send("NetworkDriver.Join", { ...own, SandboxKey: `/run/docker/netns/c${i}` });
    expect([errorOf(created), errorOf(joined)]).toEqual([undefined, undefined]);
    return Address.replace(/\/.*/u, "");
  };
  const all = await Promise.all(Array.from({ length: 60 }, (_, i) => endpoint(i)));
  expect((await pairs()).length).toBe(60);
  await Promise.all(
    all.map(async (Address, i) => {
      const own = { NetworkID: ids.NetworkID, EndpointID: `${i}`.padStart(64, "e") };
      expect(errorOf(await d.send("NetworkDriver.DeleteEndpoint", own))).toBeUndefined();
      expect(errorOf(await d.send("IpamDriver.ReleaseAddress", { PoolID, Address }))).toBeUndefined();
    }),
  );
  await removeNetwork(PoolID);
  await nothingIsLeft();
});
