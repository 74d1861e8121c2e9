// State that lies otherwise than Berth left it, and disks that take nothing: a clear error or a repair, never a crash, never
// a followed link, never a lost neighbour's record.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { listRecords, readRecord } from "../../src/attachment/record.ts";
import { mount, MS_BIND, unmount } from "../../src/kernel/libc.ts";
import { call, type Reply } from "../cni/call.ts";
import { bootId } from "../../src/kernel/namespaces.ts";
import { HOST, type Snapshot, TestWorld } from "../world.ts";

const MS_RDONLY = 1;
const MS_REMOUNT = 0x20;
const PRECIOUS = "/run/precious";
const SECRET = "root:x:0:0:do not touch";
const RESERVATIONS = "/var/lib/cni/networks/net";
const RECORDS = "/run/berth/attachments";

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.namespace("c");
  w.namespace("d");
  w.plug("lan", HOST, "eth1", "192.168.122.1/24");
  before = w.snapshot(HOST);
});
afterAll(() => w[Symbol.dispose]());
beforeEach(() => {
  for (const path of ["/run/berth", "/var/lib/cni", "/var/lib/berth"]) rmSync(path, { recursive: true, force: true });
  writeFileSync(PRECIOUS, SECRET);
});
afterEach(() => {
  expect(readFileSync(PRECIOUS, "utf8")).toBe(SECRET);
});

const config = {
  cniVersion: "1.0.0",
  name: "net",
  type: "macvlan",
  master: "eth1",
  hostrouteif: "auto",
  ipam: { type: "host-local", subnet: "192.168.122.0/24", rangeStart: "192.168.122.170", rangeEnd: "192.168.122.172" },
};
const neighbour = { CNI_CONTAINERID: "d1", CNI_NETNS: "/run/netns/d" };

/** An error object that says what and where, and nothing of what a link points to. */
function expectRefused(reply: Reply, what: RegExp): void {
  expect([reply.exitCode, reply.json["msg"]]).toEqual([1, expect.stringMatching(what)]);
  expect(reply.json["code"]).not.toBe(199);
  expect(reply.text).not.toContain("do not touch");
}

/** The neighbour's attachment is whole. */
async function expectNeighbour(): Promise<void> {
  expect(readRecord({ network: "net", containerId: "d1", ifName: "eth0" })?.plan.length).toBeGreaterThan(0);
  expect((await call("CHECK", config, neighbour)).text).toBe("");
}

async function endNeighbour(): Promise<void> {
  expect((await call("DEL", config, neighbour)).text).toBe("");
  expect(w.snapshot(HOST)).toEqual(before);
}

describe("in the place of a record", () => {
  const path = `${RECORDS}/net:c1:eth0.json`;

  test("a link: it is named, not followed, and removed by DEL", async () => {
    await call("ADD", config, neighbour);
    const added = await call("ADD", config);
    rmSync(path);
    symlinkSync(PRECIOUS, path);
    const prevResult = added.json;
    expectRefused(await call("CHECK", { ...config, prevResult }), /symbolic link/u);
    const failures: string[] = [];
    expect(listRecords((f) => failures.push(f.message))).toHaveLength(1);
    expect(failures).toEqual([expect.stringContaining("symbolic link")]);
    expect((await call("DEL", { ...config, prevResult })).text).toBe("");
    expect(existsSync(path)).toBe(false);
    await expectNeighbour();
    await endNeighbour();
  });

  test("a directory: it is named, and what was attached is left for when it is gone", async () => {
    await call("ADD", config, neighbour);
    const added = await call("ADD", config);
    rmSync(path);
    mkdirSync(path);
    expectRefused(await call("DEL", { ...config, prevResult: added.json }), /EISDIR/u);
    rmSync(path, { recursive: true });
    expect((await call("DEL", { ...config, prevResult: added.json })).text).toBe("");
    await expectNeighbour();
    await endNeighbour();
  });

  test("another container's record, copied: it is not taken for this one's", async () => {
    await call("ADD", config, neighbour);
    writeFileSync(path, readFileSync(`${RECORDS}/net:d1:eth0.json`));
    expectRefused(await call("CHECK", config), /it is the record of net\/d1\/eth0/u);
    expect((await call("DEL", config)).text).toBe("");
    await expectNeighbour();
    await endNeighbour();
  });

  test("a link where the new one is written: nothing is written through it", async () => {
    mkdirSync(RECORDS, { recursive: true });
    symlinkSync(PRECIOUS, `${path}.new`);
    expectRefused(await call("ADD", config), /ELOOP/u);
    expect(w.snapshot(HOST)).toEqual(before);
    expect(existsSync(RESERVATIONS)).toBe(false);
  });

  test("a link in the place of a lock", async () => {
    await call("ADD", config);
    const locks = "/run/berth/locks";
    for (const name of readdirSync(locks)) {
      rmSync(`${locks}/${name}`);
      symlinkSync(PRECIOUS, `${locks}/${name}`);
    }
    expectRefused(await call("DEL", config), /ELOOP/u);
    rmSync(locks, { recursive: true });
    expect((await call("DEL", config)).text).toBe("");
    expect(w.snapshot(HOST)).toEqual(before);
  });

  const others = [
    "/etc/postgresql/15/main/pg_ctl.conf",
    "/etc/hostname",
    "/etc/passwd",
    "/var/cache/man/CACHEDIR.TAG",
  ].filter((f) => existsSync(f) && statSync(f).uid !== 0);
  test.skipIf(others.length === 0)(
    "another user's file (needs one on this machine that is not the test's own)",
    async () => {
      await call("ADD", config);
      mount(others[0] ?? "", path, "", MS_BIND);
      expectRefused(await call("CHECK", config), /which is of user \d+: operation not permitted/u);
      expectRefused(await call("DEL", config), /which is of user/u);
      unmount(path);
      expect((await call("DEL", config)).text).toBe("");
      expect(w.snapshot(HOST)).toEqual(before);
    },
  );
});

describe("among reservations", () => {
  test("a link in an address's place: the address is somebody's, the next one is given", async () => {
    mkdirSync(RESERVATIONS, { recursive: true });
    symlinkSync(PRECIOUS, `${RESERVATIONS}/192.168.122.170`);
    symlinkSync("/nowhere", `${RESERVATIONS}/192.168.122.171`);
    const added = await call("ADD", config);
    expect(added.json).toMatchObject({ ips: [{ address: "192.168.122.172/24" }] });
    expectRefused(await call("ADD", config, { CNI_IFNAME: "eth1" }), /all 3 are taken/u);
    const asked = await call("ADD", config, { CNI_IFNAME: "eth1", CNI_ARGS: "IP=192.168.122.170" });
    expectRefused(asked, /something that is no file has it/u);
    expect((await call("DEL", config)).text).toBe("");
    expect(lstatSync(`${RESERVATIONS}/192.168.122.170`).isSymbolicLink()).toBe(true);
    expect(w.snapshot(HOST)).toEqual(before);
  });

  for (const name of ["last_reserved_ip.0", "lock", ".berth", `.berth/${bootId()}`, ".berth/quarantine"]) {
    test(`a link in the place of ${name}: refused, not followed`, async () => {
      mkdirSync("/run/etc/sub/deep", { recursive: true });
      mkdirSync(`${RESERVATIONS}/${name}/..`, { recursive: true });
      rmSync(`${RESERVATIONS}/${name}`, { recursive: true, force: true });
      symlinkSync(name.startsWith(".berth") ? "/run/etc" : PRECIOUS, `${RESERVATIONS}/${name}`);
      expectRefused(await call("ADD", config), /ELOOP/u);
      expect(existsSync("/run/etc/sub/deep")).toBe(true);
      expect(readdirSync(RESERVATIONS).filter((f) => f.startsWith("192"))).toEqual([]);
      expect(w.snapshot(HOST)).toEqual(before);
      rmSync("/run/etc", { recursive: true });
    });
  }
});

/** Mounts something that takes nothing over a directory while `f` runs. */
async function over(directory: string, how: "full" | "read-only", f: () => Promise<void>): Promise<void> {
  mkdirSync(directory, { recursive: true });
  mount("tmpfs", directory, "tmpfs", 0, how === "full" ? "size=4k,nr_inodes=2,mode=0700" : "mode=0700");
  try {
    if (how === "full") writeFileSync(`${directory}/filler`, "x".repeat(4096));
    else mount("tmpfs", directory, "", MS_REMOUNT | MS_RDONLY);
    await f();
  } finally {
    unmount(directory);
  }
}

describe("a disk that takes nothing", () => {
  for (const how of ["full", "read-only"] as const) {
    const errno = how === "full" ? /ENOSPC/u : /EROFS/u;

    test(`/run/berth is ${how}: ADD is refused and leaves nothing, a neighbour can still be looked at`, async () => {
      await over("/run/berth", how, async () => {
        expectRefused(await call("ADD", config), errno);
        expect(w.snapshot(HOST)).toEqual(before);
      });
    });

    test(`/var/lib/cni is ${how}: ADD is refused and leaves nothing, and works when there is room`, async () => {
      await over("/var/lib/cni", how, async () => {
        expectRefused(await call("ADD", config), errno);
        expect(w.snapshot(HOST)).toEqual(before);
        expect(listRecords(() => {})).toEqual([]);
        if (how === "full") expect((await call("DEL", config)).text).toBe("");
      });
      expect((await call("ADD", config)).exitCode).toBe(0);
      expect((await call("DEL", config)).text).toBe("");
    });
  }

  test("the disk becomes read-only after ADD: DEL removes what it can, says what it cannot, and ends it later", async () => {
    await call("ADD", config);
    mount("/var/lib/cni", "/var/lib/cni", "", MS_BIND);
    mount("none", "/var/lib/cni", "", MS_BIND | MS_REMOUNT | MS_RDONLY);
    expectRefused(await call("DEL", config), /EROFS/u);
    expect(w.snapshot(HOST)).toEqual(before);
    unmount("/var/lib/cni");
    expect((await call("DEL", config)).text).toBe("");
    expect(readdirSync(RESERVATIONS).filter((f) => f.startsWith("192"))).toEqual([]);
    expect(listRecords(() => {})).toEqual([]);
  });

  test("the disks become full after ADD: DEL needs no room", async () => {
    const disks = ["/var/lib/cni", "/run/berth"];
    for (const disk of disks) {
      mkdirSync(disk, { recursive: true });
      mount("tmpfs", disk, "tmpfs", 0, "size=64k,mode=0700");
    }
    try {
      expect((await call("ADD", config)).exitCode).toBe(0);
      for (const disk of disks) expect(() => writeFileSync(`${disk}/filler`, "x".repeat(1 << 20))).toThrow("ENOSPC");
      expect((await call("CHECK", config)).text).toBe("");
      expect((await call("DEL", config)).text).toBe("");
      expect(w.snapshot(HOST)).toEqual(before);
      expect(readdirSync(RESERVATIONS).filter((f) => f.startsWith("192"))).toEqual([]);
      expect(listRecords(() => {})).toEqual([]);
    } finally {
      for (const disk of disks) unmount(disk);
    }
  });
});

test("what is written is for root alone", async () => {
  process.umask(0);
  await call("ADD", config);
  for (const file of readdirSync("/run/berth", { recursive: true, encoding: "utf8" })) {
    const { mode } = statSync(`/run/berth/${file}`);
    expect([file, mode & 0o077]).toEqual([file, 0]);
  }
  expect(statSync("/run/berth/attachments").mode & 0o777).toBe(0o700);
  expect((await call("DEL", config)).text).toBe("");
});
