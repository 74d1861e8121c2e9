// What Berth relies on of Neutron's trunks.
import { beforeAll, describe, expect, test } from "bun:test";
import { type Json, NOBODY, refused, type Reply, type Stage, type User } from "./users.ts";

function subPort(port: Json, id: number): object {
  return { port_id: port.id, segmentation_type: "vlan", segmentation_id: id };
}

/** Declares the tests. */
export function declareTrunks(stage: Stage): void {
  let demo: User;
  let net: Json;
  beforeAll(async () => {
    ({ demo } = stage());
    ({ net } = await stage().network());
  });
  const make = async (values: object = {}): Promise<Json> => await demo.make("port", { network_id: net.id, ...values });
  const change = async (trunk: Json, verb: "add" | "remove", subPorts: object[], by = demo): Promise<Reply> =>
    await by.ask("PUT", `/trunks/${trunk.id}/${verb}_subports`, { sub_ports: subPorts });

  describe("a trunk", () => {
    test("carries ports by VLANs, which its parent port's answer lists", async () => {
      const [parent, a, b] = [await make(), await make(), await make()];
      const trunk = await demo.make("trunk", { port_id: parent.id, name: "t" });
      expect(trunk).toMatchObject({ port_id: parent.id, sub_ports: [] });
      const added = await change(trunk, "add", [subPort(a, 1), subPort(b, 4094)]);
      expect(added.status).toBe(200);
      expect(added.body.id).toBe(trunk.id);
      const { trunk_details: details } = await demo.port(parent.id);
      expect(details.trunk_id).toBe(trunk.id);
      expect((details.sub_ports as Json[]).toSorted((x, y) => x.segmentation_id - y.segmentation_id)).toEqual([
        { ...subPort(a, 1), mac_address: a.mac_address },
        { ...subPort(b, 4094), mac_address: b.mac_address },
      ]);
      const { body } = await demo.ask("GET", `/trunks?port_id=${parent.id}`);
      expect((body.trunks as Json[]).map((t) => t.id)).toEqual([trunk.id]);
      expect((await change(trunk, "remove", [{ port_id: b.id }])).status).toBe(200);
      expect((await demo.ask("GET", `/trunks/${trunk.id}/get_subports`)).body).toEqual({ sub_ports: [subPort(a, 1)] });
      refused(await change(trunk, "remove", [{ port_id: b.id }]), 404, "SubPortNotFound", /could not be found/u);
      expect(await demo.port(a.id)).not.toHaveProperty("trunk_details");
    });

    test("a VLAN that is taken: 409 DuplicateSubPort, also of several who come at once all but one", async () => {
      const trunk = await demo.make("trunk", { port_id: (await make()).id });
      const ports = [await make(), await make(), await make(), await make()];
      const replies = await Promise.all(ports.map(async (p) => await change(trunk, "add", [subPort(p, 1)])));
      expect(replies.map((r) => r.status).toSorted((a, b) => a - b)).toEqual([200, 409, 409, 409]);
      for (const reply of replies.filter((r) => r.status === 409)) {
        refused(reply, 409, "DuplicateSubPort", /segmentation_id 1 already in use on trunk/u);
      }
    });

    test("a port that has a device is not taken: 409 PortInUse; once it is carried it may get one", async () => {
      const trunk = await demo.make("trunk", { port_id: (await make({ device_id: "vm" })).id });
      const attached = await make({ device_id: "vm/net/c/eth0", device_owner: "berth:container" });
      refused(await change(trunk, "add", [subPort(attached, 1)]), 409, "PortInUse", /already has an attached device/u);
      const free = await make({ device_owner: "berth:container" });
      expect((await change(trunk, "add", [subPort(free, 1)])).status).toBe(200);
      // it is the agent of the parent's host that makes the port a "trunk:subport"
      expect(await demo.port(free.id)).toMatchObject({ device_id: "", device_owner: "berth:container" });
      expect((await demo.put(free.id, { device_id: "vm/net/c/eth0" })).body.port.device_id).toBe("vm/net/c/eth0");
      expect((await change(trunk, "remove", [{ port_id: free.id }])).status).toBe(200);
      expect((await demo.port(free.id)).device_id).toBe("vm/net/c/eth0");
    });

    test("a port is one trunk's: 409; and stays while it is: 409", async () => {
      const [parent, other, sub] = [await make(), await make(), await make()];
      const trunk = await demo.make("trunk", { port_id: parent.id, sub_ports: [subPort(sub, 3)] });
      const second = await demo.make("trunk", { port_id: other.id });
      refused(await demo.ask("POST", "/trunks", { trunk: { port_id: parent.id } }), 409, "ParentPortInUse", /in use/u);
      expect((await change(second, "add", [subPort(sub, 3)])).status).toBe(409);
      refused(await change(second, "add", [subPort(parent, 4)]), 409, "ParentPortInUse", /in use/u);
      const inUse = /is currently a subport for trunk/u;
      refused(await demo.ask("DELETE", `/ports/${sub.id}`), 409, "PortInUseAsSubPort", inUse);
      const asParent = /is currently a parent port for trunk/u;
      refused(await demo.ask("DELETE", `/ports/${parent.id}`), 409, "PortInUseAsTrunkParent", asParent);
      expect((await demo.ask("DELETE", `/trunks/${trunk.id}`)).status).toBe(204);
      refused(await demo.ask("GET", `/trunks/${trunk.id}`), 404, "TrunkNotFound", /could not be found/u);
      expect((await demo.ask("DELETE", `/ports/${sub.id}`)).status).toBe(204);
      expect((await demo.ask("DELETE", `/ports/${parent.id}`)).status).toBe(204);
    });

    test("what is no VLAN: 400 InvalidInput; what is not there, or another's: 404", async () => {
      const trunk = await demo.make("trunk", { port_id: (await make()).id });
      const [a, b] = [await make(), await make()];
      const wrong: [object[], RegExp][] = [
        [[subPort(a, 0)], /is not in range/u],
        [[subPort(a, 4095)], /is not in range/u],
        [[{ ...subPort(a, 5), segmentation_type: "x" }], /Unknown segmentation_type 'x'/u],
        [[{ port_id: a.id }], /missing segmentation information/u],
        [[subPort(a, 7), subPort(b, 7)], /is not unique/u],
      ];
      for (const [subPorts, sentence] of wrong) {
        refused(await change(trunk, "add", subPorts), 400, "InvalidInput", sentence);
      }
      refused(await change(trunk, "add", [subPort({ id: NOBODY }, 2)]), 404, "PortNotFound", /could not be found/u);
      const { other } = stage();
      refused(await change(trunk, "add", [subPort(a, 9)], other), 404, "TrunkNotFound", /could not be found/u);
      refused(await change({ id: NOBODY }, "add", [subPort(a, 9)]), 404, "TrunkNotFound", /could not be found/u);
      expect((await demo.ask("GET", `/trunks/${trunk.id}/get_subports`)).body).toEqual({ sub_ports: [] });
    });
  });
}
