import { afterAll, beforeAll, expect, test } from "bun:test";
import { type LinkVariable, linkVariable, readLinkVariable, setLinkVariable } from "../../src/kernel/link-variables.ts";
import { readSysctl } from "../../src/kernel/sysctls.ts";
import { TestWorld } from "../world.ts";

/** With a dot, which names of interfaces may hold. */
const LINK = "br.7";
let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.namespace("c");
  w.ip("c", `link add ${LINK} type bridge`);
});
afterAll(() => w[Symbol.dispose]());

function variable(key: string): LinkVariable {
  const found = linkVariable(key);
  if (found === undefined) throw new Error(`${key} is not known`);
  return found;
}

const keys = [
  "net/ipv4/conf/LINK/arp_notify",
  "net/ipv4/conf/LINK/arp_ignore",
  "net/ipv6/conf/LINK/ndisc_notify",
  "net/ipv6/conf/LINK/disable_ipv6",
].map((key) => key.replace("LINK", LINK));

test.each(keys)("%s is what netlink shows, and nothing else is", (key) => {
  const values = (): (string | undefined)[] => keys.map((k) => readLinkVariable(w.netlink("c"), variable(k)));
  const shown = (): (string | undefined)[] => w.within("c", () => keys.map((k) => readSysctl(k)));
  const before = values();
  expect(before).toEqual(shown());
  w.sysctl("c", key, "1");
  expect(values()).toEqual(keys.map((k, i) => (k === key ? "1" : before[i])));
  w.sysctl("c", key, "0");
  expect(values()).toEqual(shown());
});

test.each(keys.filter((key) => key.startsWith("net/ipv4")))("%s is set by a message", (key) => {
  const nl = w.netlink("c");
  for (const value of ["1", "0"]) {
    nl.do(setLinkVariable(variable(key), "set it", value));
    expect(w.within("c", () => readSysctl(key))).toBe(value);
  }
});

test("a link that is not there has none, and is refused one", () => {
  const key = "net/ipv4/conf/nothing/arp_notify";
  expect(readLinkVariable(w.netlink("c"), variable(key))).toBeUndefined();
  expect(() => w.netlink("c").do(setLinkVariable(variable(key), "set it", "1"))).toThrow("set it: no such device");
});

test("what is of all links, or not known, is no link's variable", () => {
  for (const key of [
    "net/ipv4/conf/all/arp_notify",
    "net/ipv6/conf/default/disable_ipv6",
    "net/ipv4/conf/eth0/forwarding",
    "net/ipv4/neigh/eth0/arp_notify",
    "net/ipv4/ip_forward",
    "kernel/hostname",
  ]) {
    expect([key, linkVariable(key)]).toEqual([key, undefined]);
  }
});
