// berth up and berth down, in process, against the kernel.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { listRecords } from "../../src/attachment/record.ts";
import { readSysctl } from "../../src/kernel/sysctls.ts";
import { applyChanges, type Outcome, takeDown } from "../../src/site/apply.ts";
import { type Change, differenceOf } from "../../src/site/difference.ts";
import { readSite } from "../../src/site/site-file.ts";
import { TestWorld } from "../world.ts";

const SITE = "/run/site.yaml";

let w: TestWorld;
beforeEach(() => {
  for (const state of ["/run/berth", "/var/lib/cni"]) rmSync(state, { recursive: true, force: true });
  w = new TestWorld();
  w.lan("office");
  w.plug("office", "", "eth1", "192.168.122.2/24");
  w.namespace("db");
  w.namespace("web");
});
afterEach(() => w[Symbol.dispose]());

const networks = `
networks:
  lan:
    kind: macvlan
    master: eth1
    hostrouteif: auto
    ipam: {type: host-local, ranges: [[{subnet: 192.168.122.0/24, rangeStart: 192.168.122.100}]]}
`;
const two = `${networks}
attachments:
  - {network: lan, netns: db, ip: 192.168.122.150}
  - {network: lan, netns: web, interface: lan0, mac: "02:00:00:00:00:07"}
`;

function wantedIn(text: string): ReturnType<typeof readSite> {
  return readSite(SITE, text, (path) => {
    throw new Error(`${path} is not to be read`);
  });
}

/** Its network with IPv6 beside IPv4. */
function dual(text: string): string {
  return text.replace("ranges: [", 'ranges: [[{subnet: "fd22::/64"}], ');
}

async function up(text: string): Promise<{ outcomes: Outcome[]; failures: string[]; changes: Change[] }> {
  const { changes, failures } = differenceOf(
    SITE,
    wantedIn(text),
    listRecords((f) => expect.unreachable(f.message)),
  );
  const outcomes: Outcome[] = [];
  await applyChanges(SITE, changes, (o) => outcomes.push(o));
  return { outcomes, failures: failures.map((f) => f.message), changes };
}

async function down(text: string): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const records = listRecords(() => {}).filter((r) => r.site === SITE);
  await takeDown(records, wantedIn(text), (o) => outcomes.push(o));
  return outcomes;
}

const said = (outcomes: readonly Outcome[]): string[] =>
  outcomes.map((o) => `${o.todo} ${o.key.containerId}/${o.key.ifName} ${o.failure?.message ?? o.addresses.join(",")}`);

describe("a site", () => {
  test("is made, and made again without a change; down leaves nothing", async () => {
    const before = [w.snapshot(""), w.snapshot("db"), w.snapshot("web")];
    const first = await up(two);
    expect(said(first.outcomes)).toEqual(["attach db/eth0 192.168.122.150/24", "attach web/lan0 192.168.122.151/24"]);
    const there = [w.snapshot(""), w.snapshot("db"), w.snapshot("web")];
    expect(w.link("web", "lan0").mac).toBe("02:00:00:00:00:07");
    w.ping("", "192.168.122.150");
    expect(said((await up(two)).outcomes)).toEqual([
      "keep db/eth0 192.168.122.150/24",
      "keep web/lan0 192.168.122.151/24",
    ]);
    expect([w.snapshot(""), w.snapshot("db"), w.snapshot("web")]).toEqual(there);
    expect(said(await down(two)).toSorted()).toEqual(["detach db/eth0 ", "detach web/lan0 "]);
    expect([w.snapshot(""), w.snapshot("db"), w.snapshot("web")]).toEqual(before);
    expect(readdirSync("/run/berth/attachments")).toEqual([]);
    expect(readdirSync("/var/lib/cni/networks/lan").filter((n) => n.startsWith("192."))).toEqual([]);
  });

  test("changes where its file does, and nowhere else", async () => {
    await up(two);
    const web = w.snapshot("web");
    const { outcomes, changes } = await up(two.replace("192.168.122.150", "192.168.122.160"));
    expect(said(outcomes)).toEqual(["replace db/eth0 192.168.122.160/24", "keep web/lan0 192.168.122.151/24"]);
    expect(changes[0]).toMatchObject({ why: "it has 192.168.122.150, and shall have 192.168.122.160" });
    expect(w.snapshot("web")).toEqual(web);
    w.ping("", "192.168.122.160");
    const rest = two.split("\n").filter((line) => !line.includes("netns: web"));
    expect(said((await up(rest.join("\n"))).outcomes)).toEqual([
      "detach web/lan0 ",
      expect.stringContaining("db/eth0"),
    ]);
    expect(w.ipJson("web", "link").map((l) => l["ifname"])).toEqual(["lo"]);
  });

  test("of which one part fails has the others, and nothing of that one", async () => {
    const bad = two.replace("192.168.122.150", "192.168.122.2"); // the host's own
    const { outcomes } = await up(bad);
    expect(outcomes[0]?.failure?.message).toContain("192.168.122.2");
    expect(said(outcomes)[1]).toBe("attach web/lan0 192.168.122.100/24");
    expect(w.ipJson("db", "link").map((l) => l["ifname"])).toEqual(["lo"]);
    expect(listRecords(() => {}).map((r) => r.key.containerId)).toEqual(["web"]);
    await up(two);
    expect(listRecords(() => {}).map((r) => r.key.containerId)).toEqual(["db", "web"]);
  });

  test("keeps what was there where its replacement fails", async () => {
    await up(two);
    const before = w.snapshot("db");
    const { outcomes } = await up(two.replace("192.168.122.150", "10.9.9.9"));
    expect(outcomes[0]?.failure?.message).toMatch(/10\.9\.9\.9.*What was there before is there again$/u);
    expect(w.snapshot("db")).toEqual(before);
  });

  test("makes the namespaces that it shall, and deletes them", async () => {
    const own = `${networks}
attachments:
  - {network: lan, netns: fresh, create: true}
`;
    expect(said((await up(own)).outcomes)).toEqual(["attach fresh/eth0 192.168.122.100/24"]);
    w.ping("", "192.168.122.100");
    await down(own);
    expect(existsSync("/run/netns/fresh")).toBe(false);
  });

  test("after a boot is made anew: namespaces and records are gone", async () => {
    await up(two);
    w.removeNamespace("db");
    w.namespace("db");
    const { outcomes, changes } = await up(two);
    expect(changes.map((c) => [c.todo, "why" in c ? c.why : ""])).toEqual([
      ["replace", "its namespace is gone"],
      ["keep", ""],
    ]);
    expect(outcomes.every((o) => o.failure === undefined)).toBe(true);
  });

  test("does not touch what others attached", async () => {
    const { outcomes } = await up(two);
    expect(outcomes.length).toBe(2);
    const record = listRecords(() => {}).find((r) => r.key.containerId === "db");
    const { site: _, ...foreign } = record ?? expect.unreachable();
    writeFileSync("/run/berth/attachments/lan:db:eth0.json", JSON.stringify(foreign));
    expect(said((await up(two)).outcomes)[0]).toBe("keep db/eth0 192.168.122.150/24");
    const { failures } = await up(two.replace("192.168.122.150", "192.168.122.160"));
    expect(failures).toEqual([
      "attach lan/db/eth0: it is there, but it has 192.168.122.150, and shall have 192.168.122.160",
    ]);
    expect((await down(two)).map((o) => o.key.containerId)).toEqual(["web"]);
  });
});

test("addresses that are asked for are given before any other could get them", async () => {
  const text = `${networks}
attachments:
  - {network: lan, netns: web}
  - {network: lan, netns: db, ip: 192.168.122.100}
`;
  expect(said((await up(text)).outcomes)).toEqual([
    "attach db/eth0 192.168.122.100/24",
    "attach web/eth0 192.168.122.101/24",
  ]);
});

describe("a site of many", () => {
  const names = Array.from({ length: 40 }, (_, i) => `many-${i}`);
  const many = `${networks}
attachments:
${names.map((netns) => `  - {network: lan, netns: ${netns}}`).join("\n")}
`;

  test("has in each namespace what an attachment by itself has, whoever else has an eth0", async () => {
    for (const name of ["alone", ...names]) {
      w.namespace(name);
      w.sysctl(name, "net/ipv6/conf/default/accept_dad", "0");
    }
    await up(dual(`${networks}\nattachments: [{network: lan, netns: alone}]`));
    rmSync("/run/berth/attachments/lan:alone:eth0.json");
    expect((await up(dual(many))).outcomes.filter((o) => o.failure !== undefined)).toEqual([]);
    const settings = ["net/ipv4/conf/eth0/arp_notify", "net/ipv6/conf/eth0/ndisc_notify"];
    const inside = (name: string): unknown => w.at(name)?.run(() => settings.map((key) => readSysctl(key)));
    expect(inside("alone")).toEqual(["1", "1"]);
    for (const name of names) expect([name, inside(name)]).toEqual([name, ["1", "1"]]);
    w.ping("", "192.168.122.139");
    await down(many);
  });

  test("waits for duplicate address detection of all at the same time, and one that meets a duplicate loses nobody else's", async () => {
    const some = names.slice(0, 12);
    for (const name of some) w.namespace(name);
    w.namespace("twin");
    w.plug("office", "twin", "eth0", "fd22::5/64");
    const sites = `${networks.replace("    hostrouteif: auto\n", "")}
attachments:
${some.map((netns) => `  - {network: lan, netns: ${netns}}`).join("\n")}
`;
    const { changes } = differenceOf(SITE, wantedIn(dual(sites)), []);
    const outcomes: Outcome[] = [];
    const begun: number[] = [];
    await applyChanges(SITE, changes, (o) => {
      outcomes.push(o);
      begun.push(listRecords(() => {}).length);
    });
    expect(begun[0]).toBeGreaterThan(some.length / 2);
    expect(outcomes.filter((o) => o.failure !== undefined)).toEqual([]);
    expect(outcomes.map((o) => o.key.containerId).toSorted()).toEqual(some.toSorted());
    // its address is in quarantine, and who met it has another
    const addresses = outcomes.flatMap((o) => o.addresses);
    expect(new Set(addresses).size).toBe(2 * some.length);
    expect(addresses).not.toContain("fd22::5/64");
    expect((await down(sites)).filter((o) => o.failure !== undefined)).toEqual([]);
  });

  test("whose parent is made anew meanwhile loses the one that met that, and no other", async () => {
    for (const name of names) w.namespace(name);
    const { changes } = differenceOf(SITE, wantedIn(many.replace("    hostrouteif: auto\n", "")), []);
    const outcomes: Outcome[] = [];
    await applyChanges(SITE, changes, (o) => {
      outcomes.push(o);
      if (outcomes.length !== 20) return;
      w.ip("", "link delete eth1");
      w.plug("office", "", "eth1", "192.168.122.3/24");
    });
    expect(outcomes.filter((o) => o.failure !== undefined).map((o) => o.key.containerId)).toEqual(["many-20"]);
    expect(listRecords(() => {})).toHaveLength(39);
    await down(many);
  });
});

describe("a site file that cannot be meant so is refused", () => {
  const refusals: [string, string, string][] = [
    ["no YAML", "networks: [", "read /run/site.yaml: "],
    ["an unknown key", `${networks}attachments: [{network: lan, nets: db}]`, "attachments.0.nets"],
    ["a network that is not there", `${networks}attachments: [{network: wan, netns: db}]`, "there is no network wan"],
    ["neither netns nor pid", `${networks}attachments: [{network: lan}]`, "either netns or pid"],
    ["both", `${networks}attachments: [{network: lan, netns: db, pid: 1}]`, "either netns or pid"],
    [
      "the same twice",
      `${networks}attachments: [{network: lan, netns: db}, {network: lan, netns: db}]`,
      "as attachments.0 is",
    ],
    ["create of a path", `${networks}attachments: [{network: lan, netns: /run/netns/x, create: true}]`, "with a name"],
    ["a wrong address", `${networks}attachments: [{network: lan, netns: db, ip: 10.0.0.256}]`, "attachments.0.ip"],
    ["a wrong network", `networks: {lan: {kind: macvlan, mtu: many}}\nattachments: []`, 'mtu is "many"'],
    ["an id that is a path", `${networks}attachments: [{network: lan, netns: db, id: ../x}]`, "as a container id"],
  ];
  test.each(refusals)("%s", (_, text, sentence) => {
    expect(() => wantedIn(text)).toThrow(sentence);
  });
});
