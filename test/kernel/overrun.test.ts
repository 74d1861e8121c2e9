import { expect, test } from "bun:test";
import { Errno } from "../../src/kernel/errno.ts";
import { changeLink, findLink, listLinks, newBridge } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";

test("answers that did not fit (ENOBUFS): only those requests count as failed, and the socket goes on working", () => {
  using nl = new Netlink({ receiveBuffer: 1 }); // the kernel's minimum, about 2 KiB: a few answers
  const names = Array.from({ length: 40 }, (_, i) => `over${i}`);
  const errors = nl.batch(names.map((name) => newBridge(name)));
  const lost = errors.filter((e) => e !== undefined);
  expect(lost.length).toBeGreaterThan(0);
  expect(lost.length).toBeLessThan(40);
  expect(new Set(lost.map((e) => e.errno))).toEqual(new Set([Errno.ENOBUFS]));
  expect(errors.findIndex((e) => e !== undefined)).toBe(40 - lost.length); // those that came first fitted
  expect(lost.at(-1)?.message).toBe("create bridge over39: no buffer space available (ENOBUFS)");
  // they were carried out all the same, and nothing stale disturbs what is asked next
  expect(findLink(nl, "over39")?.kind).toBe("bridge");
  expect(listLinks(nl).filter((l) => names.includes(l.name))).toHaveLength(40);
  expect(nl.batch([changeLink("nothing", { up: true })])[0]?.errno).toBe(Errno.ENODEV);
});

test("a request that failed before the overrun keeps its own error", () => {
  using nl = new Netlink({ receiveBuffer: 1 });
  const requests = Array.from({ length: 40 }, (_, i) => changeLink(i === 0 ? "nothing" : "lo", { up: true }));
  const errors = nl.batch(requests);
  expect(errors[0]?.errno).toBe(Errno.ENODEV);
  expect(errors.at(-1)?.errno).toBe(Errno.ENOBUFS);
});
