import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseAddress } from "../../src/kernel/addresses.ts";
import { Writer } from "../../src/kernel/attributes.ts";
import { errnoName, errnoText } from "../../src/kernel/errno.ts";
import { findNamespace } from "../../src/kernel/namespaces.ts";
import { parseNeighbour } from "../../src/kernel/neighbours.ts";
import { parseRoute } from "../../src/kernel/routes.ts";
import { parseRule } from "../../src/kernel/rules.ts";

describe("an attribute's length has 16 bits", () => {
  test("what does not fit is refused, not cut", () => {
    expect(new Writer().attribute(1, new Uint8Array(65_531)).bytes().subarray(0, 2)).toEqual(Uint8Array.of(0xff, 0xff));
    expect(() => new Writer().attribute(1, new Uint8Array(65_532))).toThrow(RangeError);
    expect(() => new Writer().nest(1, (n) => n.raw(new Uint8Array(65_536)))).toThrow("65535 is the most");
  });
});

test("messages of any content are read without an error", () => {
  // well-formed attributes of wrong sizes behind a header of any content: what a parser meets that random bytes seldom hit
  const attribute = fc.record({ type: fc.nat(30), payload: fc.uint8Array({ maxLength: 20 }) });
  const header = fc.uint8Array({ minLength: 12, maxLength: 12 });
  fc.assert(
    fc.property(fc.constantFrom(2, 10, 7), header, fc.array(attribute), fc.nat(200), (family, fixed, all, cut) => {
      for (const size of [8, 12]) {
        const w = new Writer().u8(family).raw(fixed.subarray(1, size));
        for (const { type, payload } of all) w.attribute(type, payload);
        for (const parse of [parseAddress, parseNeighbour, parseRoute, parseRule]) {
          parse(w.bytes());
          parse(w.bytes().subarray(0, cut));
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("error numbers have their names (include/uapi/asm-generic/errno.h)", () => {
  expect([40, 107, 112, 113].map(errnoName)).toEqual(["ELOOP", "ENOTCONN", "EHOSTDOWN", "EHOSTUNREACH"]);
  expect(errnoText(182)).toBe("errno 182"); // there is none
});

test("a FIFO is no namespace, and nobody waits for its writer", () => {
  expect(Bun.spawnSync(["mkfifo", "/run/fifo"]).exitCode).toBe(0);
  expect(findNamespace("/run/fifo")).toBeUndefined();
});
