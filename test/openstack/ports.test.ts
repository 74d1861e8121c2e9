import { beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { findNetwork, subnetsOf } from "../../src/openstack/networks.ts";
import { createPort, deletePort, getPort, listPorts, query, updatePort } from "../../src/openstack/ports.ts";
import { Session } from "../../src/openstack/session.ts";
import { addSubPort, removeSubPort } from "../../src/openstack/trunks.ts";
import { findVmPort, instanceId } from "../../src/openstack/virtual-machine.ts";
import { CloudServer, failing, next, refusal, silence } from "./server.ts";

beforeEach(() => rmSync("/run/berth", { recursive: true, force: true }));

/** A session that is logged in; what was asked until then is forgotten. */
async function ready(cloud: CloudServer): Promise<Session> {
  const session = new Session(cloud.credentials());
  await session.grant();
  cloud.asked.length = 0;
  return session;
}

test("a filter by what a JSON can spell and UTF-8 cannot is one that finds nothing", () => {
  expect(query({ name: JSON.parse(String.raw`"a\ud800"`) as string, id: ["1", "ä"] })).toBe(
    "name=a%EF%BF%BD&id=1&id=%C3%A4",
  );
});

describe("making a port", () => {
  const wish = { network_id: "net", device_id: "vm/lan/c1/eth0" };

  test("is one call", async () => {
    using cloud = new CloudServer();
    const port = await createPort(await ready(cloud), wish, "create");
    expect(cloud.calls).toEqual(["POST /ports"]);
    expect(cloud.ports.get(port.id)?.device_id).toBe(wish.device_id);
  });

  test("an answer that is lost: the port is found by its device_id", async () => {
    using cloud = new CloudServer();
    cloud.troubles.push(
      next("POST /ports", (_, usual) => {
        usual();
        return silence();
      }),
    );
    const port = await createPort(await ready(cloud), wish, "create");
    expect([...cloud.ports.keys()]).toEqual([port.id]);
    expect(cloud.calls).toEqual(["POST /ports", "GET /ports"]);
  });

  test.each([503, 429, 500])("a request that was not carried out, %d: it is made again", async (status) => {
    using cloud = new CloudServer();
    cloud.troubles.push(next("POST /ports", () => refusal(status, "", "busy")));
    const port = await createPort(await ready(cloud), wish, "create");
    expect([...cloud.ports.keys()]).toEqual([port.id]);
  });

  test("a request that is carried out after it was looked for: its port is deleted", async () => {
    using cloud = new CloudServer();
    const late: (() => Response)[] = [];
    cloud.troubles.push(
      next("POST /ports", (_, usual) => {
        late.push(usual);
        return silence();
      }),
      next("POST /ports", () => {
        late[0]?.();
        return undefined;
      }),
    );
    const port = await createPort(await ready(cloud), wish, "create");
    expect([...cloud.ports.keys()]).toEqual([port.id]);
  });

  test("no answer to anything: the port may be there, and the failure says so", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    cloud.troubles.push(next("POST /ports", () => silence(), 9));
    expect(await failing(createPort(session, wish, "create"))).toMatchObject({ reason: "busy", incomplete: true });
    expect(cloud.calls.filter((c) => c === "POST /ports").length).toBe(3);
  });

  test("a refusal is final", async () => {
    using cloud = new CloudServer();
    cloud.troubles.push(next("POST /ports", () => refusal(409, "OverQuota", "Quota exceeded"), 9));
    expect(await failing(createPort(await ready(cloud), wish, "create"))).toMatchObject({
      reason: "cloud",
      incomplete: false,
    });
    expect(cloud.calls).toEqual(["POST /ports"]);
  });
});

describe("ports", () => {
  test("a list that comes in pieces is read to its end", async () => {
    using cloud = new CloudServer();
    cloud.pieces = 4;
    const made = Array.from({ length: 10 }, () => cloud.port({ device_owner: "berth:container" }).id);
    cloud.port();
    const found = await listPorts(await ready(cloud), { device_owner: "berth:container" }, "list");
    expect(found.map((p) => p.id)).toEqual(made);
    expect(cloud.asked.length).toBe(3);
    expect(cloud.asked.every((a) => a.query.getAll("fields").includes("revision_number"))).toBe(true);
  });

  test("a change to another revision than was read is refused; of any, made", async () => {
    using cloud = new CloudServer();
    const [session, { id }] = [await ready(cloud), cloud.port()];
    await updatePort(session, id, { name: "a" }, { doing: "change", revision: 1 });
    expect(await failing(updatePort(session, id, { name: "b" }, { doing: "change", revision: 1 }))).toMatchObject({
      cause: { status: 412, type: "RevisionNumberConstraintFailed" },
    });
    await updatePort(session, id, { name: "c" }, { doing: "change" });
    expect([cloud.ports.get(id)?.["name"], cloud.ports.get(id)?.revision_number]).toEqual(["c", 3]);
  });

  test("one that is gone", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    expect(await getPort(session, crypto.randomUUID())).toBeUndefined();
    await deletePort(session, crypto.randomUUID());
    const { id } = cloud.port();
    cloud.troubles.push(
      next("DELETE", (_, usual) => {
        usual();
        return silence();
      }),
    );
    await deletePort(session, id);
    expect(cloud.ports.size).toBe(0);
  });

  test("an answer that is not one: which part of it", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    cloud.troubles.push(() => Response.json({ ports: [{ id: "p", network_id: "n", mac_address: 7 }] }));
    expect(await failing(listPorts(session, {}, "list"))).toMatchObject({
      reason: "decode",
      message: expect.stringContaining("ports.0.mac_address"),
    });
  });
});

describe("networks", () => {
  test("by name, by id; two of a name are both named", async () => {
    using cloud = new CloudServer();
    const [a, b, c] = [crypto.randomUUID(), crypto.randomUUID(), crypto.randomUUID()];
    cloud.networks.push({ id: a, name: "lan", mtu: 1450 }, { id: b, name: "twin", mtu: 1 }, { id: c, name: "twin" });
    const session = await ready(cloud);
    expect(await findNetwork(session, "lan")).toEqual({ id: a, name: "lan", mtu: 1450 });
    expect(await findNetwork(session, c)).toEqual({ id: c, name: "twin", mtu: 0 });
    expect(await failing(findNetwork(session, "twin"))).toMatchObject({
      reason: "config",
      message: `find the network twin: there are ${b} and ${c}`,
      advice: "Name it by its id.",
    });
    expect((await failing(findNetwork(session, "moon & co"))).message).toBe(
      "find the network moon & co: there is none that this project may use",
    );
  });

  test("its subnets, in one call", async () => {
    using cloud = new CloudServer();
    const subnet = {
      cidr: "10.0.0.0/24",
      gateway_ip: null,
      host_routes: [],
      dns_nameservers: [],
      allocation_pools: [],
    };
    cloud.subnets.push(
      { ...subnet, id: "2", name: "two", network_id: "net" },
      { ...subnet, id: "1", name: "one", network_id: "net" },
      { ...subnet, id: "3", name: "three", network_id: "other" },
    );
    expect((await subnetsOf(await ready(cloud), "net")).map((s) => s.name)).toEqual(["one", "two"]);
    expect(cloud.asked.length).toBe(1);
  });
});

describe("the VM's port", () => {
  const mac = "fa:16:3e:11:22:33";
  const hint = { mac, instance: undefined };

  test("by the parent's MAC, and of this instance where the machine knows which it is", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    const mine = cloud.port({ mac_address: mac, device_id: "vm-1" }).id;
    expect((await findVmPort(session, hint)).id).toBe(mine);
    const twin = cloud.port({ mac_address: mac, device_id: "vm-2" }).id;
    expect((await failing(findVmPort(session, hint))).message).toContain(`${mine} (of vm-1) and ${twin} (of vm-2)`);
    expect((await findVmPort(session, { mac, instance: "vm-2" })).id).toBe(twin);
    const other = await failing(findVmPort(session, { mac, instance: "vm-3" }));
    expect(other.message).toContain("this instance is vm-3");
    expect((await findVmPort(session, { vmPort: twin, mac, instance: "vm-3" })).id).toBe(twin);
  });

  test("none", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    expect((await failing(findVmPort(session, hint))).message).toContain("no port has it");
    const vmPort = crypto.randomUUID();
    expect((await failing(findVmPort(session, { ...hint, vmPort }))).message).toContain(vmPort);
    expect((await failing(findVmPort(session, { ...hint, mac: undefined }))).advice).toContain("vmPort");
  });

  test("the instance, from SMBIOS or from cloud-init", () => {
    const root = "/run/machine";
    mkdirSync(`${root}/sys/class/dmi/id`, { recursive: true });
    mkdirSync(`${root}/run/cloud-init`, { recursive: true });
    const dmi = (name: string, text: string): void => writeFileSync(`${root}/sys/class/dmi/id/${name}`, `${text}\n`);
    expect(instanceId(root)).toBeUndefined();
    dmi("product_uuid", "4C4C4544-0000-2010-8020-80C04F202020");
    dmi("sys_vendor", "Dell Inc.");
    expect(instanceId(root)).toBeUndefined(); // a machine, no instance
    const init = (v1: object): void =>
      writeFileSync(`${root}/run/cloud-init/instance-data.json`, JSON.stringify({ v1 }));
    init({ platform: "ec2", instance_id: "i-123" });
    expect(instanceId(root)).toBeUndefined();
    init({ platform: "openstack", instance_id: "aaaa" });
    expect(instanceId(root)).toBe("aaaa");
    dmi("product_name", "OpenStack Nova");
    expect(instanceId(root)).toBe("4c4c4544-0000-2010-8020-80c04f202020");
  });
});

describe("a trunk", () => {
  test("gives the lowest VLAN that is free", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    cloud.trunk.set(1, "x").set(3, "y");
    const vm = await findVmPort(session, {
      vmPort: cloud.port({ trunk: true }).id,
      mac: undefined,
      instance: undefined,
    });
    cloud.asked.length = 0;
    expect(await addSubPort(session, vm, "a")).toBe(2);
    expect(cloud.asked.length).toBe(1);
    await removeSubPort(
      session,
      {
        ...vm,
        trunk_details: {
          trunk_id: "trunk",
          sub_ports: [{ port_id: "a", segmentation_id: 2, segmentation_type: "vlan" }],
        },
      },
      "a",
    );
    expect([...cloud.trunk.keys()]).toEqual([1, 3]);
  });

  test("30 at once, of several hosts: each has a VLAN of its own, and none is left out", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    const vm = await findVmPort(session, {
      vmPort: cloud.port({ trunk: true }).id,
      mac: undefined,
      instance: undefined,
    });
    const vlans = await Promise.all(Array.from({ length: 30 }, async (_, i) => await addSubPort(session, vm, `p${i}`)));
    expect(vlans.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
    expect(vlans.map((vlan) => cloud.trunk.get(vlan))).toEqual(Array.from({ length: 30 }, (_, i) => `p${i}`));
  });

  test("an answer that is lost: the port has one VLAN, which is told", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    const vm = await findVmPort(session, {
      vmPort: cloud.port({ trunk: true }).id,
      mac: undefined,
      instance: undefined,
    });
    cloud.troubles.push(
      next("PUT /trunks", (_, usual) => {
        usual();
        return silence();
      }),
    );
    expect(await addSubPort(session, vm, "a")).toBe(1);
    expect([...cloud.trunk]).toEqual([[1, "a"]]);
  });

  test("a refusal that no other VLAN helps against is final; so is one of the VLAN that must be", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    cloud.trunk.set(5, "x");
    const vm = await findVmPort(session, {
      vmPort: cloud.port({ trunk: true }).id,
      mac: undefined,
      instance: undefined,
    });
    cloud.asked.length = 0;
    expect(await failing(addSubPort(session, vm, "b", 5))).toMatchObject({ cause: { type: "DuplicateSubPort" } });
    for (const type of ["TrunkInErrorState", "OverQuota", "SomethingNew"]) {
      cloud.asked.length = 0;
      cloud.troubles.push(next("PUT /trunks", () => refusal(409, type, "It is refused"), 9));
      expect(await failing(addSubPort(session, vm, "b"))).toMatchObject({ cause: { type } });
      expect(cloud.calls).toEqual(["PUT /trunks/trunk/add_subports"]);
      cloud.troubles.length = 0;
    }
    cloud.troubles.length = 0;
    cloud.troubles.push(next("PUT /trunks", () => refusal(409, "TrunkPortInUse", "Of another trunk"), 9));
    expect(await failing(addSubPort(session, vm, "b"))).toMatchObject({ cause: { type: "TrunkPortInUse" } });
  });

  test("a VM's port without one", async () => {
    using cloud = new CloudServer();
    const session = await ready(cloud);
    const vm = await findVmPort(session, { vmPort: cloud.port().id, mac: undefined, instance: undefined });
    expect((await failing(addSubPort(session, vm, "a"))).advice).toContain("openstack network trunk create");
    await removeSubPort(session, vm, "a");
  });
});
