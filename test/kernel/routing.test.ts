import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { parseCidr, type Cidr } from "../../src/address/cidr.ts";
import { deleteAddress, listAddresses, newAddress } from "../../src/kernel/addresses.ts";
import { Errno } from "../../src/kernel/errno.ts";
import { deleteNeighbour, findNeighbour, listNeighbours, newNeighbour } from "../../src/kernel/neighbours.ts";
import { RTPROT_BERTH } from "../../src/kernel/protocol.ts";
import { deleteRoute, listRoutes, lookUpRoute, newRoute, type Route } from "../../src/kernel/routes.ts";
import { deleteRule, listRules, newRule } from "../../src/kernel/rules.ts";
import { until, TestWorld } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
});
beforeEach(() => {
  w.deleteLink("", "eth0");
  w.plug("lan", "", "eth0");
});
afterAll(() => w[Symbol.dispose]());

const index = (): number => w.link("", "eth0").index;
function cidr(text: string): Cidr {
  const c = parseCidr(text);
  if (c === undefined) throw new Error(text);
  return c;
}

describe("addresses", () => {
  test("IPv4 with its broadcast, IPv6 without detection, optimistic, and both away again", () => {
    const nl = w.netlink("");
    nl.do(newAddress(index(), "eth0", cidr("10.1.2.3/24")));
    nl.do(newAddress(index(), "eth0", cidr("10.9.9.9/32")));
    nl.do(newAddress(index(), "eth0", cidr("fd00::1/64"), "off"));
    nl.do(newAddress(index(), "eth0", cidr("fd00::2/64"), "optimistic"));
    const info = (w.ipJson("", "addr show dev eth0 scope global") as { addr_info: object[] }[])[0]?.addr_info;
    expect(info).toContainEqual(expect.objectContaining({ local: "10.1.2.3", prefixlen: 24, broadcast: "10.1.2.255" }));
    expect(info).toContainEqual(expect.objectContaining({ local: "fd00::1", nodad: true }));
    const all = listAddresses(nl, index()).filter((a) => a.scope === 0);
    expect(all.map((a) => a.cidr.ip).toSorted()).toEqual(["10.1.2.3", "10.9.9.9", "fd00::1", "fd00::2"]);
    expect(all.find((a) => a.cidr.ip === "fd00::1")?.tentative).toBe(false);
    for (const a of all) nl.do(deleteAddress(index(), "eth0", a.cidr));
    expect(listAddresses(nl, index()).filter((a) => a.scope === 0)).toEqual([]);
    expect(nl.batch([deleteAddress(index(), "eth0", cidr("10.1.2.3/24"))])[0]?.errno).toBe(Errno.EADDRNOTAVAIL);
  });

  test("one that is there already is EEXIST; detection is seen to begin and to end", async () => {
    const nl = w.netlink("");
    nl.do(newAddress(index(), "eth0", cidr("fd00::3/64")));
    expect(nl.batch([newAddress(index(), "eth0", cidr("fd00::3/64"))])[0]?.errno).toBe(Errno.EEXIST);
    const mine = (): boolean => listAddresses(nl, index()).find((a) => a.cidr.ip === "fd00::3")?.tentative === true;
    expect(mine()).toBe(true);
    await until("detection ends", () => !mine());
  });
});

describe("routes", () => {
  test("every property, both families, as ip sees it and as it is read back", () => {
    const nl = w.netlink("");
    nl.do(newAddress(index(), "eth0", cidr("10.1.2.3/24")));
    nl.do(newAddress(index(), "eth0", cidr("fd00::1/64"), "off"));
    const wanted: Route[] = [
      { dst: cidr("0.0.0.0/0"), gateway: "10.1.2.1" },
      { dst: cidr("192.168.0.0/16"), scope: 253, source: "10.1.2.3", metric: 7 },
      { dst: cidr("172.16.0.0/12"), gateway: "10.1.2.1", table: 1000, mtu: 1200, advmss: 1100 },
      { dst: cidr("10.50.0.0/16"), gateway: "10.77.0.1", onlink: true },
      { dst: cidr("::/0"), gateway: "fd00::9", metric: 5 },
      { dst: cidr("fd01::/48"), source: "fd00::1", table: 300 },
    ];
    for (const route of wanted) nl.do(newRoute(route, index(), "eth0"));
    const v4 = w.ipJson("", "-4 route show table all proto 98");
    const v6 = w.ipJson("", "-6 route show table all proto 98");
    expect(v4).toContainEqual(expect.objectContaining({ dst: "default", gateway: "10.1.2.1" }));
    expect(v4).toContainEqual(
      expect.objectContaining({ dst: "192.168.0.0/16", scope: "link", prefsrc: "10.1.2.3", metric: 7 }),
    );
    expect(v4).toContainEqual(
      expect.objectContaining({ dst: "172.16.0.0/12", table: "1000", metrics: [{ mtu: 1200, advmss: 1100 }] }),
    );
    expect(v4).toContainEqual(expect.objectContaining({ dst: "10.50.0.0/16", flags: ["onlink"] }));
    expect(v6).toContainEqual(expect.objectContaining({ dst: "default", metric: 5 }));
    expect(v6).toContainEqual(
      expect.objectContaining({ dst: "fd01::/48", prefsrc: "fd00::1", table: "300", metric: 1024 }),
    );
    for (const route of wanted) {
      const family = route.dst.ip.includes(":") ? 6 : 4;
      const found = listRoutes(nl, { family, linkIndex: index(), protocol: RTPROT_BERTH, table: route.table ?? 254 });
      expect(found).toContainEqual(expect.objectContaining({ ...route, protocol: RTPROT_BERTH }));
    }
    for (const route of wanted) nl.do(deleteRoute(route, index(), "eth0"));
    for (const family of [4, 6] as const) expect(listRoutes(nl, { family, protocol: RTPROT_BERTH })).toEqual([]);
  });

  test("a foreign route of the same destination is never deleted", () => {
    const nl = w.netlink("");
    nl.do(newAddress(index(), "eth0", cidr("10.1.2.3/24")));
    nl.do(newAddress(index(), "eth0", cidr("fd00::1/64"), "off"));
    w.ip("", "route add 192.168.7.7/32 dev eth0 scope link proto static");
    w.ip("", "-6 route add fd07::7/128 dev eth0 proto static");
    const four: Route = { dst: cidr("192.168.7.7/32"), scope: 253 };
    const six: Route = { dst: cidr("fd07::7/128") };
    for (const route of [four, six]) {
      expect(nl.batch([newRoute(route, index(), "eth0")])[0]?.errno).toBe(Errno.EEXIST);
      expect(nl.batch([deleteRoute(route, index(), "eth0")])[0]?.errno).toBe(Errno.ESRCH);
    }
    expect(w.ip("", "route show 192.168.7.7")).toContain("proto static");
    expect(w.ip("", "-6 route show fd07::7")).toContain("proto static");
  });

  test("which way a packet would take", () => {
    const nl = w.netlink("");
    expect(lookUpRoute(nl, "10.1.2.9")).toBeUndefined();
    nl.do(newAddress(index(), "eth0", cidr("10.1.2.3/24")));
    nl.do(newRoute({ dst: cidr("0.0.0.0/0"), gateway: "10.1.2.1" }, index(), "eth0"));
    expect(lookUpRoute(nl, "10.1.2.9")).toMatchObject({ linkIndex: index(), source: "10.1.2.3" });
    expect(lookUpRoute(nl, "1.2.3.4")).toMatchObject({ gateway: "10.1.2.1" });
  });

  test("a table that does not exist has no routes; a filter that fits nothing gives none", () => {
    const nl = w.netlink("");
    for (const family of [4, 6] as const) {
      expect(listRoutes(nl, { family, table: 4711 })).toEqual([]);
      expect(listRoutes(nl, { family, linkIndex: index(), protocol: RTPROT_BERTH })).toEqual([]);
    }
  });
});

describe("rules", () => {
  test("made, read, deleted; a foreign one stays", () => {
    const nl = w.netlink("");
    for (const family of [4, 6] as const) {
      const from = cidr(family === 4 ? "10.1.2.3/32" : "fd00::1/128");
      const rule = { family, priority: 1234, table: 5000, from };
      nl.do(newRule(rule));
      expect(listRules(nl, family)).toContainEqual({ ...rule, protocol: RTPROT_BERTH });
      expect(w.ip("", `-${family} rule show`)).toContain(`1234:\tfrom ${from.ip} lookup 5000 proto 98`);
      expect(nl.batch([newRule(rule)])[0]?.errno).toBe(Errno.EEXIST);
      nl.do(deleteRule(rule));
      w.ip("", `-${family} rule add from ${from.ip} priority 1234 table 5000`);
      expect(nl.batch([deleteRule(rule)])[0]?.errno).toBe(Errno.ENOENT);
      expect(w.ip("", `-${family} rule show`)).toContain("1234:");
      w.ip("", `-${family} rule del priority 1234`);
    }
  });
});

describe("neighbours", () => {
  test("permanent, with our protocol, both families", () => {
    const nl = w.netlink("");
    for (const ip of ["10.1.2.9", "fd00::9"]) {
      nl.do(newNeighbour(ip, "02:00:00:00:00:09", index(), "eth0"));
      expect(findNeighbour(nl, ip, index())).toEqual({
        linkIndex: index(),
        ip,
        mac: "02:00:00:00:00:09",
        permanent: true,
        protocol: RTPROT_BERTH,
      });
      expect(w.ip("", `neigh show ${ip}`)).toContain("lladdr 02:00:00:00:00:09 PERMANENT proto 98");
    }
    expect(
      listNeighbours(nl, index())
        .filter((n) => n.permanent) // the kernel resolves multicast addresses by itself
        .map((n) => n.ip)
        .toSorted(),
    ).toEqual(["10.1.2.9", "fd00::9"]);
    for (const ip of ["10.1.2.9", "fd00::9"]) nl.do(deleteNeighbour(ip, index(), "eth0"));
    expect(findNeighbour(nl, "10.1.2.9", index())).toBeUndefined();
    expect(nl.batch([deleteNeighbour("10.1.2.9", index(), "eth0")])[0]?.errno).toBe(Errno.ENOENT);
  });
});
