import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { isIP } from "node:net";
import { Address4, Address6 } from "ip-address";
import {
  ipFamily,
  ipFromBigInt,
  ipFromBytes,
  ipToBigInt,
  ipToBytes,
  isLinkLocal,
  isUnspecified,
  parseIp,
} from "../../src/address/ip.ts";

const bytes4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
/** Groups of zeros are what canonical text is difficult about: half of all groups. */
const bytes6 = fc
  .array(fc.oneof(fc.constant(0), fc.constant(1), fc.constant(0xffff), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 0xff])));
const bytes = fc.oneof(bytes4, bytes6);

const hex = (b: Uint8Array): string => Buffer.from(b).toString("hex");

describe("canonical text", () => {
  const canonical: [string, string][] = [
    ["192.168.122.177", "192.168.122.177"],
    ["0.0.0.0", "0.0.0.0"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:0db8::0001", "2001:db8::1"],
    // RFC 5952 section 4.2.2: one group of zeros is written out
    ["2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    // section 4.2.3: the longest run, the first of equals
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["0:0:1:0:0:0:0:0", "0:0:1::"],
    ["::", "::"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["1::", "1::"],
    // section 5, and the same address in every way to write it
    ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
    ["::FFFF:1.2.3.4", "::ffff:1.2.3.4"],
    ["::ffff:102:304", "::ffff:1.2.3.4"],
    ["0:0:0:0:0:ffff:1.2.3.4", "::ffff:1.2.3.4"],
    ["::ffff:0:0", "::ffff:0.0.0.0"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["1:2:3:4:5:6:7.8.9.10", "1:2:3:4:5:6:708:90a"],
    ["::1.2.3.4", "::102:304"],
  ];
  test.each(canonical)("%s is written %s", (text, expected) => {
    expect(parseIp(text)).toBe(expected);
  });

  test.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "010.1.2.3",
    "10.1.-1.7",
    "1.2.3.-0",
    "::ffff:1.2.-3.4",
    "1.2.3.04",
    "0x1.2.3.4",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.4\n",
    "1.2.3.4/24",
    "１.2.3.4",
    "fe80::1%eth0",
    "::1/128",
    "::1\n",
    ":",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "12345::",
    "g::",
    "1:",
    ":1",
    "::1.2.3",
    "::1.2.3.256",
    "::01.2.3.4",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "1:::1.2.3.4",
    "1:2:3:4:5:6:7:1.2.3.4",
    "[::1]",
  ])("%j is no address", (text) => {
    expect(parseIp(text)).toBeUndefined();
  });

  test("is what parsing it again gives", () => {
    fc.assert(
      fc.property(bytes, (b) => {
        const text = ipFromBytes(b);
        expect(parseIp(text)).toBe(text);
        expect(hex(ipToBytes(text))).toBe(hex(b));
        expect(ipFamily(text)).toBe(b.length === 4 ? 4 : 6);
      }),
    );
  });

  test("what is accepted is an address to the runtime too, however it was spoilt", () => {
    const sign = fc.constantFrom(..."0123456789af.:-+e /%".split(""));
    const spoilt = fc
      .tuple(bytes, fc.array(fc.tuple(fc.nat(40), fc.nat(2), sign), { minLength: 1, maxLength: 3 }))
      .map(([b, changes]) =>
        changes.reduce((text, [at, length, by]) => text.slice(0, at) + by + text.slice(at + length), ipFromBytes(b)),
      );
    fc.assert(
      fc.property(spoilt, (text) => {
        if (parseIp(text) !== undefined) expect([text, isIP(text)]).toEqual([text, text.includes(":") ? 6 : 4]);
      }),
      { numRuns: 20_000 },
    );
  });

  test("IPv6 is what the oracle writes, apart from IPv4-mapped addresses", () => {
    fc.assert(
      fc.property(bytes6, (b) => {
        const text = ipFromBytes(b);
        const isMapped = b.slice(0, 10).every((byte) => byte === 0) && b[10] === 0xff && b[11] === 0xff;
        if (isMapped) expect(text).toBe(`::ffff:${b.slice(12).join(".")}`);
        else expect(text).toBe(Address6.fromByteArray([...b]).correctForm());
      }),
      { numRuns: 1000 },
    );
  });

  test("any way to write an IPv6 address is read as the same one", () => {
    fc.assert(
      fc.property(bytes6, (b) => {
        const text = ipFromBytes(b);
        const oracle = Address6.fromByteArray([...b]);
        expect(parseIp(oracle.canonicalForm())).toBe(text);
        expect(parseIp(oracle.canonicalForm().toUpperCase())).toBe(text);
        expect(parseIp(oracle.to4in6())).toBe(text);
      }),
      { numRuns: 1000 },
    );
  });

  test("arbitrary text is read as the oracle reads it, or refused", () => {
    const alphabet = fc.constantFrom(..."0123456789abcdefF:.% /".split(""), "::", "1.2.3.4", "ffff");
    fc.assert(
      fc.property(fc.array(alphabet, { maxLength: 20 }), (parts) => {
        const text = parts.join("");
        const ip = parseIp(text);
        if (ip === undefined) return;
        expect(text.includes(":") ? Address6.isValid(text) : Address4.isValid(text)).toBe(true);
        expect(ip.includes(":") ? new Address6(text).bigInt() : new Address4(text).bigInt()).toBe(ipToBigInt(ip));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("numbers", () => {
  test("are the oracle's, both ways", () => {
    fc.assert(
      fc.property(bytes, (b) => {
        const ip = ipFromBytes(b);
        const value = BigInt(`0x${hex(b)}`);
        expect(ipToBigInt(ip)).toBe(value);
        expect(ipFromBigInt(value, ipFamily(ip))).toBe(ip);
        expect(b.length === 4 ? new Address4(ip).bigInt() : new Address6(ip).bigInt()).toBe(value);
      }),
    );
  });

  test("outside a family are refused", () => {
    expect(() => ipFromBigInt(1n << 32n, 4)).toThrow(RangeError);
    expect(() => ipFromBigInt(1n << 128n, 6)).toThrow(RangeError);
    expect(() => ipFromBigInt(-1n, 4)).toThrow(RangeError);
    expect(ipFromBigInt(1n << 32n, 6)).toBe("::1:0:0");
  });

  test("of bytes that are neither 4 nor 16 are refused", () => {
    expect(() => ipFromBytes(new Uint8Array(5))).toThrow("4 or 16 bytes, not 5");
  });

  test("a view into a larger buffer is read at its place", () => {
    const buffer = new Uint8Array(40).fill(7);
    expect(ipFromBytes(buffer.subarray(3, 7))).toBe("7.7.7.7");
    expect(ipFromBytes(buffer.subarray(3, 19))).toBe("707:707:707:707:707:707:707:707");
  });
});

test("unspecified addresses", () => {
  expect(["0.0.0.0", "::", "0.0.0.1", "::1"].map(isUnspecified)).toEqual([true, true, false, false]);
});

test("link-local addresses", () => {
  expect(["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1", "fe80:1::"].map(isLinkLocal)).not.toContain(false);
  expect(["169.253.0.1", "16.254.1.1", "fec0::1", "fe7f::1", "fe8::1", "::fe80:1"].map(isLinkLocal)).not.toContain(
    true,
  );
});
