import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { probeIpv4 } from "../../src/kernel/arp.ts";
import { ping } from "../../src/kernel/icmp.ts";
import { close, send, setSocketInt } from "../../src/kernel/libc.ts";
import { probeIpv6 } from "../../src/kernel/ndisc.ts";
import { openIn, socketAddress } from "../../src/kernel/sockets.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { call } from "../cni/call.ts";
import { type Combination, pairwise } from "../pairwise.ts";
import { TestWorld, until } from "../world.ts";

const factors = {
  kind: ["macvlan", "macvtap"],
  access: ["auto", "users macvlan", "users macvtap"],
  family: [4, 6],
  place: ["elsewhere", "in range on the parent", "in range on another NIC", "on lo"],
  arp_ignore: [0, 1, 2],
  arp_filter: [0, 1],
  arp_announce: [0, 1, 2],
  rp_filter: [0, 1, 2],
  ip_forward: [0, 1],
  forwarding6: [0, 1],
};

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("office");
  w.lan("tasks");
  w.namespace("router");
  w.namespace("neighbour");
  w.plug("office", "", "eth0");
  w.plug("tasks", "", "eth1");
  w.plug("tasks", "", "eth2");
  w.plug("office", "router", "eth0", "192.168.10.1/24", "fd10::1/64");
  w.plug("tasks", "router", "eth1", "192.168.122.1/24", "fd22::1/64");
  w.plug("tasks", "neighbour", "eth0", "192.168.122.30/24", "fd22::30/64");
  w.ip("", "link set lo up");
  w.subInterface("eth1", "spare-vlan", { kind: "macvlan", mode: "bridge" });
  w.subInterface("eth1", "spare-tap", { kind: "macvtap", mode: "bridge" });
});
afterAll(() => w[Symbol.dispose]());

/** Where the host's address is: link and address with prefix length. */
function hostAddress(place: string, family: 4 | 6): { link: string; cidr: string; ip: string } {
  const where: Record<string, [string, string, string]> = {
    elsewhere: ["eth0", "192.168.10.22/24", "fd10::22/64"],
    "in range on the parent": ["eth1", "192.168.122.22/24", "fd22::22/64"],
    "in range on another NIC": ["eth2", "192.168.122.22/24", "fd22::22/64"],
    "on lo": ["lo", "172.30.0.22/32", "fd30::22/128"],
  };
  const [link, four, six] = where[place] ?? ["", "", ""];
  const cidr = family === 4 ? four : six;
  return { link, cidr, ip: cidr.replace(/\/.*/u, "") };
}

function settings(c: Combination): [string, string | number][] {
  const v4 = ["arp_ignore", "arp_filter", "arp_announce", "rp_filter"] as const;
  return [
    ...v4.map((key): [string, string | number] => [`net/ipv4/conf/all/${key}`, c[key] ?? 0]),
    ["net/ipv4/ip_forward", c["ip_forward"] ?? 0],
    ["net/ipv6/conf/all/forwarding", c["forwarding6"] ?? 0],
  ];
}

/** Forgets what was learnt, so that each probe stands for itself. */
function flushNeighbours(): void {
  for (const namespace of ["", "c", "neighbour", "router"]) w.ip(namespace, "neigh flush all");
}

describe("host access with any setting, wherever the host's address is", () => {
  const combinations = pairwise(factors);

  test(`every two of the settings meet in ${combinations.length} combinations`, () => {
    expect(combinations.length).toBeGreaterThan(11);
    expect(combinations.length).toBeLessThan(60);
  });

  test.each(combinations.map((c) => [Object.values(c).join(" / "), c] as const))("%s", async (_, c) => {
    rmSync("/var/lib/cni", { recursive: true, force: true });
    const family = c["family"] === 4 ? 4 : 6;
    const host = hostAddress(String(c["place"]), family);
    w.namespace("c");
    w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
    const pristine = w.snapshot("");
    for (const [key, value] of settings(c)) w.sysctl("", key, String(value));
    w.ip("", `address add ${host.cidr} dev ${host.link}`);
    const before = w.snapshot("");
    const access = { auto: "auto", "users macvlan": "spare-vlan", "users macvtap": "spare-tap" }[String(c["access"])];
    const subnet = family === 4 ? "192.168.122.0/24" : "fd22::/64";
    const start = family === 4 ? "192.168.122.171" : "fd22::171";
    const config = {
      cniVersion: "1.0.0",
      name: "tasks",
      type: c["kind"],
      master: "eth1",
      hostrouteif: access,
      ipam: { type: "host-local", ranges: [[{ subnet, rangeStart: start }]] },
    };
    const added = await call("ADD", config);
    expect(added.json).not.toHaveProperty("code");
    const task = start;
    const inside = w.at("c");
    flushNeighbours();
    expect(ping(undefined, task)).toMatchObject({ ok: true });
    flushNeighbours();
    expect(ping(inside, host.ip)).toMatchObject({ ok: true });
    flushNeighbours();
    expect(exchange(undefined, inside, task, 80)).toMatchObject({ ok: true, peer: host.ip });
    flushNeighbours();
    expect(exchange(inside, undefined, host.ip, 80)).toMatchObject({ ok: true, peer: task });
    expect(exchange(w.at("neighbour"), inside, task, 80)).toMatchObject({ ok: true });
    if (c["access"] === "auto") lanSeesOneMac(host.ip, family);
    expect((await call("CHECK", config)).text).toBe("");
    expect((await call("DEL", config)).text).toBe("");
    expect(w.snapshot("")).toEqual(before);
    w.ip("", `address del ${host.cidr} dev ${host.link}`);
    for (const [key] of settings(c)) w.sysctl("", key, "0");
    w.removeNamespace("c");
    expect(w.snapshot("")).toEqual(pristine);
    held.push(c);
  });
});

/** The combinations that held, as docs/ shows them. */
const held: Combination[] = [];
const PAGE = new URL("../../docs/host-access-matrix.md", import.meta.url).pathname;

function page(): string {
  const names = Object.keys(factors);
  const rows = held.map((c) => `| ${names.map((n) => c[n]).join(" | ")} | both ways |`);
  return [
    "# Host access: the combinations that are proven",
    "",
    "Every two values of any two columns meet at least once. In each row ICMP echo and a TCP connection worked from host to",
    "task and from task to host, neighbour caches flushed before each; the source address that the other side saw was the right",
    "one; a LAN neighbour reached the task; the LAN never saw the access link's MAC for a host address; and after DEL the host",
    "was as before. Written by `BERTH_WRITE_DOCS=1 npm test -- host-access-matrix`, which otherwise compares.",
    "",
    `| ${names.join(" | ")} | ICMP and TCP |`,
    `|${"---|".repeat(names.length + 1)}`,
    ...rows,
    "",
  ].join("\n");
}

test("the page in docs/ shows what held", () => {
  if (process.env["BERTH_WRITE_DOCS"] === "1") writeFileSync(PAGE, page());
  expect(readFileSync(PAGE, "utf8")).toBe(page());
});

/** The access link never answers for a host address: whoever asks the LAN gets the NIC's MAC, or no answer. */
function lanSeesOneMac(ip: string, family: 4 | 6): void {
  const neighbour = w.at("neighbour");
  const link = w.link("neighbour", "eth0");
  const quiet = w.link("", "berth-eth1").mac;
  for (let i = 0; i < 3; i++) {
    const mac = family === 4 ? probeIpv4(neighbour, link, ip, 60) : probeIpv6(neighbour, link, ip, 60);
    expect(mac).not.toBe(quiet);
  }
}

test("a router advertisement configures the parent, and not the access link", async () => {
  w.namespace("c");
  w.ip("", "address add 192.168.10.22/24 dev eth0");
  const config = {
    cniVersion: "1.0.0",
    name: "tasks",
    type: "macvlan",
    master: "eth1",
    hostrouteif: "auto",
    ipam: { type: "static", addresses: [{ address: "192.168.122.171/24" }] },
  };
  expect((await call("ADD", config)).json).not.toHaveProperty("code");
  const seen = (link: string): string => w.ip("", `-6 address show dev ${link}`);
  await until("the parent takes the advertised prefix", () => {
    advertise("fd44::");
    return seen("eth1").includes("fd44:");
  });
  expect(seen("berth-eth1")).toBe("");
  expect(w.ip("", "-6 route show dev berth-eth1")).toBe("");
  await call("DEL", config);
  w.ip("", "address del 192.168.10.22/24 dev eth0");
  w.removeNamespace("c");
});

/** Sends a router advertisement with an autonomous prefix (RFC 4861, sections 4.2 and 4.6.2) on the tasks' LAN. */
function advertise(prefix: string): void {
  const message = new Uint8Array(16 + 32);
  const v = new DataView(message.buffer);
  message[0] = 134;
  message[4] = 64;
  v.setUint16(6, 1800);
  message.set([3, 4, 64, 0xc0], 16);
  v.setUint32(20, 3600);
  v.setUint32(24, 3600);
  message.set(socketAddress(prefix, 0).slice(8, 24), 32);
  const fd = openIn(w.at("router"), 10, 3, 58, 1000);
  try {
    setSocketInt(fd, 41, 18, 255); // IPV6_MULTICAST_HOPS: neighbour discovery wants a hop limit of 255
    send(fd, message, socketAddress("ff02::1", 0, w.link("router", "eth1").index));
  } finally {
    close(fd);
  }
}
