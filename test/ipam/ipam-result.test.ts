import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseCidr } from "../../src/address/cidr.ts";
import { readResult } from "../../src/ipam/ipam-result.ts";
import { Failure } from "../../src/report/failure.ts";

describe("results", () => {
  test("whatever an answer holds, it is an allocation or a failure", () => {
    const keys = ["ips", "ip4", "ip6", "routes", "dns", "address", "gateway", "dst", "gw", "ip", "nameservers", "mtu"];
    const { answer } = fc.letrec<{ answer: Record<string, unknown> }>((tie) => ({
      answer: fc.dictionary(
        fc.constantFrom(...keys),
        fc.oneof(
          { maxDepth: 3, withCrossShrink: true },
          fc.constantFrom("10.0.0.1/8", "10.0.0.1", "::1/64", "", null, 5, true),
          fc.array(tie("answer"), { maxLength: 3 }),
          tie("answer"),
        ),
      ),
    }));
    fc.assert(
      fc.property(answer, (json) => {
        try {
          for (const { address } of readResult(json).ips) expect(parseCidr(address)).toBeDefined();
        } catch (e) {
          expect(e).toBeInstanceOf(Failure);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("of version 0.3.0 to 1.1.0", () => {
    expect(
      readResult({
        cniVersion: "1.1.0",
        ips: [
          { version: "4", address: "10.0.0.5/24", gateway: "10.0.0.1" },
          { address: "2001:DB8::5/64", gateway: null },
        ],
        routes: [
          { dst: "0.0.0.0/0" },
          { dst: "::/0", gw: "fe80::1", mtu: 1400, advmss: 1360, priority: 7, table: 9, scope: 0 },
        ],
        dns: { nameservers: ["192.0.2.53"], domain: "lan", search: ["lan"], options: ["ndots:1"] },
      }),
    ).toEqual({
      ips: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }, { address: "2001:db8::5/64" }],
      routes: [
        { dst: "0.0.0.0/0" },
        { dst: "::/0", gw: "fe80::1", mtu: 1400, advmss: 1360, priority: 7, table: 9, scope: 0 },
      ],
      dns: { nameservers: ["192.0.2.53"], domain: "lan", search: ["lan"], options: ["ndots:1"] },
    });
  });

  test("of version 0.1.0 and 0.2.0", () => {
    expect(
      readResult({
        cniVersion: "0.2.0",
        ip4: { ip: "10.0.0.5/24", gateway: "10.0.0.1", routes: [{ dst: "0.0.0.0/0" }] },
        ip6: { ip: "2001:db8::5/64", routes: [{ dst: "::/0", gw: "2001:db8::1" }] },
        dns: {},
      }),
    ).toEqual({
      ips: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }, { address: "2001:db8::5/64" }],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0", gw: "2001:db8::1" }],
      dns: {},
    });
  });
});
