import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync, utimesSync } from "node:fs";
import { ping } from "../../src/kernel/icmp.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { call, type Reply } from "../cni/call.ts";
import { type Snapshot, TestWorld } from "../world.ts";

let w: TestWorld;
let before: Snapshot[];
const neighbourMac = "02:00:00:00:0a:01";
const reservations = "/var/lib/cni/networks/tasks";

beforeAll(() => {
  w = new TestWorld();
  for (const lan of ["office", "tasks"]) w.lan(lan);
  w.plug("office", "", "eth0", "192.168.10.22/24");
  w.plug("tasks", "", "eth1");
  // a machine that nobody told IPAM about
  w.namespace("squatter");
  w.plug("tasks", "squatter", "eth0", "192.168.122.172/24", "192.168.122.173/24", "fd22::a2/64");
  w.ip("squatter", `link set eth0 address ${neighbourMac}`);
  w.namespace("c");
  before = ["", "c"].map((namespace) => w.snapshot(namespace));
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
});
afterAll(() => w[Symbol.dispose]());

const quick = { probes: 2, waitMs: 60 };
const config = {
  cniVersion: "1.0.0",
  name: "tasks",
  type: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  conflictDetection: quick,
  ipam: { type: "host-local", subnet: "192.168.122.0/24", rangeStart: "192.168.122.171" },
};

function addressOf(reply: Reply): unknown {
  return (reply.json["ips"] as { address: string }[] | undefined)?.[0]?.address ?? reply.text;
}

async function detach(with_: unknown = config): Promise<void> {
  expect((await call("DEL", with_)).text).toBe("");
  expect(["", "c"].map((namespace) => w.snapshot(namespace))).toEqual(before);
}

describe("conflictDetection", () => {
  test("an address that nobody has is used, announced, and reached from the LAN and the host", async () => {
    w.ip("squatter", "neigh replace 192.168.122.171 lladdr 02:00:00:00:00:99 dev eth0 nud stale");
    const reply = await call("ADD", config);
    expect(addressOf(reply)).toBe("192.168.122.171/24");
    expect(reply.remarks).toEqual([]);
    const { mac } = w.link("c", "eth0");
    expect(w.ip("squatter", "neigh show 192.168.122.171")).toContain(`lladdr ${mac}`);
    expect(ping(w.at("squatter"), "192.168.122.171")).toMatchObject({ ok: true });
    expect(exchange(undefined, w.at("c"), "192.168.122.171", 80)).toMatchObject({ ok: true, peer: "192.168.10.22" });
    expect((await call("CHECK", config)).text).toBe("");
    await detach();
  });

  test("without it, and without an answer to wait for, nothing of it is in the plan", async () => {
    const { conflictDetection: _, ...plain } = config;
    expect(addressOf(await call("ADD", plain))).toBe("192.168.122.171/24");
    await detach(plain);
  });

  test("addresses that another machine has are passed over, each for the time of its quarantine", async () => {
    const first = { CNI_CONTAINERID: "first" };
    expect(addressOf(await call("ADD", config, first))).toBe("192.168.122.171/24");
    expect((await call("DEL", config, first)).text).toBe("");
    const reply = await call("ADD", config);
    expect(addressOf(reply)).toBe("192.168.122.174/24");
    const who = `another machine on this LAN (MAC ${neighbourMac}) has it`;
    expect(reply.remarks).toEqual([
      `192.168.122.172 is in quarantine for 3600 s: ${who}`,
      `192.168.122.173 is in quarantine for 3600 s: ${who}`,
    ]);
    expect(ping(w.at("c"), "192.168.122.172")).toMatchObject({ ok: true });

    // it is nobody's, so that no collection takes it for garbage; who asks for it is told
    const gc = { ...config, cniVersion: "1.1.0", "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }] };
    expect((await call("GC", gc)).text).toBe("");
    w.namespace("d");
    const other = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    const asked = await call("ADD", config, { ...other, CNI_ARGS: "IP=192.168.122.172" });
    expect(asked.json["msg"]).toContain(
      `give the address 192.168.122.172: another machine on this LAN (MAC ${neighbourMac})`,
    );
    expect(asked.json["msg"]).toContain("in quarantine");

    // once its time is over it is tried again; here the machine is gone by then
    w.ip("squatter", "address del 192.168.122.172/24 dev eth0");
    w.ip("squatter", "address add 192.168.122.173/24 dev eth0"); // a secondary went with its primary
    const past = new Date(Date.now() - 1000);
    utimesSync(`${reservations}/.berth/quarantine/192.168.122.172`, past, past);
    const again = await call("ADD", config, { ...other, CNI_ARGS: "IP=192.168.122.172" });
    expect(addressOf(again)).toBe("192.168.122.172/24");
    expect((await call("DEL", config, other)).text).toBe("");
    w.removeNamespace("d");
    w.ip("squatter", "address add 192.168.122.172/24 dev eth0");
    await detach();
  });

  test("an address that was asked for, or is the only one, is refused with the holder's MAC; nothing is left", async () => {
    const asked = await call("ADD", config, { CNI_ARGS: "IP=192.168.122.173" });
    expect(asked.json).toMatchObject({
      code: 101,
      msg: `use 192.168.122.173 on eth0: another machine on this LAN (MAC ${neighbourMac}) has this address`,
    });
    expect(["", "c"].map((namespace) => w.snapshot(namespace))).toEqual(before);
    const fixed = { ...config, ipam: { type: "static", addresses: [{ address: "192.168.122.172/24" }] } };
    expect((await call("ADD", fixed)).json["msg"]).toContain(neighbourMac);
    const only = { ...config, ipam: { ...config.ipam, rangeStart: "192.168.122.172", rangeEnd: "192.168.122.173" } };
    const none = await call("ADD", only);
    expect(none.json["msg"]).toContain("find a free address in");
    expect(none.json["details"]).toContain(neighbourMac);
    expect(["", "c"].map((namespace) => w.snapshot(namespace))).toEqual(before);
  });

  test("an address of the host itself is passed over too", async () => {
    const inOffice = {
      ...config,
      name: "office",
      master: "eth0",
      ipam: { type: "host-local", subnet: "192.168.10.0/24", rangeStart: "192.168.10.22", rangeEnd: "192.168.10.23" },
    };
    for (const hostAccess of ["auto", false]) {
      const network = { ...inOffice, hostAccess, name: `office-${String(hostAccess)}` };
      const reply = await call("ADD", network);
      expect(addressOf(reply)).toBe("192.168.10.23/24");
      expect(reply.remarks).toEqual(["192.168.10.22 is in quarantine for 3600 s: the host itself has it"]);
      await detach(network);
    }
  });

  test("siblings on the same parent are asked too, in both families", async () => {
    const dual = {
      ...config,
      ipam: { type: "static", addresses: [{ address: "192.168.122.180/24" }, { address: "fd22::a0/64" }] },
    };
    expect(addressOf(await call("ADD", dual))).toBe("192.168.122.180/24");
    w.namespace("d");
    const other = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    const { mac } = w.link("c", "eth0");
    const bare = { ...config, name: "other", hostAccess: false };
    for (const address of ["192.168.122.180/24", "fd22::a0/64"]) {
      const taken = { ...bare, ipam: { type: "static", addresses: [{ address }] } };
      expect((await call("ADD", taken, other)).json["msg"]).toContain(`(MAC ${mac}) has this address`);
    }
    const six = { ...bare, ipam: { type: "host-local", subnet: "fd22::/64", rangeStart: "fd22::a0" } };
    const reply = await call("ADD", six, other);
    expect(addressOf(reply)).toBe("fd22::a1/64");
    expect(reply.remarks).toHaveLength(1);
    expect((await call("DEL", six, other)).text).toBe("");
    w.removeNamespace("d");
    await detach(dual);
  });

  test("IPv6's own detection, which needs no key, leads to the next address too", async () => {
    const six = {
      ...config,
      conflictDetection: false,
      hostAccess: false,
      ipam: { type: "host-local", subnet: "fd22::/64", rangeStart: "fd22::a2" },
    };
    const reply = await call("ADD", six);
    expect(addressOf(reply)).toBe("fd22::a3/64");
    expect(reply.remarks).toEqual([
      `fd22::a2 is in quarantine for 3600 s: another machine on this LAN (MAC ${neighbourMac}) has it`,
    ]);
    await detach(six);
  });

  test("two that ask at the same moment do not both get the address", async () => {
    w.namespace("d");
    const main = `${import.meta.dir}/../../src/main.ts`;
    const fixed = {
      ...config,
      hostAccess: false,
      ipam: { type: "static", addresses: [{ address: "192.168.122.190/24" }] },
    };
    const patient = { ...fixed, conflictDetection: { probes: 3, waitMs: 400 } };
    const exits = await Promise.all(
      ["c", "d"].map(async (namespace) => {
        const child = Bun.spawn([process.execPath, main], {
          argv0: "macvlan",
          env: {
            PATH: process.env["PATH"] ?? "",
            CNI_COMMAND: "ADD",
            CNI_CONTAINERID: namespace,
            CNI_NETNS: `/run/netns/${namespace}`,
            CNI_IFNAME: "eth0",
            CNI_PATH: "/opt/cni/bin",
          },
          stdin: Buffer.from(JSON.stringify(patient)),
          stdout: "ignore",
        });
        return await child.exited;
      }),
    );
    expect(exits).toContain(1);
    w.removeNamespace("d");
    expect((await call("DEL", patient, { CNI_CONTAINERID: "c" })).text).toBe("");
  });

  test("settings that cannot work are refused", async () => {
    for (const [conflictDetection, where] of [
      [{ probes: 0 }, "conflictDetection.probes"],
      [{ waitMs: 20_000 }, "conflictDetection.waitMs"],
      ["yes", "conflictDetection"],
    ] as const) {
      const reply = await call("ADD", { ...config, conflictDetection });
      expect(reply.json).toMatchObject({ code: 7, msg: expect.stringContaining(where) });
    }
    const l3 = await call("ADD", { ...config, type: "ipvlan", mode: "l3", hostAccess: false, conflictDetection: true });
    expect(l3.json["msg"]).toContain("it takes no part in ARP");
  });
});
