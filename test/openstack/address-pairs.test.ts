import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { canonical, changedPairs } from "../../src/openstack/address-pairs.ts";

const own = "fa:16:3e:00:00:05";
const port = (...pairs: [ip: string, mac?: string][]) => ({
  mac_address: own,
  allowed_address_pairs: pairs.map(([ip_address, mac_address]) =>
    mac_address === undefined ? { ip_address } : { ip_address, mac_address },
  ),
});
const mac = "fa:16:3e:aa:bb:cc";

describe("a pair in its one form", () => {
  const forms: [string, string | undefined, string, string][] = [
    ["192.168.0.7", mac, "192.168.0.7", mac],
    ["192.168.0.7/32", mac.toUpperCase(), "192.168.0.7", mac],
    ["192.168.0.70/26", mac, "192.168.0.64/26", mac],
    ["FD00:0:0::7/128", mac, "fd00::7", mac],
    ["fd00::7:1/112", undefined, "fd00::7:0/112", own],
    ["0.0.0.0/0", mac, "0.0.0.0/0", mac],
  ];
  test.each(forms)("%s %s", (ip_address, mac_address, ip, canonicalMac) => {
    const pair = mac_address === undefined ? { ip_address } : { ip_address, mac_address };
    expect(canonical(pair, own)).toEqual({ ip, mac: canonicalMac });
  });
});

describe("a list of pairs", () => {
  test("what is there in another spelling is not added again, and is found when it is removed", () => {
    const before = port(["192.168.0.7/32", mac.toUpperCase()], ["10.0.0.1"]);
    expect(changedPairs(before, [{ ip: "192.168.0.7", mac }], [])).toBeUndefined();
    expect(changedPairs(before, [], [{ ip: "192.168.0.7", mac }])).toEqual([{ ip_address: "10.0.0.1" }]);
    expect(changedPairs(before, [], [{ ip: "10.0.0.1", mac: own }])).toEqual([
      { ip_address: "192.168.0.7/32", mac_address: mac.toUpperCase() },
    ]);
    expect(changedPairs(before, [], [{ ip: "10.0.0.1", mac }])).toBeUndefined();
  });

  test("others' pairs stay as they are written, in their order, whatever is added and removed", () => {
    const hex = fc.integer({ min: 0, max: 255 }).map((n) => n.toString(16).padStart(2, "0"));
    const anyMac = fc.array(hex, { minLength: 3, maxLength: 3 }).map((tail) => `fa:16:3e:${tail.join(":")}`);
    const ip = fc.integer({ min: 1, max: 30 }).map((n) => `192.168.0.${n}`);
    const pair = fc.record({ ip, mac: anyMac });
    const stored = fc.record({
      ip_address: fc.oneof(
        ip,
        ip.map((i) => `${i}/32`),
        ip.map((i) => `${i}/24`),
      ),
      mac_address: fc.oneof(
        anyMac,
        anyMac.map((m) => m.toUpperCase()),
      ),
    });
    fc.assert(
      fc.property(fc.array(stored, { maxLength: 12 }), fc.array(pair), fc.array(pair), (pairs, add, remove) => {
        const given = { mac_address: own, allowed_address_pairs: pairs };
        const is = (
          p: { ip_address: string; mac_address?: string },
          all: readonly { ip: string; mac: string }[],
        ): boolean => {
          const c = canonical(p, own);
          return all.some((a) => a.ip === c.ip && a.mac === c.mac);
        };
        const after = changedPairs(given, add, remove) ?? pairs;
        expect(after.slice(0, pairs.filter((p) => !is(p, remove)).length)).toEqual(pairs.filter((p) => !is(p, remove)));
        for (const wanted of add) {
          expect(after.filter((p) => is(p, [wanted])).length).toBeGreaterThanOrEqual(1);
        }
        for (const gone of remove) {
          if (!add.some((a) => a.ip === gone.ip && a.mac === gone.mac))
            expect(after.some((p) => is(p, [gone]))).toBe(false);
        }
        // made twice is made once
        expect(changedPairs({ mac_address: own, allowed_address_pairs: after }, add, [])).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });
});
