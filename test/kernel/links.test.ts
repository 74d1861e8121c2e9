import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Errno } from "../../src/kernel/errno.ts";
import type { IpvlanIsolation, IpvlanMode, MacvlanMode, SubInterface } from "../../src/kernel/link-kinds.ts";
import {
  changeLink,
  findLink,
  findLinkByIndex,
  listLinks,
  newSubInterface,
  renameLink,
  parseLink,
  supportsKind,
} from "../../src/kernel/links.ts";
import { TestWorld } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.namespace("c");
  w.plug("lan", "", "eth1");
});
afterAll(() => w[Symbol.dispose]());

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function request(detail: SubInterface, name = "eth0"): ReturnType<typeof newSubInterface> {
  return newSubInterface({
    name,
    parentIndex: w.link("", "eth1").index,
    parentName: "eth1",
    detail,
    namespaceFd: w.at("c")?.fd ?? -1,
  });
}

describe("macvlan and macvtap", () => {
  for (const kind of ["macvlan", "macvtap"] as const) {
    for (const mode of ["bridge", "private", "vepa", "passthru", "source"] as MacvlanMode[]) {
      test(`${kind} in mode ${mode}, made in another namespace under its final name`, () => {
        const sources = mode === "source" ? { sources: ["02:00:00:00:00:01", "02:00:00:00:00:02"] } : {};
        const detail = { kind, mode, ...sources };
        w.netlink("").do(request(detail));
        try {
          expect(w.ipJson("c", "link show dev eth0")).toMatchObject([
            { ifname: "eth0", linkinfo: { info_kind: kind, info_data: { mode } } },
          ]);
          const link = findLink(w.netlink("c"), "eth0");
          expect(link?.detail).toMatchObject({ kind, mode });
          expect(link?.parentElsewhere).toBe(true);
          if (link?.detail !== undefined && "sources" in link.detail) {
            expect([...(link.detail.sources ?? [])].toSorted()).toEqual(["02:00:00:00:00:01", "02:00:00:00:00:02"]);
          }
        } finally {
          w.deleteLink("c", "eth0");
        }
      });
    }
  }

  test("MTU, MAC, group and broadcast queue are set by the creating message", () => {
    w.netlink("").do(
      newSubInterface({
        name: "m0",
        parentIndex: w.link("", "eth1").index,
        parentName: "eth1",
        detail: { kind: "macvlan", mode: "bridge", broadcastQueueLength: 2000 },
        mtu: 1400,
        mac: "02:00:00:00:00:09",
        group: 77,
      }),
    );
    expect(w.ipJson("", "link show dev m0")).toMatchObject([
      {
        mtu: 1400,
        address: "02:00:00:00:00:09",
        group: "77",
        linkinfo: { info_data: { mode: "bridge", bcqueuelen: 2000 } },
      },
    ]);
    expect(findLink(w.netlink(""), "m0")).toMatchObject({
      mtu: 1400,
      mac: "02:00:00:00:00:09",
      group: 77,
      up: false,
      detail: { kind: "macvlan", mode: "bridge", broadcastQueueLength: 2000 },
      parentIndex: w.link("", "eth1").index,
    });
    w.deleteLink("", "m0");
  });

  test("a link that is down gets another name, if nobody has it", () => {
    w.netlink("").do(request({ kind: "macvlan", mode: "bridge" }));
    const { index } = w.link("c", "eth0");
    w.netlink("c").do(renameLink(index, "eth0", "eth5"));
    expect(w.link("c", "eth5").index).toBe(index);
    expect(() => w.netlink("c").do(renameLink(index, "eth5", "lo"))).toThrow(
      "rename link eth5 to lo: exists already (EEXIST)",
    );
    w.deleteLink("c", "eth5");
  });

  test("a name that is taken is EEXIST, an absent parent ENODEV", () => {
    const detail = { kind: "macvlan", mode: "bridge" } as const;
    w.netlink("").do(request(detail));
    expect(() => w.netlink("").do(request(detail))).toThrow("create macvlan eth0 on eth1: exists already (EEXIST)");
    w.deleteLink("c", "eth0");
    const lost = newSubInterface({ name: "x", parentIndex: 9999, parentName: "gone", detail });
    expect(w.netlink("").batch([lost])[0]?.errno).toBe(Errno.ENODEV);
  });

  test("passthru excludes a second link: the kernel's own words are in the error", () => {
    w.netlink("").do(request({ kind: "macvlan", mode: "passthru" }));
    const second = w.netlink("").batch([request({ kind: "macvlan", mode: "bridge" }, "eth9")])[0];
    expect(second?.errno).toBe(Errno.EINVAL);
    w.deleteLink("c", "eth0");
  });
});

function bytesOf(detail: SubInterface): string {
  return hex(newSubInterface({ name: "eth0", parentIndex: 7, parentName: "eth1", detail }).body);
}

describe("kinds that this kernel may lack: the exact bytes", () => {
  // struct ifinfomsg (16 bytes), IFLA_IFNAME "eth0", IFLA_LINK 7; what follows is IFLA_LINKINFO
  const start = `${"00".repeat(16)}0900030065746830000000000800050007000000`;

  const ipvlanModes: Record<IpvlanMode, string> = { l2: "0000", l3: "0100", l3s: "0200" };
  const isolations: Record<IpvlanIsolation, string> = { bridge: "0000", private: "0100", vepa: "0200" };
  for (const [mode, m] of Object.entries(ipvlanModes) as [IpvlanMode, string][]) {
    for (const [isolation, f] of Object.entries(isolations) as [IpvlanIsolation, string][]) {
      test(`ipvlan ${mode} ${isolation}`, () => {
        // IFLA_INFO_KIND "ipvlan", IFLA_INFO_DATA with IFLA_IPVLAN_MODE and IFLA_IPVLAN_FLAGS, each a u16
        const kind = "0b0001006970766c616e0000";
        const data = `1400028006000100${m}000006000200${f}0000`;
        const expected = `${start}24001280${kind}${data}`;
        expect(bytesOf({ kind: "ipvlan", mode, isolation })).toBe(expected);
      });
    }
  }

  test("vlan 100 by 802.1Q and 802.1ad", () => {
    // IFLA_INFO_KIND "vlan", IFLA_INFO_DATA with IFLA_VLAN_ID (u16) and IFLA_VLAN_PROTOCOL (big endian)
    const vlan = `${start}2400128009000100766c616e0000000014000280060001006400000006000500`;
    expect(bytesOf({ kind: "vlan", id: 100, protocol: "802.1q" })).toBe(`${vlan}81000000`);
    expect(bytesOf({ kind: "vlan", id: 100, protocol: "802.1ad" })).toBe(`${vlan}88a80000`);
  });

  test("supportsKind asks the kernel, and leaves nothing", () => {
    const nl = w.netlink("");
    expect(supportsKind(nl, { kind: "macvlan", mode: "bridge" })).toBe(true);
    expect(supportsKind(nl, { kind: "macvtap", mode: "bridge" })).toBe(true);
    for (const detail of [
      { kind: "ipvlan", mode: "l2" },
      { kind: "vlan", id: 5 },
    ] as const) {
      const made = nl.batch([
        newSubInterface({ name: "probe0", parentIndex: w.link("", "eth1").index, parentName: "eth1", detail }),
      ])[0];
      expect(supportsKind(nl, detail)).toBe(made === undefined);
      if (made === undefined) w.deleteLink("", "probe0");
      else expect(made.errno).toBe(Errno.EOPNOTSUPP);
    }
    expect(findLink(nl, "berth-probe")).toBeUndefined();
  });
});

describe("looking and changing", () => {
  test("by name, by index, and all: as ip sees them", () => {
    const nl = w.netlink("");
    const names = (w.ipJson("", "link show") as { ifname: string }[]).map((l) => l.ifname);
    expect(
      listLinks(nl)
        .map((l) => l.name)
        .toSorted(),
    ).toEqual(names.toSorted());
    const eth1 = w.link("", "eth1");
    expect(findLinkByIndex(nl, eth1.index)).toEqual(eth1);
    expect(findLink(nl, "nothing")).toBeUndefined();
    expect(findLinkByIndex(nl, 9999)).toBeUndefined();
  });

  test("flags, MTU, MAC, alias, address generation", () => {
    const nl = w.netlink("");
    w.subInterface("eth1", "m1", { kind: "macvlan", mode: "bridge" }, false);
    nl.do(
      changeLink("m1", {
        arp: false,
        multicast: false,
        ipv6Addresses: false,
        alias: "berth:a b",
        mtu: 1300,
        mac: "02:00:00:00:00:0a",
      }),
    );
    nl.do(changeLink("m1", { up: true }));
    expect(findLink(nl, "m1")).toMatchObject({
      arp: false,
      multicast: false,
      up: true,
      alias: "berth:a b",
      mtu: 1300,
      mac: "02:00:00:00:00:0a",
    });
    expect(w.ipJson("", "link show dev m1")).toMatchObject([{ ifalias: "berth:a b", inet6_addr_gen_mode: "none" }]);
    expect(w.ipJson("", "-6 addr show dev m1")).toEqual([]);
    expect(() => nl.do(changeLink("nothing", { up: true }))).toThrow("change link nothing: no such device (ENODEV)");
    w.deleteLink("", "m1");
  });

  test("a truncated message is read as far as it goes", () => {
    for (let n = 16; n < 64; n++) expect(parseLink(new Uint8Array(n)).name).toBe("");
  });
});
