import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ping } from "../../src/kernel/icmp.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { TestWorld, until } from "../world.ts";

// a ── lan near ── router ── lan far (MTU 1280 on the way) ── b
let w: TestWorld;
beforeAll(async () => {
  w = new TestWorld();
  for (const lan of ["near", "far"]) w.lan(lan);
  for (const name of ["a", "router", "b"]) w.namespace(name);
  w.plug("near", "a", "eth0", "10.1.0.1/24", "fd01::1/64");
  w.plug("near", "router", "eth0", "10.1.0.254/24", "fd01::fe/64");
  w.plug("far", "router", "eth1", "10.2.0.254/24", "fd02::fe/64");
  w.plug("far", "b", "eth0", "10.2.0.1/24", "fd02::1/64");
  w.sysctl("router", "net/ipv4/ip_forward", "1");
  w.sysctl("router", "net/ipv6/conf/all/forwarding", "1");
  w.sysctl("router", "net/ipv4/icmp_ratelimit", "0"); // or the router keeps silent about most of what it drops
  w.sysctl("router", "net/ipv6/icmp/ratelimit", "0");
  for (const [namespace, v4, v6] of [
    ["a", "10.1.0.254", "fd01::fe"],
    ["b", "10.2.0.254", "fd02::fe"],
  ] as const) {
    w.route(namespace, "eth0", "0.0.0.0/0", v4);
    w.route(namespace, "eth0", "::/0", v6);
  }
  w.ip("router", "link set eth1 mtu 1280");
  w.ip("router", "route add unreachable 10.3.0.0/24");
  w.ip("router", "-6 route add unreachable fd03::/64");
  // a busy kernel takes its time to see that a link is up, and an IPv6 address answers only then
  for (const ip of ["10.2.0.1", "fd02::1"])
    await until(`${ip} answers`, () => ping(w.at("a"), ip, { timeoutMs: 1000 }).ok);
});
afterAll(() => w[Symbol.dispose]());

describe("what a router answers is the reason", () => {
  // an unreachable route: ICMP says "host unreachable", ICMPv6 "no route to destination"
  for (const [ip, why] of [
    ["10.3.0.1", "no route to host (EHOSTUNREACH)"],
    ["fd03::1", "network is unreachable (ENETUNREACH)"],
  ] as const) {
    test(`${ip}: unreachable`, () => {
      expect(ping(w.at("a"), ip, { timeoutMs: 5000 })).toEqual({ ok: false, why: `recv: ${why}` });
    });
  }

  for (const ip of ["10.2.0.1", "fd02::1"]) {
    test(`${ip}: too big for the way`, () => {
      expect(ping(w.at("a"), ip, { timeoutMs: 5000 })).toMatchObject({ ok: true });
      expect(ping(w.at("a"), ip, { timeoutMs: 5000, size: 1400, dontFragment: true })).toEqual({
        ok: false,
        why: "recv: message too long (EMSGSIZE)",
      });
    });
  }
});

test("an error about somebody else's packet to the same address is not ours", async () => {
  const [here, there] = ["icmp", "namespaces"].map((m) =>
    JSON.stringify(`${import.meta.dir}/../../src/kernel/${m}.ts`),
  );
  const flood = `
    const { ping } = await import(${here}); const { openNamespace } = await import(${there});
    using a = openNamespace("/run/netns/a");
    for (;;) ping(a, "10.2.0.1", { size: 1400, dontFragment: true, timeoutMs: 5000 });`;
  const other = Bun.spawn([process.execPath, "-e", flood]);
  try {
    // OutDestUnreachs, the 15th column of the second Icmp line
    const sent = (): number => Number(w.run("router", ["cat", "/proc/net/snmp"]).split("\nIcmp: ")[2]?.split(" ")[14]);
    const before = sent();
    await until("the other's packets are refused", () => sent() > before + 50);
    for (let i = 0; i < 500; i++) expect(ping(w.at("a"), "10.2.0.1", { timeoutMs: 5000 })).toMatchObject({ ok: true });
  } finally {
    other.kill("SIGKILL");
    await other.exited;
  }
});

test("a link-local address by its link; a link that is not there", async () => {
  const local = (): string | undefined =>
    /inet6 (fe80::\S+)\/64/u.exec(w.ip("router", "-6 address show dev eth0 scope link -tentative"))?.[1];
  await until("the router has a link-local address", () => local() !== undefined);
  expect(ping(w.at("a"), local() ?? "", { linkName: "eth0", timeoutMs: 5000 })).toMatchObject({ ok: true });
  expect(ping(w.at("a"), "10.1.0.254", { linkName: "nothing" })).toMatchObject({
    ok: false,
    why: expect.stringContaining("ENODEV"),
  });
});

test("a time limit need not be whole milliseconds", () => {
  expect(ping(w.at("a"), "10.1.0.254", { timeoutMs: 1500.12345 })).toMatchObject({ ok: true });
  expect(exchange(w.at("a"), w.at("router"), "10.1.0.254", 7000, { timeoutMs: 10_000 / 3 })).toMatchObject({
    ok: true,
  });
});
