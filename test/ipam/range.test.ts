import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Address4 } from "ip-address";
import { ipFromBigInt, ipToBigInt } from "../../src/address/ip.ts";
import { rangeSetsOf } from "../../src/ipam/host-local.ts";
import {
  type Candidate,
  findCandidate,
  checkDisjoint,
  type RangeConfig,
  type RangeSet,
  rangeOf,
  sizeOf,
  toRange,
  toRangeSet,
} from "../../src/ipam/range.ts";
import { Failure } from "../../src/report/failure.ts";

function refusal(f: () => unknown): Failure {
  try {
    f();
  } catch (e) {
    if (e instanceof Failure) return e;
    throw e;
  }
  throw new Error("it was not refused");
}

function bounds(config: RangeConfig): [start: string, end: string, gateway: string] {
  const { start, end, gateway } = toRange(config);
  const family = config.subnet.includes(":") ? 6 : 4;
  return [ipFromBigInt(start, family), ipFromBigInt(end, family), gateway];
}

describe("defaults", () => {
  test.each([
    ["192.168.122.0/24", "192.168.122.1", "192.168.122.254", "192.168.122.1"],
    ["10.0.0.0/30", "10.0.0.1", "10.0.0.2", "10.0.0.1"],
    ["10.0.0.0/8", "10.0.0.1", "10.255.255.254", "10.0.0.1"],
    ["2001:db8::/64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1"],
    ["2001:db8::/126", "2001:db8::1", "2001:db8::3", "2001:db8::1"],
  ])("of %s", (subnet, start, end, gateway) => {
    expect(bounds({ subnet })).toEqual([start, end, gateway]);
  });

  test("give way to what is stated", () => {
    const stated = { subnet: "10.0.0.0/24", rangeStart: "10.0.0.10", rangeEnd: "10.0.0.20", gateway: "10.0.0.254" };
    expect(bounds(stated)).toEqual(["10.0.0.10", "10.0.0.20", "10.0.0.254"]);
  });

  test("an IPv6 gateway may be link-local", () => {
    expect(toRange({ subnet: "2001:db8::/64", gateway: "FE80::1" }).gateway).toBe("fe80::1");
  });
});

describe("refused, naming the value and what is allowed:", () => {
  const cases: [RangeConfig, value: string, allowed: string][] = [
    [{ subnet: "10.0.0.0" }, "10.0.0.0", "192.168.122.0/24"],
    [{ subnet: "10.0.0.1/24" }, "10.0.0.1/24", "10.0.0.0/24"],
    [{ subnet: "2001:db8::1/64" }, "2001:db8::1/64", "2001:db8::/64"],
    [{ subnet: "10.0.0.0/31" }, "10.0.0.0/31", "30 or less"],
    [{ subnet: "10.0.0.0/32" }, "10.0.0.0/32", "30 or less"],
    [{ subnet: "2001:db8::/127" }, "2001:db8::/127", "126 or less"],
    [{ subnet: "10.0.0.0/24", rangeStart: "10.0.1.1" }, "10.0.1.1", "10.0.0.1 to 10.0.0.254"],
    [{ subnet: "10.0.0.0/24", rangeEnd: "9.255.255.255" }, "9.255.255.255", "10.0.0.1 to 10.0.0.254"],
    [{ subnet: "10.0.0.0/24", rangeStart: "::1" }, "::1", "10.0.0.1 to 10.0.0.254"],
    [{ subnet: "10.0.0.0/24", rangeStart: "10.0.0.300" }, "10.0.0.300", "10.0.0.1 to 10.0.0.254"],
    [{ subnet: "10.0.0.0/24", rangeStart: "10.0.0.9", rangeEnd: "10.0.0.8" }, "10.0.0.9", "10.0.0.1 to 10.0.0.254"],
    [{ subnet: "10.0.0.0/24", rangeStart: "10.0.0.255" }, "10.0.0.255", "10.0.0.1 to 10.0.0.254"],
    [{ subnet: "10.0.0.0/24", gateway: "10.0.1.1" }, "10.0.1.1", "in that subnet"],
    [{ subnet: "10.0.0.0/24", gateway: "169.254.1.1" }, "169.254.1.1", "in that subnet"],
    [{ subnet: "10.0.0.0/24", gateway: "fe80::1" }, "fe80::1", "in that subnet"],
    [{ subnet: "2001:db8::/64", gateway: "2001:db9::1" }, "2001:db9::1", "link-local"],
    [{ subnet: "2001:db8::/64", gateway: "nonsense" }, "nonsense", "in that subnet"],
  ];
  test.each(cases)("%j", (config, value, allowed) => {
    const failure = refusal(() => toRange(config));
    expect(failure.reason).toBe("config");
    expect(failure.message).toContain(value);
    expect(failure.advice).toContain(allowed);
  });

  test("an empty set, a set of two families, no ranges at all", () => {
    expect(refusal(() => toRangeSet([])).reason).toBe("config");
    expect(refusal(() => toRangeSet([{ subnet: "10.0.0.0/24" }, { subnet: "2001:db8::/64" }])).message).toContain(
      "family",
    );
    expect(refusal(() => rangeSetsOf({ type: "host-local" }, [])).message).toContain("neither subnet nor ranges");
  });

  test("overlaps, in one set and between sets", () => {
    const [a, b] = [{ subnet: "10.0.0.0/24" }, { subnet: "10.0.0.0/16", rangeStart: "10.0.0.254" }];
    for (const failure of [
      refusal(() => toRangeSet([a, b])),
      refusal(() => checkDisjoint([toRangeSet([a]), toRangeSet([b])])),
    ]) {
      expect(failure.reason).toBe("config");
      expect(failure.message).toContain("10.0.0.1–10.0.0.254");
    }
    // one subnet for two ranges is no overlap
    toRangeSet([
      { subnet: "10.0.0.0/24", rangeEnd: "10.0.0.99" },
      { subnet: "10.0.0.0/24", rangeStart: "10.0.0.100" },
    ]);
  });
});

test("sets come in the standard plugin's order: the capability's, the short form, ranges", () => {
  const sets = rangeSetsOf(
    { type: "host-local", subnet: "10.2.0.0/24", gateway: "10.2.0.9", ranges: [[{ subnet: "10.3.0.0/24" }]] },
    [[{ subnet: "10.1.0.0/24" }]],
  );
  expect(sets.map((set) => set.map((r) => r.gateway))).toEqual([["10.1.0.1"], ["10.2.0.9"], ["10.3.0.1"]]);
});

/** Every address in turn, by the simplest means. */
function naive(configs: readonly RangeConfig[], last: string | undefined): string[] {
  const gateways = new Set(configs.map((c) => c.gateway));
  const all = configs.flatMap(({ rangeStart = "", rangeEnd = "" }) => {
    const [first, end] = [new Address4(rangeStart).bigInt(), new Address4(rangeEnd).bigInt()];
    return Array.from({ length: Number(end - first) + 1 }, (_, i) => Address4.fromBigInt(first + BigInt(i)).address);
  });
  const at = last === undefined ? -1 : all.indexOf(last);
  return [...all.slice(at + 1), ...all.slice(0, at + 1)].filter((ip) => !gateways.has(ip));
}

/** All addresses in the order in which they are tried. */
function tried(set: RangeSet, last: string | undefined): Candidate[] {
  const all: Candidate[] = [];
  expect(findCandidate(set, last, (candidate) => all.push(candidate) === 0)).toBeUndefined();
  return all;
}

describe("order of handing out", () => {
  /** One to three small ranges without overlaps, with gateways in and out of them. */
  const rangeSet = fc
    .array(
      fc.record({ from: fc.integer({ min: 0, max: 60 }), length: fc.integer({ min: 0, max: 3 }), gateway: fc.nat(63) }),
      {
        minLength: 1,
        maxLength: 3,
      },
    )
    .map((list) =>
      list.map(({ from, length, gateway }, i): RangeConfig => {
        const ip = (n: number): string => `10.0.${i}.${n}`;
        return { subnet: `10.0.${i}.0/26`, rangeStart: ip(from), rangeEnd: ip(from + length), gateway: ip(gateway) };
      }),
    );

  test("is round robin through all ranges, without gateways, as the naive oracle has it", () => {
    fc.assert(
      fc.property(rangeSet, fc.integer({ min: 0, max: 2 }), fc.nat(66), (configs, subnet, host) => {
        const set = toRangeSet(configs);
        const last = `10.0.${subnet}.${host}`;
        for (const from of [last, undefined, "2001:db8::1"]) {
          const order = naive(configs, from);
          expect(tried(set, from).map(({ ip }) => ip)).toEqual(order);
          expect(sizeOf(set)).toBe(BigInt(order.length));
        }
        for (const { ip, range } of tried(set, last)) expect(rangeOf(set, ip)).toBe(range);
      }),
      { numRuns: 1000 },
    );
  });

  test("a large range is not walked before it is needed", () => {
    const set = toRangeSet([{ subnet: "2001:db8::/64" }]);
    const next = findCandidate(set, "2001:db8::ffff:ffff:ffff:fffe", () => true);
    expect(next?.ip).toBe("2001:db8::ffff:ffff:ffff:ffff");
    expect(findCandidate(set, "2001:db8::ffff:ffff:ffff:ffff", () => true)?.ip).toBe("2001:db8::2");
    expect(sizeOf(set)).toBe((1n << 64n) - 2n);
  });

  test("a range up to the last address of all ends there", () => {
    const set = toRangeSet([
      { subnet: "255.255.255.252/30", rangeStart: "255.255.255.254", rangeEnd: "255.255.255.255" },
    ]);
    expect(tried(set, undefined).map(({ ip }) => ip)).toEqual(["255.255.255.254", "255.255.255.255"]);
    expect(rangeOf(set, ipFromBigInt(ipToBigInt("255.255.255.253"), 4))).toBeUndefined();
  });
});
