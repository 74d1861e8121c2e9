import { beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { Holder, Seat } from "../../src/ipam/provider.ts";
import { Neutron } from "../../src/openstack/neutron.ts";
import type { NeutronConfig } from "../../src/openstack/neutron-config.ts";
import { Session } from "../../src/openstack/session.ts";
import { CloudServer, failing, next, refusal, silence, type Stored } from "./server.ts";

const NETWORK = "11111111-2222-3333-4444-555555555555";
const holder: Holder = { network: "lan", containerId: "4f5c", ifName: "eth0" };

let cloud: CloudServer;
let vm: Stored;
beforeEach(() => {
  for (const state of ["/run/berth", "/var/lib/berth"]) rmSync(state, { recursive: true, force: true });
  cloud = new CloudServer();
  cloud.networks.push({ id: NETWORK, name: "private", mtu: 1450 });
  cloud.subnets.push({
    id: "s4",
    name: "v4",
    network_id: NETWORK,
    cidr: "192.168.0.0/24",
    gateway_ip: "192.168.0.1",
    host_routes: [{ destination: "10.9.0.0/16", nexthop: "192.168.0.254" }],
    dns_nameservers: ["192.168.0.53"],
    allocation_pools: [{ start: "192.168.0.2", end: "192.168.0.254" }],
  });
  vm = cloud.port({
    network_id: NETWORK,
    fixed_ips: [{ subnet_id: "s4", ip_address: "192.168.0.5" }],
    device_id: "vm-2",
    device_owner: "compute:nova",
    trunk: true,
  });
  return () => cloud[Symbol.dispose]();
});

function seat(kind: Seat["kind"] = "macvlan", mac?: string): Seat {
  return { kind, parentMac: vm.mac_address, mac };
}

function neutron(config: Partial<NeutronConfig> = {}): Neutron {
  return new Neutron({ type: "neutron", ...config }, new Session(cloud.credentials()));
}

/** Everything but the VM's port. */
function others(): Stored[] {
  return [...cloud.ports.values()].filter((p) => p.id !== vm.id);
}

describe("an attachment", () => {
  test("is five calls with a token that is kept: the VM's port, network, subnets, the port, the pair", async () => {
    await new Session(cloud.credentials()).grant();
    cloud.asked.length = 0;
    const provider = neutron();
    const { port } = await provider.allocate(holder, [], seat());
    if (port?.admission !== undefined) await provider.admit(port.admission);
    expect(cloud.calls.toSorted()).toEqual([
      "GET /networks",
      "GET /ports",
      "GET /subnets",
      "POST /ports",
      "PUT /ports/ID",
    ]);
    expect(vm.allowed_address_pairs).toEqual([{ ip_address: "192.168.0.2", mac_address: port?.mac ?? "" }]);
  });

  test("gets what the network says: address, MTU, gateway, routes, DNS; and the port says whose it is", async () => {
    const { ips, routes, dns, port } = await neutron({ tags: ["web"] }).allocate(holder, [], seat());
    expect({ ips, routes, dns, mtu: port?.mtu, mac: port?.mac }).toEqual({
      ips: [{ address: "192.168.0.2/24", gateway: "192.168.0.1" }],
      routes: [
        { dst: "0.0.0.0/0", gw: "192.168.0.1" },
        { dst: "10.9.0.0/16", gw: "192.168.0.254" },
      ],
      dns: { nameservers: ["192.168.0.53"] },
      mtu: 1450,
      mac: others()[0]?.mac_address ?? "",
    });
    expect(others()).toMatchObject([
      {
        name: "lan-4f5c-eth0",
        device_id: `${vm.id}/lan/4f5c/eth0`,
        device_owner: "berth:container",
        tags: ["berth", "web"],
      },
    ]);
  });

  test("is given back: its pair, then its port; twice is once, and with the VM's port gone too", async () => {
    const provider = neutron();
    for (const containerId of ["a", "b"]) {
      const { port } = await provider.allocate({ ...holder, containerId }, [], seat());
      if (port?.admission !== undefined) await provider.admit(port.admission);
    }
    expect(await neutron({ vmPort: vm.id }).release({ ...holder, containerId: "a" })).toEqual(["192.168.0.2"]);
    expect(vm.allowed_address_pairs.map((p) => p.ip_address)).toEqual(["192.168.0.3"]);
    expect(others().map((p) => p.device_id)).toEqual([`${vm.id}/lan/b/eth0`]);
    expect(await neutron({ vmPort: vm.id }).release({ ...holder, containerId: "a" })).toEqual([]);
    const [b] = others();
    cloud.ports.delete(vm.id);
    const known = { id: b?.id ?? "", mtu: 1450 };
    expect(await neutron().release({ ...holder, containerId: "b" }, ["192.168.0.3"], known)).toEqual(["192.168.0.3"]);
    expect(others()).toEqual([]);
  });

  test("of an address that is another's is refused, with whose it is", async () => {
    const failure = await failing(neutron().allocate(holder, ["192.168.0.5"], seat()));
    expect(failure).toMatchObject({ reason: "address", message: expect.stringContaining("compute:nova vm-2") });
    expect(others()).toEqual([]);
  });

  test("of an address that a port has which nobody uses takes that port, and gives it back as it was", async () => {
    const mine = cloud.port({
      name: "mine",
      network_id: NETWORK,
      fixed_ips: [{ subnet_id: "s4", ip_address: "192.168.0.9" }],
    });
    await neutron().allocate(holder, ["192.168.0.9/24"], seat());
    expect(mine).toMatchObject({ device_id: `${vm.id}/lan/4f5c/eth0`, device_owner: "berth:taken", name: "mine" });
    await neutron({ vmPort: vm.id }).release(holder);
    expect(cloud.ports.get(mine.id)).toMatchObject({ device_id: "", device_owner: "", name: "mine" });
  });

  test("of a port that was named: taken once, though the answer is lost; never from another", async () => {
    const mine = cloud.port({
      name: "mine",
      network_id: NETWORK,
      fixed_ips: [{ subnet_id: "s4", ip_address: "192.168.0.9" }],
    });
    cloud.troubles.push(
      next("PUT /ports", (_, usual) => {
        usual();
        return silence();
      }),
    );
    const { port } = await neutron({ port: "mine" }).allocate(holder, [], seat());
    expect([port?.id, mine.device_id]).toEqual([mine.id, `${vm.id}/lan/4f5c/eth0`]);
    const second = { ...holder, containerId: "other" };
    expect(await failing(neutron({ port: "mine" }).allocate(second, [], seat()))).toMatchObject({ reason: "exists" });
    cloud.port({ name: "mine", network_id: NETWORK });
    expect((await failing(neutron({ port: "mine" }).allocate(second, [], seat()))).message).toContain(` and `);
  });

  test("that fails after its port was made leaves none", async () => {
    cloud.troubles.push(next("PUT /trunks", () => refusal(409, "TrunkDisabled", "Trunk is disabled"), 9));
    expect(await failing(neutron().allocate(holder, [], seat("vlan")))).toMatchObject({ incomplete: false });
    expect(others()).toEqual([]);
  });

  test("of kind vlan is carried by the trunk, and needs no pair", async () => {
    cloud.trunk.set(1, "x");
    const { port } = await neutron().allocate(holder, [], seat("vlan"));
    expect([port?.vlanId, port?.admission, cloud.trunk.get(2)]).toEqual([2, undefined, others()[0]?.id ?? ""]);
    // Neutron puts no port on a trunk that has a device_id
    expect(others()).toMatchObject([{ device_id: "", description: `${vm.id}/lan/4f5c/eth0` }]);
    const provider = neutron({ vmPort: vm.id });
    expect(await provider.collect("lan", [holder])).toEqual([]);
    await provider.check(holder, ["192.168.0.2"], port);
    await provider.release(holder);
    expect([others(), [...cloud.trunk]]).toEqual([[], [[1, "x"]]]);
  });

  test("of kind vlan with a port that was named gives it back, off the trunk", async () => {
    const mine = cloud.port({
      name: "mine",
      network_id: NETWORK,
      fixed_ips: [{ subnet_id: "s4", ip_address: "192.168.0.9" }],
    });
    const { port } = await neutron({ port: "mine" }).allocate(holder, [], seat("vlan"));
    expect([port?.vlanId, mine["description"]]).toEqual([1, `${vm.id}/lan/4f5c/eth0/taken`]);
    mine["device_owner"] = "trunk:subport"; // as Neutron does when a driver has wired it
    await neutron({ vmPort: vm.id }).release(holder);
    expect(cloud.ports.get(mine.id)).toMatchObject({ device_id: "", device_owner: "", description: "" });
    expect([...cloud.trunk]).toEqual([]);
  });

  test("of kind vlan is five calls, and found where the answer to its making is lost", async () => {
    await new Session(cloud.credentials()).grant();
    cloud.asked.length = 0;
    await neutron().allocate(holder, [], seat("vlan"));
    expect(cloud.asked.length).toBe(5);
    cloud.troubles.push(
      next("POST /ports", (_, usual) => {
        usual();
        return silence();
      }),
    );
    await neutron().allocate({ ...holder, containerId: "b" }, [], seat("vlan"));
    expect([others().length, [...cloud.trunk.keys()]]).toEqual([2, [1, 2]]);
  });

  test("of kind vlan whose place on the trunk is not answered is given back whole", async () => {
    cloud.troubles.push(
      next("PUT /trunks/trunk/add", (_, usual) => {
        usual();
        return refusal(409, "TrunkInErrorState", "Trunk is in error state");
      }),
    );
    await failing(neutron().allocate(holder, [], seat("vlan")));
    expect([others(), [...cloud.trunk]]).toEqual([[], []]);
  });

  test("of kind ipvlan has the VM's MAC; of a block that is let pass, 20 need one pair", async () => {
    const config = { addressPairs: { cidr: "192.168.0.64/27" } };
    for (let n = 0; n < 20; n++) {
      const provider = neutron(config);
      const { port, ips } = await provider.allocate({ ...holder, containerId: `c${n}` }, [], seat("ipvlan"));
      expect(ips[0]?.address).toMatch(/^192\.168\.0\.(6[4-9]|[78]\d|9[0-5])\/24$/u);
      expect(port?.mac).toBeUndefined();
      if (port?.admission !== undefined) await provider.admit(port.admission);
    }
    expect(vm.allowed_address_pairs).toEqual([{ ip_address: "192.168.0.64/27", mac_address: vm.mac_address }]);
    for (let n = 0; n < 20; n++) await neutron({ vmPort: vm.id }).release({ ...holder, containerId: `c${n}` });
    expect([vm.allowed_address_pairs, others()]).toEqual([[], []]);
  });

  test("previewed, makes nothing", async () => {
    const { ips, port } = await neutron().preview(holder, [], seat());
    expect(ips).toEqual([{ address: "192.168.0.2/24", gateway: "192.168.0.1" }]);
    expect(port?.commands?.join("\n")).toContain(`openstack port create --network ${NETWORK}`);
    expect(cloud.asked.every((a) => a.method === "GET" || a.path === "/auth/tokens")).toBe(true);
  });
});

describe("what nobody needs", () => {
  test("is collected: of this network and this VM alone", async () => {
    const provider = neutron({ vmPort: vm.id });
    for (const [network, containerId] of [
      ["lan", "gone"],
      ["lan", "alive"],
      ["wan", "gone"],
    ] as const) {
      const { port } = await provider.allocate({ ...holder, network, containerId }, [], seat());
      if (port?.admission !== undefined) await provider.admit(port.admission);
    }
    const elsewhere = cloud.port({
      device_owner: "berth:container",
      device_id: `${crypto.randomUUID()}/lan/gone/eth0`,
    });
    expect(await provider.collect("lan", [{ ...holder, containerId: "alive" }])).toEqual(["192.168.0.2"]);
    expect(
      others()
        .map((p) => p.device_id)
        .toSorted(),
    ).toEqual([elsewhere.device_id, `${vm.id}/lan/alive/eth0`, `${vm.id}/wan/gone/eth0`].toSorted());
    expect(vm.allowed_address_pairs.length).toBe(2);
  });

  // device_id has 255 characters at most: a longer key is kept by a digest
  test("is not what belongs to a container with a long id", async () => {
    const long = { ...holder, containerId: "c".repeat(215) };
    const provider = neutron({ vmPort: vm.id });
    const { port, ips } = await provider.allocate(long, [], seat());
    expect(others()[0]?.device_id.length).toBeLessThanOrEqual(255);
    expect(await provider.collect("lan", [long])).toEqual([]);
    await provider.check(
      long,
      ips.map((ip) => ip.address.replace(/\/.*/u, "")),
      port,
    );
    await provider.release(long, [], port);
    expect(others()).toEqual([]);
  });
});

test("CHECK tells what is gone or has changed", async () => {
  const provider = neutron({ vmPort: vm.id });
  const { port } = await provider.allocate(holder, [], seat());
  await provider.check(holder, ["192.168.0.2"], port);
  const [stored] = others();
  if (stored === undefined || port === undefined) throw new Error("there is no port");
  if (port.admission !== undefined) expect(await provider.lacking(port.admission)).toEqual(port.admission.pairs);
  expect((await failing(provider.check(holder, ["192.168.0.3"], port))).message).toContain("and not 192.168.0.3");
  stored.mac_address = "fa:16:3e:99:99:99";
  expect((await failing(provider.check(holder, [], port))).message).toContain("fa:16:3e:99:99:99");
  cloud.ports.delete(stored.id);
  expect(await failing(provider.check(holder, [], port))).toMatchObject({ reason: "differs" });
});
