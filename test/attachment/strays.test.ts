// Records and reservations are deleted: what is Berth's is found by its marks, and nothing else is.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { findStrayReservations, releaseStray } from "../../src/attachment/stray-reservations.ts";
import { findStrays, removeStrays } from "../../src/attachment/strays.ts";
import { Reservations } from "../../src/ipam/reservations.ts";
import { LINK_GROUP_BERTH } from "../../src/kernel/protocol.ts";
import { describeLeftovers } from "../../src/cli/leftovers.ts";
import type { Failure } from "../../src/report/failure.ts";
import { call } from "../cni/call.ts";
import { HOST, type Snapshot, TestWorld } from "../world.ts";

const RECORDS = "/run/berth/attachments";
const RESERVATIONS = "/var/lib/cni/networks";

let w: TestWorld;
/** Holds a namespace as a container's process does. */
let resident: Bun.Subprocess;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl(HOST, "net/ipv6/conf/default/accept_dad", "0");
  for (const [lan, nic, net] of [
    ["lan1", "eth1", 77],
    ["lan2", "eth2", 78],
  ] as const) {
    w.lan(lan);
    w.plug(lan, HOST, nic, `10.${net}.0.5/24`, `fd${net}::5/64`);
  }
  for (const name of ["empty", "living", "recorded"]) {
    w.namespace(name);
    w.sysctl(name, "net/ipv6/conf/default/accept_dad", "0");
  }
  resident = Bun.spawn(["nsenter", "--net=/run/netns/living", "sleep", "1000"]);
});
afterAll(async () => {
  resident.kill("SIGKILL");
  await resident.exited;
  w[Symbol.dispose]();
});

function config(name: string, parent: string, net: number, rest: object): object {
  const ranges = [[{ subnet: `10.${net}.0.0/24`, rangeStart: `10.${net}.0.100` }], [{ subnet: `fd${net}::/64` }]];
  return { cniVersion: "1.1.0", name, type: "macvlan", master: parent, ipam: { type: "host-local", ranges }, ...rest };
}
const first = config("first", "eth1", 77, { hostAccess: { table: "own" } });
const second = config("second", "eth2", 78, { hostrouteif: "auto" });

async function mustSucceed(verb: string, json: unknown, container: string): Promise<void> {
  const env = { CNI_CONTAINERID: container, CNI_NETNS: `/run/netns/${container}` };
  expect(await call(verb, json, env)).toMatchObject({ exitCode: 0 });
}

/** Things of a user's that have one of Berth's marks, or look like what Berth makes. */
function lookAlikes(): void {
  w.subInterface("eth1", "mine0", { kind: "macvlan", mode: "bridge" });
  w.subInterface("eth2", "berth-eth9", { kind: "macvlan", mode: "bridge" }); // Berth's way of naming
  w.subInterface("eth2", "mine1", { kind: "macvlan", mode: "bridge" });
  w.ip(HOST, `link set mine1 group ${LINK_GROUP_BERTH} alias the-user's`);
  w.subInterface("eth2", "mine2", { kind: "macvlan", mode: "bridge" });
  w.ip(HOST, "link set mine2 alias berth:first/someone/eth0"); // the alias alone
  w.ip(HOST, "route add 10.99.0.0/24 dev mine0 proto 98"); // a network, which Berth makes no routes to on a host
  w.ip(HOST, "route add 10.77.0.200/32 dev mine0 proto 99");
  w.ip(HOST, "route add unreachable 10.98.0.1/32 proto 98");
  w.ip(HOST, "neighbour add 10.77.0.200 lladdr 02:00:00:00:00:01 dev mine0 nud permanent");
  w.ip(HOST, "rule add priority 980 table 98");
  w.ip(HOST, "rule add priority 981 table 98 protocol 98");
}

async function found(): Promise<{ all: string[]; unrecorded: string[] }> {
  const failures: Failure[] = [];
  const strays = findStrays((f) => failures.push(f));
  const search = { dataDirs: [], unrecorded: strays.unrecorded, graceMs: 0, now: Date.now() };
  const reservations = findStrayReservations(search, (f) => failures.push(f));
  expect(failures).toEqual([]);
  return {
    all: describeLeftovers({ strays: strays.strays, reservations }).toSorted(),
    unrecorded: strays.unrecorded.map(({ key, netns }) => `${key.network}/${key.containerId}/${key.ifName} ${netns}`),
  };
}

describe("without records", () => {
  let before: Snapshot;
  test("nothing of a user's is a stray, whatever marks it has", async () => {
    lookAlikes();
    before = w.snapshot(HOST);
    mkdirSync(`${RESERVATIONS}/other`, { recursive: true });
    writeFileSync(`${RESERVATIONS}/other/10.66.0.2`, "gone\r\neth0"); // the standard plugin's
    expect(await found()).toEqual({ all: [], unrecorded: [] });
  });

  test("recorded attachments are none either", async () => {
    await mustSucceed("ADD", first, "empty");
    await mustSucceed("ADD", second, "living");
    await mustSucceed("ADD", first, "recorded");
    expect(await found()).toEqual({ all: [], unrecorded: [] });
  });

  test("a link, rules, routes, neighbours and reservations are found, in use and not", async () => {
    rmSync(`${RECORDS}/first:empty:eth0.json`);
    rmSync(`${RECORDS}/second:living:eth0.json`);
    expect(await found()).toEqual({
      all: [
        "link eth0 in /run/netns/empty",
        "neighbour 10.77.0.100 dev berth-eth1 on the host",
        "neighbour fd77::2 dev berth-eth1 on the host",
        "reservation of 10.77.0.100 on first for container empty (eth0)",
        "reservation of fd77::2 on first for container empty (eth0)",
        "route 10.77.0.100/32 dev berth-eth1 on the host",
        "route fd77::2/128 dev berth-eth1 on the host",
        "rule from 10.77.0.100 to table 98000000 in /run/netns/empty",
        "rule from fd77::2 to table 98000000 in /run/netns/empty",
      ],
      unrecorded: ["second/living/eth0 /run/netns/living"],
    });
  });

  test("where a record cannot be read nothing is judged", () => {
    writeFileSync(`${RECORDS}/first:odd:eth0.json`, "{");
    const failures: Failure[] = [];
    expect(findStrays((f) => failures.push(f))).toEqual({ strays: [], unrecorded: [] });
    expect(failures.map((f) => f.message)).toEqual([expect.stringContaining("first:odd:eth0.json")]);
    rmSync(`${RECORDS}/first:odd:eth0.json`);
  });

  test("removed, they are gone, and what is another's works on", async () => {
    const failures: Failure[] = [];
    await removeStrays((f) => failures.push(f));
    expect(failures).toEqual([]);
    expect((await found()).all).toEqual([
      "reservation of 10.77.0.100 on first for container empty (eth0)",
      "reservation of fd77::2 on first for container empty (eth0)",
    ]);
    w.ping("recorded", "10.77.0.5");
    w.ping("living", "10.78.0.5");
    expect(w.ipJson("empty", "link show type macvlan")).toEqual([]);
  });

  test("a reservation is kept while it is young, whatever the clock says, and goes by container id and interface", () => {
    const now = Date.now();
    const search = { dataDirs: [], unrecorded: findStrays(() => {}).unrecorded, graceMs: 600_000, now };
    const ips = (at: object): string[] =>
      findStrayReservations({ ...search, ...at }, () => {})
        .map((r) => r.ip)
        .toSorted();
    expect(ips({})).toEqual([]);
    expect(ips({ now: 0 })).toEqual([]); // no clock: 1970
    expect(ips({ now: now + 500_000 })).toEqual([]);
    expect(ips({ now: now + 601_000 })).toEqual(["10.77.0.100", "fd77::2"]);
    // another interface of a container that has a record is nobody's all the same
    const boot = readdirSync(`${RESERVATIONS}/first/.berth`)[0] ?? "";
    const side = `${RESERVATIONS}/first/.berth/${boot}/10.77.0.100`;
    writeFileSync(side, "recorded\r\neth1");
    utimesSync(side, now / 1000 - 700, now / 1000 - 700);
    expect(ips({})).toEqual(["10.77.0.100"]);
    writeFileSync(side, "recorded\r\neth0");
    utimesSync(side, now / 1000 - 700, now / 1000 - 700);
    expect(ips({})).toEqual([]);
    writeFileSync(side, "empty\r\neth0");
    for (const stray of findStrayReservations({ ...search, graceMs: 0 }, () => {})) releaseStray(stray);
    expect(ips({ graceMs: 0 })).toEqual([]);
  });

  test("an address in quarantine, and one that Docker was given, are no strays however old", () => {
    const kept = new Reservations(RESERVATIONS, "kept");
    {
      using _lock = kept.lock();
      kept.quarantine("10.79.0.7", "02:00:00:00:00:07", 86_400);
      kept.reserve("10.79.0.8", "docker:0123\r\ndocker");
      kept.reserve("10.79.0.9", "gone\r\neth0");
    }
    const search = { dataDirs: [], unrecorded: [], graceMs: 0, now: Date.now() + 3_600_000 };
    const ips = findStrayReservations(search, () => {})
      .filter((r) => r.network === "kept")
      .map((r) => r.ip);
    expect(ips).toEqual(["10.79.0.9"]);
    rmSync(kept.directory, { recursive: true });
  });

  test("with everything of Berth's deleted it is all found, and the host is as it was", async () => {
    resident.kill("SIGKILL");
    await resident.exited;
    for (const state of ["/run/berth", "/var/lib/cni"]) rmSync(state, { recursive: true, force: true });
    const { all, unrecorded } = await found();
    expect(unrecorded).toEqual([]);
    expect(all).toContain("access link berth-eth1 on the host");
    expect(all).toContain("access link berth-eth2 on the host");
    expect(all).toContain("rule to table 98 (IPv4) on the host");
    expect(all).toContain("rule to table 98 (IPv6) on the host");
    const failures: Failure[] = [];
    await removeStrays((f) => failures.push(f));
    expect(failures).toEqual([]);
    expect(await found()).toEqual({ all: [], unrecorded: [] });
    expect(w.snapshot(HOST)).toEqual(before);
    for (const name of ["empty", "living", "recorded"]) expect(w.ipJson(name, "link show type macvlan")).toEqual([]);
  });
});

test("a link whose MAC was changed in the container goes with DEL; another attachment's of that name does not", async () => {
  await mustSucceed("ADD", second, "recorded");
  w.ip("recorded", "link set eth0 address 02:00:00:00:00:99");
  await mustSucceed("DEL", second, "recorded");
  expect(w.ipJson("recorded", "link show type macvlan")).toEqual([]);
  // as if ADD had been killed after it wrote its record, in a namespace where another has that name
  await mustSucceed("ADD", second, "recorded");
  const path = `${RECORDS}/second:recorded:eth0.json`;
  const text = readFileSync(path, "utf8");
  writeFileSync(
    `${RECORDS}/second:other:eth0.json`,
    text.replaceAll("recorded", "other").replace("/run/netns/other", "/run/netns/recorded"),
  );
  w.ip("recorded", "link set eth0 address 02:00:00:00:00:99");
  const env = { CNI_CONTAINERID: "other", CNI_NETNS: "/run/netns/recorded" };
  expect(await call("DEL", second, env)).toMatchObject({ exitCode: 0 });
  expect(w.ipJson("recorded", "link show type macvlan")).toHaveLength(1);
  await mustSucceed("DEL", second, "recorded");
  expect(w.ipJson("recorded", "link show type macvlan")).toEqual([]);
});
