// What Berth relies on of Neutron's security groups, their rules, and of subnet pools.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Json, refused, type Stage, type User } from "./users.ts";

/** Declares the tests. */
export function declareGroups(stage: Stage): void {
  let demo: User;
  let port: Json;
  let pool: Json;
  beforeAll(async () => {
    ({ demo } = stage());
    const { net } = await stage().network("192.168.77.0/24");
    port = await demo.make("port", { network_id: net.id });
  });
  afterAll(async () => {
    if (pool !== undefined) await demo.ask("DELETE", `/subnetpools/${pool.id}`);
  });

  describe("security groups", () => {
    test("a group is made, found by name, given to a port beside its own, in use, taken away, deleted", async () => {
      const made = await demo.ask("POST", "/security-groups", {
        security_group: { name: "of-a-test", description: "d" },
      });
      expect(made.status).toBe(201);
      const { id } = made.body.security_group;
      const rule = { security_group_id: id, direction: "ingress", ethertype: "IPv4", protocol: "tcp" };
      const ranges = { port_range_min: 80, port_range_max: 82 };
      const ruled = await demo.ask("POST", "/security-group-rules", { security_group_rule: { ...rule, ...ranges } });
      expect(ruled.status).toBe(201);
      expect(ruled.body.security_group_rule).toMatchObject({ ...rule, ...ranges, remote_ip_prefix: null });
      const found = await demo.ask("GET", "/security-groups?name=of-a-test&fields=id&fields=name");
      expect(found.body.security_groups).toEqual([{ id, name: "of-a-test" }]);
      const before: string[] = port.security_groups;
      expect(before.length).toBe(1);
      const given = await demo.put(port.id, { security_groups: [...before, id] });
      expect((given.body.port.security_groups as string[]).toSorted()).toEqual([...before, String(id)].toSorted());
      refused(await demo.ask("DELETE", `/security-groups/${id}`), 409, "SecurityGroupInUse", /in use/u);
      await demo.put(port.id, { security_groups: before });
      expect((await demo.ask("DELETE", `/security-groups/${id}`)).status).toBe(204);
      refused(await demo.put(port.id, { security_groups: [id] }), 404, "SecurityGroupNotFound", /does not exist/u);
    });
  });

  describe("subnet pools", () => {
    test("are found by name, and their subnets by the pool", async () => {
      const made = await demo.ask("POST", "/subnetpools", {
        subnetpool: { name: "pool-of-a-test", prefixes: ["192.168.78.0/24"], default_prefixlen: 24 },
      });
      expect(made.status).toBe(201);
      pool = made.body.subnetpool;
      const found = await demo.ask("GET", "/subnetpools?name=pool-of-a-test&fields=id");
      expect(found.body).toEqual({ subnetpools: [{ id: pool.id }] });
      const wish = { cidr: "192.168.78.0/24", ip_version: 4, subnetpool_id: pool.id };
      const { net } = await stage().network("192.168.79.0/24");
      const beside = await demo.ask("POST", "/subnets", { subnet: { ...wish, network_id: net.id } });
      refused(beside, 400, "NetworkSubnetPoolAffinityError", /same subnet pool/u);
      const own = await demo.make("network", { name: "of-a-pool" });
      const subnet = await demo.make("subnet", { ...wish, network_id: own.id });
      const of = await demo.ask("GET", `/subnets?ip_version=4&subnetpool_id=${pool.id}&fields=id`);
      expect(of.body).toEqual({ subnets: [{ id: subnet.id }] });
      const both = await demo.ask("GET", `/subnets?network_id=${net.id}&cidr=192.168.79.0%2F24&fields=cidr`);
      expect(both.body).toEqual({ subnets: [{ cidr: "192.168.79.0/24" }] });
      await demo.ask("DELETE", `/subnets/${subnet.id}`);
    });
  });
}
