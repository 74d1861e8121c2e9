import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { Allocation, Seat } from "../../src/ipam/provider.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import type { Credentials } from "../../src/openstack/credentials.ts";
import { Neutron } from "../../src/openstack/neutron.ts";
import { Session } from "../../src/openstack/session.ts";
import { Failure } from "../../src/report/failure.ts";
import { byPassword, type Json, send, User } from "./contract/users.ts";
import { DoubleCloud } from "./double/cloud.ts";

let cloud: DoubleCloud;
let demo: User;
let networkId: string;
let vm: Json;
beforeEach(async () => {
  using nl = new Netlink();
  nl.do(changeLink("lo", { up: true }));
  for (const state of ["/run/berth", "/var/lib/berth"]) rmSync(state, { recursive: true, force: true });
  cloud = await DoubleCloud.start();
  demo = await login("demo");
  networkId = await network(demo);
  vm = await demo.make("port", { network_id: networkId, device_id: "vm", device_owner: "compute:nova" });
});
afterEach(async () => await cloud[Symbol.asyncDispose]());

async function login(name: string): Promise<User> {
  return new User(cloud.authUrl, await send("POST", `${cloud.authUrl}/auth/tokens`, {}, byPassword(name, name, name)));
}

async function network(owner: User): Promise<string> {
  const { id } = await owner.make("network", { name: "private" });
  await owner.make("subnet", { network_id: id, cidr: "192.168.0.0/24", ip_version: 4 });
  return id;
}

function provider(): Neutron {
  const domain = { id: "default" };
  const credentials: Credentials = {
    source: "a test",
    authUrl: cloud.authUrl,
    proof: { method: "password", user: { name: "demo", domain }, password: "demo" },
    project: { name: "demo", domain },
    interface: "public",
    verify: true,
  };
  return new Neutron({ type: "neutron", vmPort: vm.id }, new Session(credentials));
}

function holder(containerId: string): { network: string; containerId: string; ifName: string } {
  return { network: "lan", containerId, ifName: "eth0" };
}

async function attach(containerId: string, kind: Seat["kind"] = "macvlan"): Promise<Allocation> {
  const neutron = provider();
  const allocation = await neutron.allocate(holder(containerId), [], {
    kind,
    parentMac: vm.mac_address,
    mac: undefined,
  });
  if (allocation.port?.admission !== undefined) await neutron.admit(allocation.port.admission);
  return allocation;
}

async function detach(containerId: string, { port }: Allocation): Promise<void> {
  if (port?.admission !== undefined) await provider().dismiss(port.admission);
  await provider().release(holder(containerId), [], port);
}

async function pairs(): Promise<string[]> {
  const { allowed_address_pairs: all } = await demo.port(vm.id);
  return (all as Json[]).map((p) => `${p.ip_address} ${p.mac_address}`);
}

async function failing(promise: Promise<unknown>): Promise<Failure> {
  try {
    await promise;
  } catch (e) {
    if (e instanceof Failure) return e;
    throw e;
  }
  throw new Error("it did not fail");
}

describe("a container's port, in a cloud that answers as the real one", () => {
  test.each(["macvlan", "ipvlan", "vlan"] as const)(
    "of kind %s: made, admitted, and all of it taken back",
    async (kind) => {
      const trunk = await demo.make("trunk", { port_id: vm.id });
      const allocation = await attach("c1", kind);
      const [own] = (await demo.ask("GET", `/ports?network_id=${networkId}&device_owner=berth:container`)).body.ports;
      const ip = own.fixed_ips[0].ip_address;
      expect(allocation.ips.map((i) => i.address)).toEqual([`${ip}/24`]);
      const subPorts = { port_id: own.id, segmentation_type: "vlan", segmentation_id: 1 };
      expect((await demo.ask("GET", `/trunks/${trunk.id}/get_subports`)).body.sub_ports).toEqual(
        kind === "vlan" ? [subPorts] : [],
      );
      const mac = kind === "ipvlan" ? vm.mac_address : own.mac_address;
      expect(await pairs()).toEqual(kind === "vlan" ? [] : [`${ip} ${mac}`]);
      await detach("c1", allocation);
      expect(await pairs()).toEqual([]);
      expect(await demo.find(`network_id=${networkId}`)).toEqual([vm.id]);
    },
  );

  test("a request that was carried out though its answer was lost is not carried out twice", async () => {
    cloud.faults.plan("POST", /\/ports$/u, { lost: true });
    cloud.faults.plan("PUT", /\/ports\//u, { lost: true });
    const allocation = await attach("c1");
    expect((await demo.find(`network_id=${networkId}`)).length).toBe(2);
    expect((await pairs()).length).toBe(1);
    cloud.faults.plan("PUT", /\/ports\//u, { lost: true });
    cloud.faults.plan("DELETE", /\/ports\//u, { lost: true });
    await detach("c1", allocation);
    expect(await pairs()).toEqual([]);
    expect(await demo.find(`network_id=${networkId}`)).toEqual([vm.id]);
  });

  test("a token that is refused between two calls is renewed", async () => {
    const allocation = await attach("c1");
    cloud.keystone.invalidateTokens();
    demo = await login("demo");
    await detach("c1", allocation);
    expect(await pairs()).toEqual([]);
  });

  test("the eleventh pair is refused with what to do", async () => {
    for (let i = 0; i < 10; i++) await attach(`c${i}`);
    const failure = await failing(attach("c10"));
    expect(failure.message).toContain("AllowedAddressPairExhausted");
    expect(failure.advice).toContain("max_allowed_address_pair");
    expect((await pairs()).length).toBe(10);
  });

  test("on another project's network the pairs are its owner's to set: 403, and who must do what", async () => {
    const admin = await login("admin");
    const shared = await network(admin);
    expect((await admin.ask("PUT", `/networks/${shared}`, { network: { shared: true } })).status).toBe(200);
    vm = await demo.make("port", { network_id: shared, device_id: "vm", device_owner: "compute:nova" });
    const failure = await failing(attach("c1"));
    expect(failure.message).toContain("PolicyNotAuthorized");
    expect(failure.advice).toContain("role");
  });

  test("a pair that another's change brings back, which was under way when it was taken away, is taken away again", async () => {
    const allocation = await attach("c1");
    const before = await demo.port(vm.id);
    const others = [...before.allowed_address_pairs, { ip_address: "10.0.0.1", mac_address: "02:00:00:00:00:01" }];
    cloud.neutron.ports.updateWindowMs = 60;
    cloud.faults.seen();
    const leaving = detach("c1", allocation);
    while (!cloud.faults.seen().some((request) => request.startsWith("PUT "))) await Bun.sleep(1);
    await Bun.sleep(20); // the other change ends 20 ms after the one that takes the pair away, and before the next look
    cloud.faults.plan("GET", new RegExp(`/ports/${vm.id}$`, "u"), { delayMs: 100 });
    const change = demo.put(vm.id, { allowed_address_pairs: others }, before.revision_number);
    await leaving;
    expect((await change).status).toBe(200);
    expect(await pairs()).toEqual(["10.0.0.1 02:00:00:00:00:01"]);
  });
});
