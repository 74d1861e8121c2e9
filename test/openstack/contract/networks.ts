// What Berth relies on of Neutron as such, and of its networks and subnets.
import { beforeAll, describe, expect, test } from "bun:test";
import { type Json, NOBODY, refused, type Reply, sortedTexts, type Stage, type User } from "./users.ts";

/** Declares the tests. */
export function declareNetworks(stage: Stage): void {
  let demo: User;
  let other: User;
  beforeAll(() => {
    ({ demo, other } = stage());
  });

  describe("the service", () => {
    test("has the extensions that Berth looks for", async () => {
      const { body } = await demo.ask("GET", "/extensions");
      const aliases = new Set((body.extensions as Json[]).map((e) => e.alias));
      const needed = [
        "allowed-address-pairs",
        "dns-integration",
        "net-mtu",
        "port-security",
        "quota_details",
        "quotas",
        "revision-if-match",
        "standard-attr-revisions",
        "standard-attr-tag",
        "tag-ports-during-bulk-creation",
        "trunk",
        "trunk-details",
      ];
      expect(needed.filter((alias) => !aliases.has(alias))).toEqual([]);
    });

    test("names each request", async () => {
      const { headers } = await demo.ask("GET", "/networks?fields=id");
      expect(headers.get("x-openstack-request-id")).toMatch(/^req-[\da-f-]{36}$/u);
    });

    test.each([
      ["a body that is no JSON", "/ports", "{", /invalid data/u],
      ["a body without the resource", "/ports", { network: {} }, /Unable to find 'port' in request body/u],
      ["an attribute that there is not", "/networks", { network: { nonsense: 1 } }, /Unrecognized attribute/u],
    ])("%s: 400 HTTPBadRequest", async (_, path, body, message) => {
      const raw = typeof body === "string";
      const reply = raw
        ? await fetch(demo.neutron + path, {
            method: "POST",
            headers: { "x-auth-token": demo.token, "content-type": "application/json" },
            body,
          })
        : await demo.ask("POST", path, body);
      const answer = reply instanceof Response ? await reply.json() : reply.body;
      refused({ status: reply.status, headers: new Headers(), body: answer }, 400, "HTTPBadRequest", message);
    });
  });

  describe("networks and subnets", () => {
    test("a subnet has gateway, pools, routes and name servers; by id and name, with the fields that were asked for", async () => {
      const net = await demo.make("network", { name: `n-${crypto.randomUUID()}` });
      const subnet = await demo.make("subnet", {
        network_id: net.id,
        name: "v4",
        cidr: "192.168.7.0/24",
        ip_version: 4,
        host_routes: [{ destination: "10.9.0.0/16", nexthop: "192.168.7.9" }],
        dns_nameservers: ["192.0.2.53"],
      });
      await demo.make("subnet", { network_id: net.id, cidr: "fd00:0:0:7::/64", ip_version: 6, gateway_ip: null });
      const subnets = `/subnets?network_id=${net.id}&fields=cidr&fields=gateway_ip&fields=allocation_pools`;
      const more = "&fields=host_routes&fields=dns_nameservers&sort_key=cidr&sort_dir=asc";
      expect((await demo.ask("GET", subnets + more)).body).toEqual({
        subnets: [
          {
            cidr: "192.168.7.0/24",
            gateway_ip: "192.168.7.1",
            allocation_pools: [{ start: "192.168.7.2", end: "192.168.7.254" }],
            host_routes: [{ destination: "10.9.0.0/16", nexthop: "192.168.7.9" }],
            dns_nameservers: ["192.0.2.53"],
          },
          {
            cidr: "fd00:0:0:7::/64",
            gateway_ip: null,
            allocation_pools: [{ start: "fd00:0:0:7::1", end: "fd00::7:ffff:ffff:ffff:ffff" }],
            host_routes: [],
            dns_nameservers: [],
          },
        ],
      });
      for (const query of [`name=${net.name}`, `id=${net.id}`]) {
        expect((await demo.ask("GET", `/networks?${query}&fields=id&fields=mtu`)).body).toEqual({
          networks: [{ id: net.id, mtu: 1450 }],
        });
      }
      expect((await demo.ask("GET", `/subnets/${subnet.id}?fields=id&fields=name`)).body).toEqual({
        subnet: { id: subnet.id, name: "v4" },
      });
    });

    test("where no gateway is named it is the first address: of IPv6 the prefix itself", async () => {
      const { net, subnet } = await stage().network("192.168.8.0/24");
      expect(subnet.gateway_ip).toBe("192.168.8.1");
      const six = await demo.make("subnet", { network_id: net.id, cidr: "fd00:0:0:9::/64", ip_version: 6 });
      expect(six).toMatchObject({ gateway_ip: "fd00:0:0:9::", allocation_pools: [{ start: "fd00:0:0:9::1" }] });
    });

    test("two networks may have one name", async () => {
      const twin = `twin-${crypto.randomUUID()}`;
      const ids = [await demo.make("network", { name: twin }), await demo.make("network", { name: twin })];
      const { body } = await demo.ask("GET", `/networks?name=${twin}&fields=id`);
      expect(sortedTexts(body.networks, "id")).toEqual(sortedTexts(ids, "id"));
    });

    test("what is not there, or another project's: 404 in each one's words", async () => {
      const { net, subnet } = await stage().network();
      refused(await demo.ask("GET", `/networks/${NOBODY}`), 404, "NetworkNotFound", /could not be found/u);
      refused(await demo.ask("GET", `/subnets/${NOBODY}`), 404, "SubnetNotFound", /could not be found/u);
      refused(await other.ask("GET", `/networks/${net.id}`), 404, "NetworkNotFound", /could not be found/u);
      refused(await other.ask("GET", `/subnets/${subnet.id}`), 404, "SubnetNotFound", /could not be found/u);
      const { body } = await other.ask("GET", `/networks?id=${net.id}`);
      expect(body).toEqual({ networks: [] });
    });

    test("overlapping or wrong subnets: 400 InvalidInput; a network with ports stays: 409 NetworkInUse", async () => {
      const { net } = await stage().network();
      const subnet = async (cidr: string): Promise<Reply> =>
        await demo.ask("POST", "/subnets", { subnet: { network_id: net.id, cidr, ip_version: 4 } });
      refused(await subnet("192.168.0.0/25"), 400, "InvalidInput", /overlaps with another subnet/u);
      refused(await subnet("192.168.0.0/33"), 400, "InvalidInput", /not in a CIDR format/u);
      const port = await demo.make("port", { network_id: net.id });
      refused(await demo.ask("DELETE", `/networks/${net.id}`), 409, "NetworkInUse", /ports still in use/u);
      expect((await demo.ask("DELETE", `/ports/${port.id}`)).status).toBe(204);
      expect((await demo.ask("DELETE", `/networks/${net.id}`)).status).toBe(204);
    });
  });
}
