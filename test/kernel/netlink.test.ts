import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Attributes, listAttributes, Writer } from "../../src/kernel/attributes.ts";
import { Errno, SysError } from "../../src/kernel/errno.ts";
import { changeLink, listLinks, newBridge } from "../../src/kernel/links.ts";
import { decodeMessages, encodeMessages, messageError } from "../../src/kernel/netlink.ts";
import { TestWorld } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
});
afterAll(() => w[Symbol.dispose]());

describe("attributes", () => {
  const attribute = fc.record({
    type: fc.integer({ min: 1, max: 0x3fff }),
    payload: fc.uint8Array({ maxLength: 200 }),
  });

  test("what is written is read", () => {
    fc.assert(
      fc.property(fc.array(attribute, { maxLength: 20 }), (all) => {
        const writer = new Writer();
        for (const { type, payload } of all) writer.attribute(type, payload);
        expect(listAttributes(writer.bytes()).map((a) => ({ ...a, payload: Uint8Array.from(a.payload) }))).toEqual(all);
      }),
    );
  });

  test("numbers, strings and nests", () => {
    fc.assert(
      fc.property(fc.nat(255), fc.nat(65535), fc.nat(0xffffffff), fc.string({ unit: "binary" }), (a, b, c, s) => {
        const text = s.replaceAll("\0", "");
        const bytes = new Writer()
          .attributeU8(1, a)
          .attributeU16(2, b)
          .attributeU16BigEndian(3, b)
          .nest(4, (n) => n.attributeU32(5, c).attributeString(6, text))
          .bytes();
        const read = new Attributes(bytes);
        expect([read.u8(1), read.u16(2), read.u16BigEndian(3)]).toEqual([a, b, b]);
        expect(read.nested(4).u32(5)).toBe(c);
        expect(read.nested(4).string(6)).toBe(Buffer.from(text).toString("utf8"));
      }),
    );
  });

  test("anything else is read without an end in sight or an error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        const read = new Attributes(bytes);
        for (let type = 0; type < 20; type++) {
          read.u8(type);
          read.u16(type);
          read.u32(type);
          read.string(type);
          read.nested(type);
        }
        decodeMessages(bytes);
        for (const type of [2, 3]) messageError({ type, flags: 0x200, sequence: 1, payload: bytes }, "x");
      }),
      { numRuns: 2000 },
    );
  });
});

describe("messages", () => {
  test("what is encoded is decoded", () => {
    const request = fc.record({ type: fc.nat(0xffff), flags: fc.nat(0xff), body: fc.uint8Array({ maxLength: 100 }) });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 8 }), (all) => {
        const read = decodeMessages(
          encodeMessages(
            all.map((r) => ({ what: "", ...r })),
            1,
            7,
          ),
        );
        expect(read.map((m) => ({ ...m, payload: [...m.payload] }))).toEqual(
          all.map((r, i) => ({ type: r.type, flags: r.flags | 1, sequence: i + 7, payload: [...r.body] })),
        );
      }),
    );
  });

  test("an extended ack's text is found behind a capped and an uncapped request", () => {
    const text = new Writer().attributeString(1, "no such thing").bytes();
    const header = new Writer().u32(0xffffffea).u32(20).u16(0).u16(0).u32(0).u32(0).bytes();
    const capped = Uint8Array.of(...header, ...text);
    const whole = Uint8Array.of(...header, 9, 9, 9, 9, ...text);
    expect(messageError({ type: 2, flags: 0x300, sequence: 1, payload: capped }, "try")?.message).toBe(
      "try: invalid argument (EINVAL); the kernel says: no such thing",
    );
    expect(messageError({ type: 2, flags: 0x200, sequence: 1, payload: whole }, "try")?.explanation).toBe(
      "no such thing",
    );
  });
});

describe("the socket", () => {
  test("the kernel's own explanation is in the error", () => {
    const body = new Writer()
      .u8(0)
      .u8(0)
      .u16(0)
      .u32(0)
      .u32(0)
      .u32(0)
      .attributeString(3, "way-too-long-for-a-link")
      .bytes();
    const [error] = w.netlink("").batch([{ what: "make it", type: 16, flags: 0x600, body }]);
    expect(error).toBeInstanceOf(SysError);
    expect(error?.explanation).not.toBe("");
    expect(error?.message).toContain(error?.explanation ?? "?");
  });

  test("after a failed request in a batch the rest is carried out, and just that one is reported", () => {
    const errors = w
      .netlink("")
      .batch([newBridge("b1"), newBridge("b1"), newBridge("b2"), changeLink("nothing", { up: true })]);
    expect(errors.map((e) => e?.errno)).toEqual([undefined, Errno.EEXIST, undefined, Errno.ENODEV]);
    expect(errors[1]?.call).toBe("create bridge b1");
    expect(w.ip("", "link show")).toContain("b2");
    w.deleteLink("", "b1");
    w.deleteLink("", "b2");
  });

  test("300 requests in one call, one answer each", () => {
    const nl = w.netlink("");
    const errors = nl.batch(
      Array.from({ length: 300 }, (_, i) => changeLink(i % 2 === 0 ? "lo" : "nothing", { up: true })),
    );
    expect(errors.filter((e) => e === undefined)).toHaveLength(150);
    expect(errors.filter((e) => e?.errno === Errno.ENODEV)).toHaveLength(150);
  });

  test("a dump that changes meanwhile is asked for again: every link that stays is always in it", async () => {
    w.namespace("busy");
    const nl = w.netlink("busy");
    for (let i = 0; i < 100; i++) nl.do(newBridge(`stay${i}`));
    const churn =
      "for i in $(seq 1 60); do ip link add churn$i type bridge; ip link del churn$((i-1)) 2>/dev/null; done";
    const busy = Bun.spawn(["ip", "netns", "exec", "busy", "sh", "-c", churn]);
    let rounds = 0;
    while (busy.exitCode === null) {
      let names: string[];
      try {
        names = listLinks(nl).map((l) => l.name);
      } catch (e) {
        expect((e as SysError).errno).toBe(Errno.EINTR); // it changed during every attempt, and says so
        continue;
      } finally {
        await Bun.sleep(0);
      }
      rounds++;
      expect(names.filter((n) => n.startsWith("stay"))).toHaveLength(100);
      expect(new Set(names).size).toBe(names.length);
    }
    expect(rounds).toBeGreaterThan(3);
    w.removeNamespace("busy");
  });

  test("a request that is never answered ends in a bounded wait", () => {
    // a control message (below NLMSG_MIN_TYPE) is skipped by the kernel, without an answer as none is asked for
    expect(() => w.netlink("").get({ what: "ask nothing", type: 1, flags: 0, body: new Uint8Array(0) })).toThrow(
      "ask nothing: recv: no answer in time (EAGAIN)",
    );
  });
});
