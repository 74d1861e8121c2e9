import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { ping } from "../../src/kernel/icmp.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { missingKind } from "../kernel-kinds.ts";
import { type Snapshot, TestWorld } from "../world.ts";
import { call } from "./call.ts";

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  for (const lan of ["office", "tasks"]) w.lan(lan);
  w.namespace("peer");
  w.sysctl("peer", "net/ipv6/conf/default/accept_dad", "0");
  w.plug("office", "", "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", "", "eth1", "192.168.122.5/24", "fd22::5/64");
  w.plug("tasks", "peer", "eth0", "192.168.122.22/24", "fd22::22/64");
  // what is routed, as ipvlan in layer 3 is, is reached by its host
  w.route("peer", "eth0", "10.78.0.0/24", "192.168.122.5");
  w.route("peer", "eth0", "fd78::/64", "fd22::5");
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  before = w.snapshot("");
  for (const name of ["c", "d"]) {
    w.namespace(name);
    w.sysctl(name, "net/ipv6/conf/default/accept_dad", "0");
  }
});
afterEach(() => {
  w.deleteLink("", "berth-eth1"); // of a test that failed
  for (const name of ["c", "d"]) w.removeNamespace(name);
  w.deleteLink("peer", "tagged");
});
afterAll(() => w[Symbol.dispose]());

/** What is attached, and to whom it talks. */
interface Sort {
  readonly kind: string;
  readonly config: Record<string, unknown>;
  /** Addresses of the two containers, and of the peer, as CIDRs. */
  readonly own: readonly (readonly [string, string])[];
  readonly peer: readonly string[];
  /** Whether two of one parent talk. */
  readonly siblings: boolean;
  /** Whether the host reaches them by host access. */
  readonly host: boolean;
  /** A link of the peer's, as `ip link add` makes it. */
  readonly tagged?: string;
}

const lan = {
  own: [
    ["192.168.122.90/24", "192.168.122.91/24"],
    ["fd22::90/64", "fd22::91/64"],
  ],
  peer: ["192.168.122.22", "fd22::22"],
} as const;
const routed = {
  own: [
    ["10.78.0.90/24", "10.78.0.91/24"],
    ["fd78::90/64", "fd78::91/64"],
  ],
  peer: ["192.168.122.22", "fd22::22"],
} as const;
const tagged = {
  own: [
    ["10.77.0.90/24", "10.77.0.91/24"],
    ["fd77::90/64", "fd77::91/64"],
  ],
  peer: ["10.77.0.22/24", "fd77::22/64"],
} as const;

function macvlan(kind: string, mode: string): Sort {
  const sources = mode === "source" ? { sources: [w.link("peer", "eth0").mac] } : {};
  return { kind, config: { mode, ...sources }, ...lan, siblings: mode === "bridge", host: mode === "bridge" };
}

function ipvlan(mode: string, isolation?: string): Sort {
  const addresses = mode === "l2" ? lan : routed;
  const config = { mode, ...(isolation === undefined ? {} : { isolation }) };
  return { kind: "ipvlan", config, ...addresses, siblings: isolation === undefined, host: isolation === undefined };
}

function vlan(protocol: string): Sort {
  const made = `link eth0 type vlan protocol ${protocol} id 7`;
  const config = { vlanId: 7, vlanProtocol: protocol };
  return { kind: "vlan", config, ...tagged, siblings: false, host: false, tagged: made };
}

const sorts: readonly (readonly [name: string, kind: string, sort: () => Sort])[] = [
  ...["macvlan", "macvtap"].flatMap((kind) =>
    ["bridge", "private", "vepa", "passthru", "source"].map(
      (mode) => [`${kind} ${mode}`, kind, () => macvlan(kind, mode)] as const,
    ),
  ),
  ...["l2", "l3", "l3s"].map((mode) => [`ipvlan ${mode}`, "ipvlan", () => ipvlan(mode)] as const),
  ["ipvlan l2 private", "ipvlan", () => ipvlan("l2", "private")],
  ["ipvlan l2 vepa", "ipvlan", () => ipvlan("l2", "vepa")],
  ...["802.1q", "802.1ad"].map((protocol) => [`vlan ${protocol}`, "vlan", () => vlan(protocol)] as const),
];

const bare = (cidr: string): string => cidr.replace(/\/.*/u, "");

/** ICMP and TCP from one namespace to another, the source as it should be seen. */
function talks(from: string, to: string, own: string, other: string): void {
  expect({ from, to, ...ping(w.at(from), other, { timeoutMs: 5000 }) }).toMatchObject({ ok: true });
  expect({ from, to, ...exchange(w.at(from), w.at(to), other, 80, { timeoutMs: 5000 }) }).toMatchObject({
    ok: true,
    peer: own,
  });
}

/** The configuration of the first container, or of the second. */
function network(sort: Sort, n: 0 | 1, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    cniVersion: "1.0.0",
    name: `net${n}`,
    type: sort.kind,
    master: "eth1",
    ...sort.config,
    ipam: {
      type: "static",
      addresses: sort.own.map((pair) => ({ address: pair[n] })),
      routes: sort.own === routed.own ? ["0.0.0.0/0", "::/0"].map((dst) => ({ dst })) : [],
    },
    ...more,
  };
}

const second = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };

for (const [name, kind, sortOf] of sorts) {
  const missing = missingKind(kind);
  describe.skipIf(missing !== undefined)(`${name}${missing ?? ""}`, () => {
    test("the LAN, both ways, both families", async () => {
      const sort = sortOf();
      if (sort.tagged !== undefined) {
        w.ip("peer", `link add tagged ${sort.tagged}`);
        w.ip("peer", "link set tagged up");
        for (const cidr of sort.peer) w.address("peer", "tagged", cidr);
      }
      const config = network(sort, 0);
      expect((await call("ADD", config)).json).not.toHaveProperty("code");
      for (const [i, pair] of sort.own.entries()) {
        const [own, peer] = [bare(pair[0]), bare(sort.peer[i] ?? "")];
        talks("c", "peer", own, peer);
        talks("peer", "c", peer, own);
      }
      expect((await call("CHECK", config)).text).toBe("");
      expect((await call("DEL", config)).text).toBe("");
      expect(w.snapshot("")).toEqual(before);
    });

    // a parent has a link in passthru mode, or a VLAN, once
    const alone = /passthru|vlan 802/u.test(name);
    if (!alone)
      test("another container of the parent, or not, as the mode says", async () => {
        const sort = sortOf();
        const configs = [network(sort, 0), network(sort, 1)] as const;
        expect((await call("ADD", configs[0])).json).not.toHaveProperty("code");
        expect((await call("ADD", configs[1], second)).json).not.toHaveProperty("code");
        for (const [one, two] of sort.own) {
          if (sort.siblings) talks("c", "d", bare(one), bare(two));
          else expect(ping(w.at("c"), bare(two), { timeoutMs: 300 }).ok).toBe(false);
        }
        await call("DEL", configs[0]);
        await call("DEL", configs[1], second);
        expect(w.snapshot("")).toEqual(before);
      });

    const withHost = /ipvlan l[23]s?$|bridge/u.test(name);
    if (withHost)
      test("its host by host access, both ways, both families", async () => {
        const sort = sortOf();
        const config = network(sort, 0, { hostAccess: { addresses: ["192.168.10.22", "fd10::22"] } });
        expect((await call("ADD", config)).json).not.toHaveProperty("code");
        for (const [i, host] of ["192.168.10.22", "fd10::22"].entries()) {
          const own = bare(sort.own[i]?.[0] ?? "");
          talks("", "c", host, own);
          talks("c", "", own, host);
        }
        expect((await call("CHECK", config)).text).toBe("");
        await call("DEL", config);
        expect(w.snapshot("")).toEqual(before);
      });
  });
}
