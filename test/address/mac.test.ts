import { expect, test } from "bun:test";
import fc from "fast-check";
import { macFromBytes, macToBytes, parseMac, randomMac } from "../../src/address/mac.ts";

const six = fc.uint8Array({ minLength: 6, maxLength: 6 });

test("any way to write a MAC is read as lower-case colon text", () => {
  fc.assert(
    fc.property(six, (bytes) => {
      const mac = macFromBytes(bytes);
      expect(mac).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/u);
      expect([...macToBytes(mac)]).toEqual([...bytes]);
      for (const form of [mac, mac.toUpperCase(), mac.replaceAll(":", "-"), mac.toUpperCase().replaceAll(":", "-")]) {
        expect(parseMac(form)).toBe(mac);
      }
    }),
  );
});

test.each([
  "",
  "02:00:00:00:00",
  "02:00:00:00:00:00:00",
  "2:0:0:0:0:1",
  "020000000001",
  "0200.0000.0001",
  "02:00:00-00:00:01",
  "02:00:00:00:00:0g",
  "02:00:00:00:00:01 ",
  "02:00:00:00:00:01\n",
  "02:00:00:00:00:00:00:01",
])("%j is none", (text) => {
  expect(parseMac(text)).toBeUndefined();
});

test("random MACs are locally administered, unicast and differ", () => {
  const macs = Array.from({ length: 200 }, () => randomMac(crypto.getRandomValues(new Uint8Array(6))));
  expect(new Set(macs).size).toBe(200);
  for (const mac of macs) {
    expect(parseMac(mac)).toBe(mac);
    expect((macToBytes(mac)[0] ?? 0) & 0x03).toBe(0x02);
  }
  // the other bits of the first byte are random too
  expect(new Set(macs.map((mac) => mac.slice(0, 2))).size).toBeGreaterThan(10);
});
