import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { announceIpv4, probeIpv4 } from "../../src/kernel/arp.ts";
import { ping } from "../../src/kernel/icmp.ts";
import { announceIpv6, probeIpv6 } from "../../src/kernel/ndisc.ts";
import { checksum, ipOfSocketAddress, socketAddress } from "../../src/kernel/sockets.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { TestWorld, until } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.namespace("a");
  w.namespace("b");
  w.plug("lan", "a", "eth0", "10.9.0.1/24", "fd00:9::1/64");
  w.plug("lan", "b", "eth0", "10.9.0.2/24", "fd00:9::2/64", "10.9.0.3/24");
});
afterAll(() => w[Symbol.dispose]());

describe("ICMP echo", () => {
  for (const ip of ["10.9.0.2", "fd00:9::2"]) {
    test(`${ip} answers, its absent neighbour does not`, () => {
      expect(ping(w.at("a"), ip)).toMatchObject({ ok: true });
      expect(ping(w.at("a"), ip, { source: ip.replace(/2$/u, "1"), linkName: "eth0", size: 1000 })).toMatchObject({
        ok: true,
      });
      expect(ping(w.at("a"), ip.replace(/2$/u, "77"), { timeoutMs: 200 })).toEqual({
        ok: false,
        why: "no reply within 200 ms",
      });
    });
  }

  test("what the kernel refuses is said", () => {
    expect(ping(w.at("a"), "192.0.2.1")).toEqual({ ok: false, why: "send: network is unreachable (ENETUNREACH)" });
    expect(ping(w.at("a"), "10.9.0.2", { source: "10.9.0.99" })).toMatchObject({
      ok: false,
      why: expect.stringContaining("EADDRNOTAVAIL"),
    });
    expect(ping(w.at("a"), "10.9.0.2", { size: 1473, dontFragment: true })).toMatchObject({
      ok: false,
      why: expect.stringContaining("EMSGSIZE"),
    });
    expect(ping(w.at("a"), "10.9.0.2", { size: 1472, dontFragment: true })).toMatchObject({ ok: true });
    expect(ping(w.at("a"), "fd00:9::2", { size: 1453, dontFragment: true })).toMatchObject({
      ok: false,
      why: expect.stringContaining("EMSGSIZE"),
    });
  });

  test("from this namespace, when none is named", () => {
    expect(ping(undefined, "127.0.0.1", { timeoutMs: 300 }).ok).toBe(w.link("", "lo").up);
  });
});

describe("who has an address", () => {
  test("ARP and neighbour discovery name the holder's MAC", () => {
    const link = w.link("a", "eth0");
    const holder = w.link("b", "eth0").mac ?? "";
    expect(probeIpv4(w.at("a"), link, "10.9.0.2", 1000)).toBe(holder);
    expect(probeIpv6(w.at("a"), link, "fd00:9::2", 1000)).toBe(holder);
    expect(probeIpv4(w.at("a"), link, "10.9.0.88", 150)).toBeUndefined();
    expect(probeIpv6(w.at("a"), link, "fd00:9::88", 150)).toBeUndefined();
  });

  test("asked in one's own name, the holder answers that address", () => {
    const link = w.link("a", "eth0");
    const holder = w.link("b", "eth0").mac ?? "";
    expect(probeIpv4(w.at("a"), link, "10.9.0.2", 1000, "10.9.0.1")).toBe(holder);
    expect(probeIpv6(w.at("a"), link, "fd00:9::2", 1000, "fd00:9::1")).toBe(holder);
    // it learns the asker by it, which it does not by a probe
    for (const ip of ["10.9.0.1", "fd00:9::1"]) expect(w.ip("b", `neigh show ${ip}`)).toContain(link.mac ?? "?");
    expect(probeIpv4(w.at("a"), link, "10.9.0.88", 150, "10.9.0.1")).toBeUndefined();
    expect(probeIpv6(w.at("a"), link, "fd00:9::88", 150, "fd00:9::1")).toBeUndefined();
  });

  test("an announcement changes what a neighbour remembers", async () => {
    const seen = (ip: string): string => w.ip("a", `neigh show ${ip}`);
    const link = w.link("b", "eth0");
    const mac = link.mac ?? "";
    for (const [ip, announce] of [
      ["10.9.0.3", announceIpv4],
      ["fd00:9::2", announceIpv6],
    ] as const) {
      w.ip("a", `neigh replace ${ip} lladdr 02:00:00:00:00:99 dev eth0 nud reachable`);
      expect(seen(ip)).toContain("02:00:00:00:00:99");
      await until(`${ip} is learnt anew`, () => {
        announce(w.at("b"), link, ip); // within locktime an ARP entry is not overwritten, so it is told again
        return seen(ip).includes(mac);
      });
    }
  });
});

describe("TCP", () => {
  for (const [to, source] of [
    ["10.9.0.2", "10.9.0.1"],
    ["fd00:9::2", "fd00:9::1"],
  ] as const) {
    test(`to ${to} and back; the server sees ${source}`, () => {
      expect(exchange(w.at("a"), w.at("b"), to, 8080)).toMatchObject({ ok: true, peer: source });
      expect(exchange(w.at("a"), w.at("b"), to, 8080, { source })).toMatchObject({ ok: true, peer: source });
    });
  }

  test("what does not work is said", () => {
    expect(exchange(w.at("a"), w.at("b"), "10.9.0.77", 80)).toMatchObject({
      ok: false,
      why: expect.stringContaining("EADDRNOTAVAIL"),
    });
    w.ip("a", "route add blackhole 10.9.0.3/32");
    expect(exchange(w.at("a"), w.at("b"), "10.9.0.3", 80, { timeoutMs: 300 })).toMatchObject({ ok: false });
  });
});

test("socket addresses are read back; the checksum of a packet with its checksum is zero", () => {
  for (const ip of ["10.1.2.3", "fd00::1"]) expect(ipOfSocketAddress(socketAddress(ip, 80))).toBe(ip);
  const packet = Uint8Array.of(8, 0, 0, 0, 1, 2, 3, 4, 5);
  const sum = checksum(packet);
  packet[2] = sum >> 8;
  packet[3] = sum & 0xff;
  expect(checksum(packet)).toBe(0);
});
