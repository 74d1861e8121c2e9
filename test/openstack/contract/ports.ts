// What Berth relies on of Neutron's ports: how they are made, found, refused and tagged.
import { beforeAll, describe, expect, test } from "bun:test";
import { type Json, NOBODY, refused, type Reply, sortedTexts, type Stage, type User } from "./users.ts";

/** Expects that no rule lets the user do something. */
function denied(reply: Reply, rule: string): void {
  refused(reply, 403, "PolicyNotAuthorized", new RegExp(`rule:${rule} is disallowed by policy`, "u"));
}

/** Declares the tests. */
export function declarePorts(stage: Stage): void {
  let demo: User;
  let net: Json;
  let subnet: Json;
  const post = async (values: object, by = demo): Promise<Reply> =>
    await by.ask("POST", "/ports", { port: { network_id: net.id, ...values } });

  describe("a port", () => {
    beforeAll(async () => {
      ({ demo } = stage());
      ({ net, subnet } = await stage().network());
    });

    test("is made with what was asked for, and what was not", async () => {
      const { status, body } = await post({
        name: "c1",
        mac_address: "FA:16:3E:AA:BB:01",
        fixed_ips: [{ ip_address: "192.168.0.50" }],
        device_id: "vm/net/c1/eth0",
        device_owner: "berth:container",
        dns_name: "c1",
        tags: ["berth", "a"],
      });
      expect(status).toBe(201);
      expect(body.port).toMatchObject({
        name: "c1",
        network_id: net.id,
        project_id: demo.projectId,
        mac_address: "FA:16:3E:AA:BB:01",
        fixed_ips: [{ subnet_id: subnet.id, ip_address: "192.168.0.50" }],
        device_id: "vm/net/c1/eth0",
        device_owner: "berth:container",
        dns_name: "c1",
        status: "DOWN",
        port_security_enabled: true,
        allowed_address_pairs: [],
        revision_number: expect.any(Number),
      });
      expect((body.port.tags as string[]).toSorted()).toEqual(["a", "berth"]);
      expect(body.port.security_groups.length).toBe(1);
      expect(body.port).not.toHaveProperty("binding:host_id");
      const { body: plain } = await post({});
      expect(plain.port).toMatchObject({
        name: "",
        device_id: "",
        device_owner: "",
        mac_address: expect.stringMatching(/^fa:16:3e(:[\da-f]{2}){3}$/u),
        fixed_ips: [{ subnet_id: subnet.id, ip_address: expect.stringMatching(/^192\.168\.0\.\d+$/u) }],
      });
    });

    test("has an address of each family, unless it is told", async () => {
      const { net: both, subnet: v4 } = await stage().network();
      const v6 = await demo.make("subnet", { network_id: both.id, cidr: "fd00:0:0:8::/64", ip_version: 6 });
      const port = await demo.make("port", { network_id: both.id });
      expect(sortedTexts(port.fixed_ips, "subnet_id")).toEqual(sortedTexts([v4, v6], "id"));
      const fixed = [{ ip_address: "192.168.0.60" }, { ip_address: "FD00:0:0:8:0::60" }];
      const told = await demo.make("port", { network_id: both.id, fixed_ips: fixed });
      expect((told.fixed_ips as Json[]).map((f) => f.ip_address)).toEqual(["192.168.0.60", "fd00:0:0:8::60"]);
      const one = await demo.make("port", { network_id: both.id, fixed_ips: [{ subnet_id: v6.id }] });
      expect((one.fixed_ips as Json[]).map((f) => f.subnet_id)).toEqual([v6.id]);
      expect((await demo.make("port", { network_id: both.id, fixed_ips: [] })).fixed_ips).toEqual([]);
    });

    test("its address may be the gateway's, and must not be another's", async () => {
      await post({ fixed_ips: [{ ip_address: "192.168.0.70" }] });
      expect((await post({ fixed_ips: [{ ip_address: "192.168.0.1" }] })).status).toBe(201);
      const taken = await post({ fixed_ips: [{ ip_address: "192.168.0.70" }] });
      refused(taken, 409, "IpAddressAlreadyAllocated", /192\.168\.0\.70 already allocated in subnet/u);
    });

    test.each([
      ["in none of the subnets", "10.0.0.1"],
      ["the network's own", "192.168.0.0"],
      ["the broadcast one", "192.168.0.255"],
    ])("an address that is %s: 400 InvalidIpForNetwork, and InvalidIpForSubnet where one is named", async (_, ip) => {
      const sentence = /is not a valid IP for/u;
      const named = await post({ fixed_ips: [{ ip_address: ip, subnet_id: subnet.id }] });
      refused(named, 400, "InvalidIpForSubnet", sentence);
      if (ip.endsWith(".0")) return; // without a name the real one asks another subnet's question first
      refused(await post({ fixed_ips: [{ ip_address: ip }] }), 400, "InvalidIpForNetwork", sentence);
    });

    test("its MAC is stored as it was written, and is one port's in any case", async () => {
      const { body } = await post({ mac_address: "FA:16:3E:AA:BB:02" });
      expect(body.port.mac_address).toBe("FA:16:3E:AA:BB:02");
      refused(await post({ mac_address: "fa:16:3e:aa:bb:02" }), 409, "MacAddressInUse", /fa:16:3e:aa:bb:02 is in use/u);
      for (const query of ["mac_address=fa:16:3e:aa:bb:02", "mac_address=FA:16:3E:AA:BB:02"]) {
        expect(await demo.find(`network_id=${net.id}&${query}`)).toEqual([body.port.id]);
      }
    });

    const wrong: [string, object, RegExp][] = [
      ["a MAC", { mac_address: "zz" }, /Invalid input for mac_address\. Reason: 'zz' is not a valid MAC address/u],
      ["an address", { fixed_ips: [{ ip_address: "192.168.0.999" }] }, /'192\.168\.0\.999' is not a valid IP address/u],
      ["a subnet", { fixed_ips: [{ subnet_id: "x" }] }, /'x' is not a valid UUID/u],
      ["a device_id", { device_id: "x".repeat(256) }, /exceeds maximum length of 255/u],
      ["tags", { tags: "x" }, /Invalid input for tags/u],
      ["an attribute", { nonsense: 1 }, /Unrecognized attribute\(s\) 'nonsense'/u],
    ];
    test.each(wrong)("%s that is none: 400 HTTPBadRequest", async (_, values, message) => {
      refused(await post(values), 400, "HTTPBadRequest", message);
    });

    test("on what is not there: 404 in each one's words", async () => {
      const on = await demo.ask("POST", "/ports", { port: { network_id: NOBODY } });
      refused(on, 404, "NetworkNotFound", /could not be found/u);
      refused(await post({ fixed_ips: [{ subnet_id: NOBODY }] }), 404, "SubnetNotFound", /could not be found/u);
      refused(await post({ security_groups: [NOBODY] }), 404, "SecurityGroupNotFound", /does not exist/u);
      for (const [method, path] of [
        ["GET", `/ports/${NOBODY}`],
        ["DELETE", `/ports/${NOBODY}`],
      ] as const) {
        refused(await demo.ask(method, path), 404, "PortNotFound", /could not be found/u);
      }
      refused(await demo.put(NOBODY, { name: "x" }), 404, "PortNotFound", /could not be found/u);
    });

    test("where no address is left, of all subnets or of one that is named: 409 IpAddressGenerationFailure", async () => {
      const { net: small, subnet: named } = await stage().network("10.1.0.0/30");
      const make = async (values: object): Promise<Reply> =>
        await demo.ask("POST", "/ports", { port: { network_id: small.id, ...values } });
      expect((await make({})).status).toBe(201);
      for (const values of [{}, { fixed_ips: [{ subnet_id: named.id }] }]) {
        const sentence = /No more IP addresses available on network/u;
        refused(await make(values), 409, "IpAddressGenerationFailure", sentence);
      }
    });

    test("beyond the quota: 409 OverQuota; details say how many there are", async () => {
      const { admin, other, reader } = stage();
      const path = `/quotas/${demo.projectId}`;
      const used = (await demo.ask("GET", `${path}/details.json`)).body.quota.port.used as number;
      expect(used).toBe((await demo.find(`project_id=${demo.projectId}`)).length);
      refused(await demo.ask("PUT", path, { quota: { port: used } }), 403, "PolicyNotAuthorized", /update_quota/u);
      expect((await admin.ask("PUT", path, { quota: { port: used } })).status).toBe(200);
      refused(await post({}), 409, "OverQuota", /Quota exceeded for resources: \['port'\]/u);
      for (const by of [demo, reader]) {
        const { body } = await by.ask("GET", `${path}/details.json`);
        expect(body.quota.port).toEqual({ limit: used, used, reserved: 0 });
      }
      refused(await other.ask("GET", `${path}/details.json`), 403, "AdminRequired", /quotas for another project/u);
      expect((await admin.ask("DELETE", path)).status).toBe(204);
      expect((await post({})).status).toBe(201);
    });

    test("is another project's: 404, whatever is asked", async () => {
      const { other } = stage();
      const port = await demo.make("port", { network_id: net.id });
      refused(await other.ask("GET", `/ports/${port.id}`), 404, "PortNotFound", /could not be found/u);
      refused(await other.put(port.id, { name: "x" }), 404, "PortNotFound", /could not be found/u);
      refused(await other.ask("DELETE", `/ports/${port.id}`), 404, "PortNotFound", /could not be found/u);
      expect(await other.find(`id=${port.id}`)).toEqual([]);
      refused(await post({}, other), 404, "NetworkNotFound", /could not be found/u);
    });

    test("who has no more than the role reader looks, and does nothing else: 403, which names the rule", async () => {
      const { reader } = stage();
      const port = await demo.make("port", { network_id: net.id });
      expect(await reader.find(`id=${port.id}`)).toEqual([port.id]);
      denied(await post({}, reader), "create_port");
      denied(await reader.put(port.id, { name: "x" }), "update_port");
      denied(await reader.ask("DELETE", `/ports/${port.id}`), "delete_port");
      denied(await reader.ask("POST", "/networks", { network: {} }), "create_network");
      denied(await reader.ask("POST", "/trunks", { trunk: { port_id: port.id } }), "create_trunk");
      const trunk = await demo.make("trunk", { port_id: port.id });
      denied(await reader.ask("PUT", `/trunks/${trunk.id}/add_subports`, { sub_ports: [] }), "add_subports");
    });

    test("what only an administrator may: 403 PolicyNotAuthorized, which names the rule", async () => {
      const port = await demo.make("port", { network_id: net.id });
      const host = { "binding:host_id": "hv9" };
      refused(await post(host), 403, "PolicyNotAuthorized", /create_port:binding:host_id\) is disallowed by policy/u);
      refused(await demo.put(port.id, host), 403, "PolicyNotAuthorized", /update_port:binding:host_id/u);
      const mac = { mac_address: "fa:16:3e:aa:bb:09" };
      refused(await demo.put(port.id, mac), 403, "PolicyNotAuthorized", /update_port:mac_address/u);
      const { admin } = stage();
      expect((await admin.put(port.id, mac)).status).toBe(200);
      expect((await demo.port(port.id)).mac_address).toBe(mac.mac_address);
      const share = await demo.ask("PUT", `/networks/${net.id}`, { network: { shared: true } });
      refused(share, 403, "PolicyNotAuthorized", /update_network:shared/u);
    });

    test("on another's shared network: no own MAC, address, pairs, nor port without security: 403", async () => {
      const { admin, other } = stage();
      const shared = (await stage().network("10.3.0.0/24")).net;
      expect((await admin.ask("PUT", `/networks/${shared.id}`, { network: { shared: true } })).status).toBe(200);
      const make = async (values: object): Promise<Reply> =>
        await other.ask("POST", "/ports", { port: { network_id: shared.id, ...values } });
      const { status, body } = await make({});
      expect(status).toBe(201);
      expect(await demo.find(`id=${body.port.id}`)).toEqual([]); // nor are they its owner's to see
      for (const [rule, values] of [
        ["mac_address", { mac_address: "fa:16:3e:99:99:99" }],
        ["fixed_ips:ip_address", { fixed_ips: [{ ip_address: "10.3.0.9" }] }],
        ["port_security_enabled", { port_security_enabled: false }],
        ["allowed_address_pairs", { allowed_address_pairs: [{ ip_address: "10.3.0.9" }] }],
      ] as const) {
        const sentence = new RegExp(`create_port:${rule}.* is disallowed by policy`, "u");
        refused(await make(values), 403, "PolicyNotAuthorized", sentence);
      }
      const pairs = await other.put(body.port.id, { allowed_address_pairs: [{ ip_address: "10.3.0.9" }] });
      refused(pairs, 403, "PolicyNotAuthorized", /update_port:allowed_address_pairs/u);
    });

    test("is changed and deleted; what cannot be changed: 400", async () => {
      const port = await demo.make("port", { network_id: net.id, device_id: "a", tags: ["berth"] });
      const { body } = await demo.put(port.id, { device_id: "", device_owner: "", name: "free" });
      expect(body.port).toMatchObject({ device_id: "", device_owner: "", name: "free", tags: ["berth"] });
      for (const [key, value] of [
        ["status", "ACTIVE"],
        ["network_id", net.id],
        ["tags", ["x"]],
      ] as const) {
        const sentence = new RegExp(`Cannot update read-only attribute ${key}`, "u");
        refused(await demo.put(port.id, { [key]: value }), 400, "HTTPBadRequest", sentence);
      }
      const moved = await demo.put(port.id, { fixed_ips: [{ ip_address: "192.168.0.80" }] });
      expect(moved.body.port.fixed_ips).toEqual([{ subnet_id: subnet.id, ip_address: "192.168.0.80" }]);
      expect((await demo.ask("DELETE", `/ports/${port.id}`)).status).toBe(204);
      refused(await demo.ask("DELETE", `/ports/${port.id}`), 404, "PortNotFound", /could not be found/u);
    });

    test("with the fields that were asked for, those that it has", async () => {
      const port = await demo.make("port", { network_id: net.id });
      const { body } = await demo.ask("GET", `/ports/${port.id}?fields=id&fields=nonsense&fields=trunk_details`);
      expect(body).toEqual({ port: { id: port.id } });
    });
  });

  describe("a filter", () => {
    let own: Json;
    let first: string;
    let second: string;
    beforeAll(async () => {
      own = (await stage().network()).net;
      const make = async (values: object): Promise<Json> => await demo.make("port", { network_id: own.id, ...values });
      ({ id: first } = await make({
        name: "First",
        mac_address: "FA:16:3E:AA:CC:01",
        fixed_ips: [{ ip_address: "192.168.0.11" }],
        device_id: "Vm/1",
        device_owner: "berth:container",
        description: "Vm/net/c/eth1",
        tags: ["berth", "a"],
      }));
      ({ id: second } = await make({
        fixed_ips: [{ ip_address: "192.168.0.111" }],
        device_owner: "berth:taken",
        tags: ["b"],
      }));
    });

    test.each([
      ["", "12"],
      ["name=first", "1"],
      ["name=nobody", ""],
      ["mac_address=fa:16:3e:aa:cc:01", "1"],
      ["device_id=vm/1", "1"],
      ["device_id=vm/2", ""],
      ["device_id=vm/1&device_id=vm/2", "1"],
      ["description=vm/net/c/eth1", "1"],
      ["description=vm/net/c/eth1&description=vm/net/d/eth1", "1"],
      ["description=vm/net/c", ""],
      ["device_owner=berth:container", "1"],
      ["device_owner=berth:container&device_owner=berth:taken", "12"],
      ["device_owner=berth:container&device_id=vm/2", ""],
      ["fixed_ips=ip_address%3D192.168.0.11", "1"],
      ["fixed_ips=ip_address%3D192.168.0.11&fixed_ips=ip_address%3D192.168.0.111", "12"],
      ["fixed_ips=ip_address%3D192.168.0.1", ""],
      ["tags=berth", "1"],
      ["tags=berth,a", "1"],
      ["tags=berth,b", ""],
      ["tags-any=berth,b", "12"],
      ["not-tags=berth", "2"],
      ["status=ACTIVE", ""],
      ["status=DOWN", "12"],
    ])("%s finds %p", async (query, wanted) => {
      const ids = { "1": first, "2": second };
      const found = await demo.find(`network_id=${own.id}${query === "" ? "" : `&${query}`}`);
      expect(found).toEqual(
        wanted
          .split("")
          .map((n) => ids[n as "1" | "2"])
          .toSorted(),
      );
    });

    test("by several ids, of which some are gone", async () => {
      expect(await demo.find(`id=${first}&id=${NOBODY}`)).toEqual([first]);
      expect(await demo.find("id=no-id")).toEqual([]);
    });

    test("whose list is asked for in pieces has a link to the next", async () => {
      let query = `network_id=${own.id}&fields=name&fields=device_owner&limit=1`;
      const seen: Json[] = [];
      for (let asked = 0; query !== ""; asked++) {
        expect(asked).toBeLessThan(4);
        const { body } = await demo.ask("GET", `/ports?${query}`);
        seen.push(...body.ports);
        const next = (body.ports_links as Json[] | undefined)?.find((l) => l.rel === "next");
        if (next !== undefined) expect(next.href).toStartWith(`${demo.neutron}/ports?`);
        query = next === undefined ? "" : next.href.slice(next.href.indexOf("?") + 1);
      }
      expect(sortedTexts(seen, "device_owner")).toEqual(["berth:container", "berth:taken"]);
    });

    test("that there is not: 400", async () => {
      const sentence = /\['nonsense'\] is invalid attribute for filtering/u;
      refused(await demo.ask("GET", "/ports?nonsense=1"), 400, "HTTPBadRequest", sentence);
      refused(await demo.ask("GET", "/ports?allowed_address_pairs=1"), 400, "HTTPBadRequest", /invalid attribute/u);
      refused(await demo.ask("GET", "/ports?fixed_ips=x"), 400, "InvalidInput", /not of the form/u);
    });
  });

  describe("tags", () => {
    test("are put, looked for, replaced and removed, each once", async () => {
      const { id } = await demo.make("port", { network_id: net.id });
      const tags = async (): Promise<Json> => (await demo.ask("GET", `/ports/${id}/tags`)).body;
      expect(await tags()).toEqual({ tags: [] });
      for (let i = 0; i < 2; i++) expect((await demo.ask("PUT", `/ports/${id}/tags/berth`)).status).toBe(201);
      expect(await tags()).toEqual({ tags: ["berth"] });
      expect((await demo.ask("GET", `/ports/${id}/tags/berth`)).status).toBe(204);
      refused(await demo.ask("GET", `/ports/${id}/tags/other`), 404, "TagNotFound", /Tag other could not be found/u);
      expect((await demo.ask("PUT", `/ports/${id}/tags`, { tags: ["q", "r"] })).body).toEqual({ tags: ["q", "r"] });
      expect((await demo.ask("DELETE", `/ports/${id}/tags/q`)).status).toBe(204);
      refused(await demo.ask("DELETE", `/ports/${id}/tags/q`), 404, "TagNotFound", /could not be found/u);
      expect((await demo.ask("DELETE", `/ports/${id}/tags`)).status).toBe(204);
      expect(await tags()).toEqual({ tags: [] });
      const { other } = stage();
      refused(await other.ask("PUT", `/ports/${id}/tags/x`), 404, "TagResourceNotFound", /could not be found/u);
      refused(await demo.ask("GET", `/ports/${NOBODY}/tags`), 404, "TagResourceNotFound", /could not be found/u);
    });

    test("a new tag is a new revision, the same tag again is not", async () => {
      const { id } = await demo.make("port", { network_id: net.id });
      const revision = async (): Promise<number> => (await demo.port(id)).revision_number;
      const before = await revision();
      await demo.ask("PUT", `/ports/${id}/tags/berth`);
      const tagged = await revision();
      expect(tagged).toBeGreaterThan(before);
      await demo.ask("PUT", `/ports/${id}/tags/berth`);
      expect(await revision()).toBe(tagged);
    });
  });

  describe("a security group", () => {
    test("of the project is called default", async () => {
      const port = await demo.make("port", { network_id: net.id });
      const { body } = await demo.ask("GET", "/security-groups?name=default&fields=id&fields=name");
      expect(body).toEqual({ security_groups: [{ id: port.security_groups[0], name: "default" }] });
    });
  });
}
