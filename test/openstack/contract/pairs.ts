// What Berth relies on of revisions and allowed address pairs.
import { beforeAll, describe, expect, test } from "bun:test";
import { type Json, refused, type Reply, sortedTexts, type Stage, type User } from "./users.ts";

/** So many pairs of the port's MAC. */
function somePairs(count: number): object[] {
  return Array.from({ length: count }, (_, i) => ({ ip_address: `192.168.0.${100 + i}` }));
}

/** Declares the tests. */
export function declarePairs(stage: Stage): void {
  let demo: User;
  let net: Json;
  beforeAll(async () => {
    ({ demo } = stage());
    ({ net } = await stage().network());
  });
  const make = async (values: object = {}): Promise<Json> => await demo.make("port", { network_id: net.id, ...values });
  const setPairs = async (id: string, pairs: unknown, revision?: number): Promise<Reply> =>
    await demo.put(id, { allowed_address_pairs: pairs }, revision);

  describe("a revision", () => {
    test("is new after every PUT, also one that changes nothing", async () => {
      const { id } = await make();
      const pairs = [{ ip_address: "192.168.0.7", mac_address: "fa:16:3e:00:00:aa" }];
      let before = (await demo.port(id)).revision_number as number;
      for (const values of [{ allowed_address_pairs: pairs }, { allowed_address_pairs: pairs }, { name: "" }, {}]) {
        expect((await demo.put(id, values)).status).toBe(200);
        const after = (await demo.port(id)).revision_number as number;
        expect(after).toBeGreaterThan(before);
        before = after;
      }
    });

    test("If-Match: another than the present one is 412, and nothing is changed or deleted", async () => {
      const { id } = await make();
      const before = await demo.port(id);
      await demo.put(id, { name: "new" });
      const stale = before.revision_number as number;
      const sentence = new RegExp(`Constrained to ${stale}, but current revision is \\d+`, "u");
      const type = "RevisionNumberConstraintFailed";
      refused(await setPairs(id, [{ ip_address: "192.168.0.7" }], stale), 412, type, sentence);
      const headers = { "if-match": `revision_number=${stale}` };
      refused(await demo.ask("DELETE", `/ports/${id}`, undefined, headers), 412, type, sentence);
      const now = await demo.port(id);
      expect(now).toMatchObject({ name: "new", allowed_address_pairs: [] });
      expect((await setPairs(id, [{ ip_address: "192.168.0.7" }], now.revision_number)).status).toBe(200);
      refused(await setPairs(id, [], now.revision_number), 412, type, /Constrained/u);
      const wrong = await demo.ask("PUT", `/ports/${id}`, { port: {} }, { "if-match": "revision_number=x" });
      refused(wrong, 400, "BadRequest", /revision_number=<int>/u);
    });

    test("without If-Match, of two who read the same and write one after the other, the first one's pair is lost", async () => {
      const { id } = await make();
      const [a, b] = [{ ip_address: "192.168.0.7" }, { ip_address: "192.168.0.8" }];
      const seen = (await demo.port(id)).allowed_address_pairs as Json[];
      expect((await setPairs(id, [...seen, a])).status).toBe(200);
      expect((await setPairs(id, [...seen, b])).status).toBe(200);
      expect(((await demo.port(id)).allowed_address_pairs as Json[]).map((p) => p.ip_address)).toEqual(["192.168.0.8"]);
    });

    test("with If-Match, of several who add a pair at once, each gets it in when it tries until it is not refused", async () => {
      const { id } = await make();
      const writers = Array.from({ length: 5 }, (_, i) => `192.168.0.${100 + i}`);
      await Promise.all(
        writers.map(async (ip_address) => {
          for (let tried = 0; ; tried++) {
            const { allowed_address_pairs: pairs, revision_number: revision } = await demo.port(id);
            const { status } = await setPairs(id, [...pairs, { ip_address }], revision);
            if (status === 200) return;
            expect(status).toBe(412);
            await Bun.sleep(20 * (tried + 1) * Math.random());
          }
        }),
      );
      const { allowed_address_pairs: pairs } = await demo.port(id);
      expect(sortedTexts(pairs, "ip_address")).toEqual(writers);
    });
  });

  describe("allowed address pairs", () => {
    test("are stored as written, in the order of MAC and address; without a MAC it is the port's", async () => {
      const port = await make({ mac_address: "fa:16:3e:7d:13:02" });
      const { status } = await setPairs(port.id, [
        { ip_address: "192.168.0.77/26" },
        { ip_address: "FD00:0:0:7:0::9" },
        { ip_address: "192.168.0.7/32", mac_address: "fa:16:3e:00:00:aa" },
        { ip_address: "192.168.0.7", mac_address: "FA:16:3E:00:00:AA" },
      ]);
      expect(status).toBe(200);
      expect((await demo.port(port.id)).allowed_address_pairs).toEqual([
        { mac_address: "FA:16:3E:00:00:AA", ip_address: "192.168.0.7" },
        { mac_address: "fa:16:3e:00:00:aa", ip_address: "192.168.0.7/32" },
        { mac_address: "fa:16:3e:7d:13:02", ip_address: "192.168.0.77/26" },
        { mac_address: "fa:16:3e:7d:13:02", ip_address: "FD00:0:0:7:0::9" },
      ]);
    });

    test("a PUT replaces them all; null is none; the port's own address may be one", async () => {
      const port = await make();
      const own = { ip_address: port.fixed_ips[0].ip_address, mac_address: port.mac_address };
      await setPairs(port.id, [{ ip_address: "192.168.0.7" }]);
      expect((await setPairs(port.id, [own])).body.port.allowed_address_pairs).toEqual([own]);
      expect((await setPairs(port.id, null)).status).toBe(200);
      expect((await demo.port(port.id)).allowed_address_pairs).toEqual([]);
    });

    const twice = "DuplicateAddressPairInRequest";
    const refusals: [string, unknown, string, RegExp][] = [
      ["the same twice", [{ ip_address: "10.0.0.7" }, { ip_address: "10.0.0.7" }], twice, /duplicate address pair/u],
      [
        "the same in another case",
        [
          { ip_address: "10.0.0.7", mac_address: "FA:16:3E:00:00:AA" },
          { ip_address: "10.0.0.7", mac_address: "fa:16:3e:00:00:aa" },
        ],
        twice,
        /mac_address fa:16:3e:00:00:aa ip_address 10\.0\.0\.7/u,
      ],
      ["an address that is none", [{ ip_address: "x" }], "HTTPBadRequest", /'x' is not a valid IP/u],
      ["a MAC that is none", [{ ip_address: "10.0.0.7", mac_address: "x" }], "HTTPBadRequest", /not a valid MAC/u],
      [
        "no address",
        [{ mac_address: "fa:16:3e:00:00:aa" }],
        "AllowedAddressPairsMissingIP",
        /must contain ip_address/u,
      ],
      ["another key", [{ ip_address: "10.0.0.7", x: 1 }], "HTTPBadRequest", /Unrecognized attribute\(s\) 'x'/u],
      ["no list", "x", "HTTPBadRequest", /must be a list/u],
    ];
    test.each(refusals)("%s: 400", async (_, pairs, type, message) => {
      const { id } = await make();
      refused(await setPairs(id, pairs), 400, type, message);
      expect((await demo.port(id)).allowed_address_pairs).toEqual([]);
    });

    test("ten are taken, eleven are not: 400 AllowedAddressPairExhausted, and the ten stay", async () => {
      const { id } = await make();
      expect((await setPairs(id, somePairs(10))).status).toBe(200);
      refused(await setPairs(id, somePairs(11)), 400, "AllowedAddressPairExhausted", /exceeds the maximum 10/u);
      expect((await demo.port(id)).allowed_address_pairs.length).toBe(10);
    });

    test("need port security: 409 AddressPairAndPortSecurityRequired without it", async () => {
      const type = "AddressPairAndPortSecurityRequired";
      const sentence = /Port Security must be enabled/u;
      const open = await make({ port_security_enabled: false });
      expect(open).toMatchObject({ port_security_enabled: false, security_groups: [] });
      refused(await setPairs(open.id, [{ ip_address: "192.168.0.8" }]), 409, type, sentence);
      expect((await setPairs(open.id, [])).status).toBe(200);
      const pairs = [{ ip_address: "192.168.0.8" }];
      const asked = { network_id: net.id, port_security_enabled: false, allowed_address_pairs: pairs };
      refused(await demo.ask("POST", "/ports", { port: asked }), 409, type, sentence);
      const closed = await make({ allowed_address_pairs: pairs });
      const off = { port_security_enabled: false, security_groups: [] };
      refused(await demo.put(closed.id, off), 409, type, sentence);
      const without = await demo.put(closed.id, { ...off, allowed_address_pairs: [] });
      expect(without.body.port).toMatchObject({ port_security_enabled: false, allowed_address_pairs: [] });
      const network2 = (await stage().network("10.4.0.0/24", { port_security_enabled: false })).net;
      expect(await demo.make("port", { network_id: network2.id })).toMatchObject({ port_security_enabled: false });
    });

    test("are a member's to change, not a reader's, and another project's not at all", async () => {
      const { reader, other } = stage();
      const { id } = await make();
      const pairs = { allowed_address_pairs: [{ ip_address: "192.168.0.8" }] };
      refused(await reader.put(id, pairs), 403, "PolicyNotAuthorized", /update_port.* is disallowed by policy/u);
      refused(await other.put(id, pairs), 404, "PortNotFound", /could not be found/u);
      expect((await demo.put(id, pairs)).status).toBe(200);
    });
  });
}
