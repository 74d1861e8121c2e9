// Whoever is in the container gives its link another name: it is Berth's all the same.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { listRecords } from "../../src/attachment/record.ts";
import { repair } from "../../src/attachment/repair.ts";
import { findStrays } from "../../src/attachment/strays.ts";
import { listLinks } from "../../src/kernel/links.ts";
import { call } from "../cni/call.ts";
import { missingKind } from "../kernel-kinds.ts";
import { HOST, type Snapshot, TestWorld } from "../world.ts";

let w: TestWorld;
let before: Snapshot[];
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.plug("lan", HOST, "eth1", "10.1.0.5/24");
});
afterAll(() => w[Symbol.dispose]());
beforeEach(() => {
  w.namespace("c");
  before = state();
});
afterEach(() => {
  w.removeNamespace("c");
  for (const path of ["/run/berth", "/var/lib/cni"]) rmSync(path, { recursive: true, force: true });
});

function state(): Snapshot[] {
  return [HOST, "c"].map((name) => w.snapshot(name));
}

function config(type: string, rest: Record<string, unknown> = {}): Record<string, unknown> {
  const ipam = { type: "host-local", subnet: "10.1.0.0/24", rangeStart: "10.1.0.100" };
  const more = type === "vlan" ? { vlanId: 7 } : { hostAccess: "auto" };
  return { cniVersion: "1.1.0", name: "lan", type, master: "eth1", ipam, ...more, ...rest };
}

async function add(json: Record<string, unknown>, env: Record<string, string> = {}): Promise<unknown> {
  const reply = await call("ADD", json, env);
  expect(reply.json).not.toHaveProperty("code");
  return reply.json;
}

function rename(from: string, to: string): void {
  w.ip("c", `link set dev ${from} down`);
  w.ip("c", `link set dev ${from} name ${to}`);
  w.ip("c", `link set dev ${to} up`);
}

const names = (): string[] => listLinks(w.netlink("c")).map((link) => link.name);

const endings: readonly (readonly [string, () => void, string])[] = [
  ["DEL, by the record", () => {}, "DEL"],
  ["DEL, without a record", () => rmSync("/run/berth", { recursive: true }), "DEL"],
  ["GC", () => {}, "GC"],
];

for (const type of ["macvlan", "macvtap", "ipvlan", "vlan"]) {
  const missing = missingKind(type);
  describe.skipIf(missing !== undefined)(`${type}${missing ?? ""}: a link that was renamed goes by`, () => {
    test.each(endings)("%s", async (_, lose, verb) => {
      const json = config(type);
      await add(json);
      rename("eth0", "lan0");
      lose();
      const reply = await call(verb, verb === "GC" ? { ...json, "cni.dev/valid-attachments": [] } : json);
      expect(reply.text).toBe("");
      expect(names()).toEqual(["lo"]);
      expect(state()).toEqual(before);
    });
  });
}

describe("a link that was renamed", () => {
  test("what has its name now is not it, and neither is another attachment of the same MAC", async () => {
    const mac = "02:00:00:00:00:07";
    const second = config("macvlan", {
      name: "second",
      master: "eth2",
      mac,
      hostAccess: false,
      ipam: { type: "static", addresses: [{ address: "10.2.0.9/24" }] },
    });
    const first = config("macvlan", { mac });
    w.lan("other");
    w.plug("other", HOST, "eth2");
    await add(first);
    await add(second, { CNI_IFNAME: "eth7" });
    rename("eth0", "lan0");
    w.ip("c", "link add eth0 type bridge");
    expect((await call("DEL", first)).text).toBe("");
    expect(names().toSorted()).toEqual(["eth0", "eth7", "lo"]);
    w.ip("c", "link delete eth7"); // and it is not the other's, whose own link is gone
    await add(first, { CNI_IFNAME: "eth1" });
    expect((await call("DEL", second, { CNI_IFNAME: "eth7" })).text).toBe("");
    expect(names().toSorted()).toEqual(["eth0", "eth1", "lo"]);
    expect((await call("DEL", first, { CNI_IFNAME: "eth1" })).text).toBe("");
    w.deleteLink(HOST, "eth2");
  });

  test("is no stray", async () => {
    const json = config("macvlan");
    await add(json);
    rename("eth0", "lan0");
    expect(findStrays((failure) => expect.unreachable(failure.message))).toEqual({ strays: [], unrecorded: [] });
    expect((await call("DEL", json)).text).toBe("");
  });

  test("CHECK says what it is called, and repair makes no second one", async () => {
    const json = config("macvlan");
    const prevResult = await add(json);
    rename("eth0", "lan0");
    expect((await call("CHECK", { ...json, prevResult })).text).toContain("link eth0: is called lan0 now");
    const [record] = listRecords(() => {});
    if (record === undefined) throw new Error("there is no record");
    const failed = await repair(record).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(failed).toMatchObject({
      message: expect.stringContaining("make link eth0 anew: it is there, and is called lan0 now"),
      advice: expect.stringContaining("ip link set dev lan0 name eth0"),
    });
    expect(names().toSorted()).toEqual(["lan0", "lo"]);
    rename("lan0", "eth0");
    await repair(record);
    expect((await call("CHECK", { ...json, prevResult })).text).toBe("");
    expect((await call("DEL", json)).text).toBe("");
  });
});
