import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { repair } from "../../src/attachment/repair.ts";
import { listRecords } from "../../src/attachment/record.ts";
import { ping } from "../../src/kernel/icmp.ts";
import { findLink } from "../../src/kernel/links.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { call } from "../cni/call.ts";
import { missingKind } from "../kernel-kinds.ts";
import { Watcher } from "../watcher.ts";
import { TestWorld, until } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("underlay");
  w.namespace("far");
  w.sysctl("far", "net/ipv6/conf/default/accept_dad", "0");
  w.plug("underlay", "", "eth0", "192.0.2.1/24", "2001:db8::1/64");
  w.plug("underlay", "far", "eth0", "192.0.2.2/24", "2001:db8::2/64");
  for (const [here, there] of [
    ["spare0", "spare0"],
    ["spare1", "spare1"],
  ] as const) {
    w.lan(`cable-${here}`);
    w.plug(`cable-${here}`, "", here);
    w.plug(`cable-${here}`, "far", there);
  }
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
});
afterEach(() => {
  for (const name of ["c", "d"]) w.removeNamespace(name);
  unmake();
});
afterAll(() => w[Symbol.dispose]());

/** A sort of parent: how it is made on the host and at the far end, where its other end is. */
interface Sort {
  readonly kind: string;
  /** What `ip link add` is told after the name: on the host, and at the far end. */
  readonly here: string;
  readonly there: string;
  /** Bytes, of a parent over links with an MTU of 1500. */
  readonly mtu: number;
  /** Links that become its ports. */
  readonly port?: string;
}

const gre = "local 192.0.2.1 remote 192.0.2.2";
const back = "local 192.0.2.2 remote 192.0.2.1";
const sorts: Readonly<Record<string, Sort>> = {
  gretap: { kind: "gretap", here: `type gretap ${gre}`, there: `type gretap ${back}`, mtu: 1462 },
  "gretap with a key": {
    kind: "gretap",
    here: `type gretap ${gre} key 7`,
    there: `type gretap ${back} key 7`,
    mtu: 1458,
  },
  ip6gretap: {
    kind: "ip6gretap",
    here: "type ip6gretap local 2001:db8::1 remote 2001:db8::2",
    there: "type ip6gretap local 2001:db8::2 remote 2001:db8::1",
    mtu: 1434, // less than an IPv4 header's difference: the kernel reserves 8 bytes for the tunnel encapsulation limit
  },
  vxlan: {
    kind: "vxlan",
    here: "type vxlan id 7 dstport 4789 local 192.0.2.1 remote 192.0.2.2 dev eth0",
    there: "type vxlan id 7 dstport 4789 local 192.0.2.2 remote 192.0.2.1 dev eth0",
    mtu: 1450,
  },
  VLAN: { kind: "vlan", here: "link eth0 type vlan id 7", there: "link eth0 type vlan id 7", mtu: 1500 },
  bond: { kind: "bond", here: "type bond mode active-backup", there: "type bridge", mtu: 1500, port: "spare0" },
  bridge: { kind: "bridge", here: "type bridge", there: "type bridge", mtu: 1500, port: "spare1" },
  veth: { kind: "veth", here: "type veth peer name over0 netns far", there: "", mtu: 1500 },
};

const HERE = ["10.90.0.11", "fd90::11"] as const;
const THERE = ["10.90.0.254", "fd90::254"] as const;

function config(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    cniVersion: "1.0.0",
    name: "tunnel",
    type: "macvlan",
    master: "over0",
    ipam: { type: "static", addresses: [{ address: `${HERE[0]}/24` }, { address: `${HERE[1]}/64` }] },
    ...more,
  };
}

function makeOn(namespace: string, link: string, port: string | undefined): void {
  if (link !== "") w.ip(namespace, `link add over0 ${link}`);
  if (port !== undefined) {
    w.ip(namespace, `link set ${port} down`); // a bond takes no port that is up
    w.ip(namespace, `link set ${port} master over0`);
    w.ip(namespace, `link set ${port} up`);
  }
  w.ip(namespace, "link set over0 up");
}

function make({ here, there, port }: Sort): void {
  makeOn("", here, port);
  if (findLink(w.netlink("far"), "over0") === undefined || there !== "") makeOn("far", there, port);
  else w.ip("far", "link set over0 up");
  for (const [i, prefix] of ([24, 64] as const).entries()) w.address("far", "over0", `${THERE[i] ?? ""}/${prefix}`);
}

function unmake(): void {
  w.deleteLink("", "over0");
  w.deleteLink("far", "over0");
}

/** Both families and directions; the largest packet that fits passes whole, and one byte more does not. */
function everythingPasses(mtu: number): void {
  const [c, far] = [w.at("c"), w.at("far")];
  for (const [i, headers] of ([28, 48] as const).entries()) {
    const [own, other] = [HERE[i] ?? "", THERE[i] ?? ""];
    const whole = { dontFragment: true, size: mtu - headers, timeoutMs: 3000 };
    expect({ other, ...ping(c, other, whole) }).toMatchObject({ ok: true });
    expect({ own, ...ping(far, own, whole) }).toMatchObject({ ok: true });
    const more = ping(c, other, { ...whole, size: mtu - headers + 1, timeoutMs: 300 });
    expect(more).toMatchObject({ ok: false, why: expect.stringContaining("EMSGSIZE") });
    expect(exchange(c, far, other, 80)).toMatchObject({ ok: true, peer: own });
    expect(exchange(far, c, own, 80)).toMatchObject({ ok: true, peer: other });
  }
}

/** Kinds of parents that whoever changes a tunnel deletes and makes again. */
const tunnels = new Set(["gretap", "ip6gretap", "vxlan"]);

for (const [name, sort] of Object.entries(sorts)) {
  const missing = missingKind(sort.kind);
  describe.skipIf(missing !== undefined)(`a ${name} as the parent${missing ?? ""}`, () => {
    beforeEach(() => make(sort));

    test(`its MTU of ${sort.mtu} is the attachment's, a larger one is refused with both numbers, whole packets pass`, async () => {
      expect(w.link("", "over0").mtu).toBe(sort.mtu);
      const larger = await call("ADD", config({ mtu: sort.mtu + 1 }));
      expect(larger.json).toMatchObject({
        code: 7,
        msg: `give eth0 an MTU of ${sort.mtu + 1} bytes: its parent over0 has ${sort.mtu}`,
      });
      const added = await call("ADD", config());
      expect(added.json).not.toHaveProperty("code");
      expect(w.link("c", "eth0").mtu).toBe(sort.mtu);
      everythingPasses(sort.mtu);
      expect((await call("CHECK", config())).text).toBe("");
      await call("DEL", config());
    });

    test("deleted and made again: repair makes the attachment anew, with its MAC and addresses", async () => {
      await call("ADD", config({ hostAccess: "auto" }));
      const { mac } = w.link("c", "eth0");
      unmake();
      expect(findLink(w.netlink("c"), "eth0")).toBeUndefined();
      const [record] = listRecords(() => {});
      if (record === undefined) throw new Error("there is no record");
      const { failure } = await repair(record).then(
        () => ({ failure: undefined }),
        (e: unknown) => ({ failure: e }),
      );
      expect(failure).toMatchObject({ reason: "config", message: expect.stringContaining("find the parent, over0") });
      make(sort);
      expect((await repair(record)).found).toContain("link eth0: is not there");
      expect(w.link("c", "eth0").mac).toBe(mac ?? "");
      everythingPasses(sort.mtu);
      expect(exchange(undefined, w.at("c"), HERE[0], 80)).toMatchObject({ ok: true, peer: "192.0.2.1" });
      expect(exchange(w.at("c"), undefined, "192.0.2.1", 80)).toMatchObject({ ok: true, peer: HERE[0] });
      await call("DEL", config({ hostAccess: "auto" }));
    });

    if (tunnels.has(sort.kind)) {
      test("deleted and made again under berth repair --watch", async () => {
        await call("ADD", config({ hostAccess: "auto" }));
        const { mac } = w.link("c", "eth0");
        await using watcher = new Watcher();
        for (const round of [1, 2]) {
          watcher.log = "";
          unmake();
          const sentence = "failed  tunnel/c1/eth0: find the parent, over0";
          await until(`it is missed, ${round}`, () => watcher.log.includes(sentence));
          make(sort);
          await until(`it is mended, ${round}`, () =>
            watcher.log.includes("mended  tunnel/c1/eth0: link eth0: is not there"),
          );
          await until(`it works, ${round}`, () => ping(w.at("c"), THERE[0]).ok);
          everythingPasses(sort.mtu);
          expect(w.link("c", "eth0").mac).toBe(mac ?? "");
          await until(`the host reaches it, ${round}`, () => exchange(undefined, w.at("c"), HERE[0], 80).ok);
        }
        await call("DEL", config({ hostAccess: "auto" }));
      });
    }

    test("a macvtap is as good", async () => {
      const macvtap = config({ type: "macvtap" });
      expect((await call("ADD", macvtap)).json).not.toHaveProperty("code");
      everythingPasses(sort.mtu);
      await call("DEL", macvtap);
    });
  });
}

const dummy = missingKind("dummy");
test.skipIf(dummy !== undefined)(
  `a dummy as the parent: its attachments have each other, and their host${dummy ?? ""}`,
  async () => {
    w.ip("", "link add over0 type dummy");
    w.ip("", "link set over0 up");
    w.namespace("d");
    const other = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    const second = config({
      hostAccess: "auto",
      ipam: { type: "static", addresses: [{ address: "10.90.0.12/24" }, { address: "fd90::12/64" }] },
    });
    const first = config({ hostAccess: "auto" });
    expect((await call("ADD", first)).json).not.toHaveProperty("code");
    expect((await call("ADD", second, other)).json).not.toHaveProperty("code");
    for (const ip of ["10.90.0.12", "fd90::12", "192.0.2.1", "2001:db8::1"])
      expect({ ip, ...ping(w.at("c"), ip, { timeoutMs: 3000 }) }).toMatchObject({ ok: true });
    await call("DEL", first);
    await call("DEL", second, other);
  },
);

describe("what a parent's links exclude", () => {
  const other = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
  beforeEach(() => {
    w.namespace("d");
    w.ip("", "link add over0 type bridge");
    w.ip("", "link set over0 up");
  });

  test("a link in passthru mode excludes every other: the attachment that has it is named", async () => {
    const passthru = config({ mode: "passthru", name: "alone" });
    expect((await call("ADD", passthru)).json).not.toHaveProperty("code");
    const reply = await call("ADD", config(), other);
    expect(reply.json).toMatchObject({
      details: expect.stringContaining("Attachments on over0: alone/c1/eth0 (macvlan passthru)"),
    });
    await call("DEL", passthru);
  });

  test.skipIf(missingKind("ipvlan") !== undefined)(
    `an ipvlan in a second mode, a macvlan beside ipvlans: refused, naming who is there${missingKind("ipvlan") ?? ""}`,
    async () => {
      const ipvlan = (mode: string): Record<string, unknown> => config({ type: "ipvlan", mode, name: "first" });
      // an address of its own: the kernel keeps a namespace's links for a moment after its end
      const ipam = { type: "static", addresses: [{ address: "10.90.0.13/24" }] };
      const second = config({ type: "ipvlan", mode: "l3", name: "second", ipam });
      expect((await call("ADD", ipvlan("l2"))).json).not.toHaveProperty("code");
      expect((await call("ADD", second, other)).json).toMatchObject({
        code: 7,
        msg: expect.stringContaining("the attachment first/c1/eth0 uses it in mode l2"),
        details: expect.stringContaining('Set "mode" to "l2"'),
      });
      expect(w.ipJson("c", "link show dev eth0")).toMatchObject([{ linkinfo: { info_data: { mode: "l2" } } }]);
      expect((await call("ADD", config(), other)).json).toMatchObject({
        msg: expect.stringContaining("EBUSY"),
        details: expect.stringContaining("Attachments on over0: first/c1/eth0 (ipvlan l2)"),
      });
      await call("DEL", ipvlan("l2"));
      // an administrator's link counts as well, and an attachment whose namespace is gone does not
      w.ip("", "link add link over0 name hand0 type ipvlan mode l3s");
      expect((await call("ADD", second, other)).json).toMatchObject({
        code: 7,
        msg: expect.stringContaining("the link hand0 uses it in mode l3s"),
      });
      w.deleteLink("", "hand0");
      await call("ADD", ipvlan("l2"));
      w.removeNamespace("c");
      expect((await call("ADD", second, other)).json).not.toHaveProperty("code");
      await call("DEL", second, other);
      await call("DEL", ipvlan("l2"), { CNI_NETNS: "" });
    },
  );
});
