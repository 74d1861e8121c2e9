import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Address4, Address6 } from "ip-address";
import {
  type Cidr,
  contains,
  formatCidr,
  hostCidr,
  lastOf,
  networkOf,
  overlaps,
  parseCidr,
} from "../../src/address/cidr.ts";
import { ipFromBigInt, ipFromBytes, ipToBigInt } from "../../src/address/ip.ts";

const cidr4 = fc
  .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.nat(32))
  .map(([b, prefix]): Cidr => ({ ip: ipFromBytes(b), prefix }));
const cidr6 = fc
  .tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(128))
  .map(([b, prefix]): Cidr => ({ ip: ipFromBytes(b), prefix }));
const cidr = fc.oneof(cidr4, cidr6);

/** First and last address as the oracle has them. */
function oracle(c: Cidr): { first: bigint; last: bigint } {
  const a = c.ip.includes(":") ? new Address6(formatCidr(c)) : new Address4(formatCidr(c));
  return { first: a.startAddress().bigInt(), last: a.endAddress().bigInt() };
}

describe("text", () => {
  test.each([
    ["192.168.122.177/24", { ip: "192.168.122.177", prefix: 24 }],
    ["0.0.0.0/0", { ip: "0.0.0.0", prefix: 0 }],
    ["10.0.0.1/32", { ip: "10.0.0.1", prefix: 32 }],
    ["2001:DB8::1/64", { ip: "2001:db8::1", prefix: 64 }],
    ["::/0", { ip: "::", prefix: 0 }],
    ["::ffff:1.2.3.4/128", { ip: "::ffff:1.2.3.4", prefix: 128 }],
  ])("%s", (text, expected) => {
    expect(parseCidr(text)).toEqual(expected);
  });

  test.each([
    "",
    "/24",
    "10.0.0.1",
    "10.0.0.1/",
    "10.0.0.1/33",
    "::1/129",
    "::1/1000",
    "10.0.0.1/-1",
    "10.0.0.1/+1",
    "10.0.0.1/024",
    "10.0.0.1/2.4",
    "10.0.0.1/1e1",
    "10.0.0.1/ 24",
    "10.0.0.1/24 ",
    "10.0.0.1/24/24",
    "10.0.0.1/255.255.255.0",
    "010.0.0.1/24",
    "fe80::1%eth0/64",
    "10.0.0/24",
  ])("%j is none", (text) => {
    expect(parseCidr(text)).toBeUndefined();
  });

  test("what is written is read again", () => {
    fc.assert(fc.property(cidr, (c) => expect(parseCidr(formatCidr(c))).toEqual(c)));
  });

  test("an address alone", () => {
    expect(hostCidr("10.0.0.1")).toEqual({ ip: "10.0.0.1", prefix: 32 });
    expect(hostCidr("::1")).toEqual({ ip: "::1", prefix: 128 });
  });
});

describe("arithmetic", () => {
  test("first and last address are the oracle's", () => {
    fc.assert(
      fc.property(cidr, (c) => {
        const { first, last } = oracle(c);
        expect(ipToBigInt(networkOf(c).ip)).toBe(first);
        expect(networkOf(c).prefix).toBe(c.prefix);
        expect(ipToBigInt(lastOf(c))).toBe(last);
      }),
      { numRuns: 500 },
    );
  });

  test("a subnet contains exactly what lies between them", () => {
    const offset = fc.bigInt(-3n, 3n);
    fc.assert(
      fc.property(cidr, fc.boolean(), offset, (c, atEnd, by) => {
        const { first, last } = oracle(c);
        const family = c.ip.includes(":") ? 6 : 4;
        const value = (atEnd ? last : first) + by;
        if (value < 0n || value >> (family === 4 ? 32n : 128n) > 0n) return;
        expect(contains(c, ipFromBigInt(value, family))).toBe(value >= first && value <= last);
      }),
      { numRuns: 1000 },
    );
  });

  test("two subnets overlap where they share an address", () => {
    const near = fc
      .tuple(cidr, fc.nat(128), fc.bigInt(-1n, 1n))
      .filter(([c, p]) => c.ip.includes(":") || p <= 32)
      .map(([c, prefix, by]): [Cidr, Cidr] => {
        const family = c.ip.includes(":") ? 6 : 4;
        const size = 1n << BigInt(family === 4 ? 32 : 128);
        const neighbour = (((oracle(c).last + by) % size) + size) % size;
        return [c, { ip: ipFromBigInt(neighbour, family), prefix }];
      });
    fc.assert(
      fc.property(near, ([a, b]) => {
        const [x, y] = [oracle(a), oracle(b)];
        const shared = x.first <= y.last && y.first <= x.last;
        expect(overlaps(a, b)).toBe(shared);
        expect(overlaps(b, a)).toBe(shared);
      }),
      { numRuns: 1000 },
    );
  });

  test("families have nothing in common", () => {
    const [all4, all6] = [
      { ip: "0.0.0.0", prefix: 0 },
      { ip: "::", prefix: 0 },
    ];
    expect(contains(all4, "::1")).toBe(false);
    expect(contains(all6, "1.2.3.4")).toBe(false);
    expect(overlaps(all4, all6)).toBe(false);
    expect(contains({ ip: "::ffff:0.0.0.0", prefix: 96 }, "1.2.3.4")).toBe(false);
  });
});
