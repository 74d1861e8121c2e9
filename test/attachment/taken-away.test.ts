// DEL after somebody else was at work: what is gone is gone, and what stands in its place is not Berth's.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { listLinks } from "../../src/kernel/links.ts";
import { RTPROT_BERTH } from "../../src/kernel/protocol.ts";
import { deleteRoute, listRoutes } from "../../src/kernel/routes.ts";
import { deleteRule, listRules } from "../../src/kernel/rules.ts";
import { call } from "../cni/call.ts";
import { HOST, type Snapshot, TestWorld } from "../world.ts";

const families = [4, 6] as const;
const MAC = "02:00:00:00:00:07";
const config = {
  cniVersion: "1.1.0",
  name: "tasks",
  type: "macvlan",
  master: "eth1",
  mac: MAC,
  hostAccess: { table: "own" },
  sourceRouting: true,
  ipam: { type: "static", addresses: [{ address: "10.77.0.100/24" }, { address: "fd77::100/64" }] },
};

let w: TestWorld;
let before: Snapshot[];
beforeAll(() => {
  w = new TestWorld();
  for (const key of ["default", "all"]) w.sysctl(HOST, `net/ipv6/conf/${key}/accept_dad`, "0");
  w.lan("lan");
  w.plug("lan", HOST, "eth1", "10.77.0.5/24", "fd77::5/64");
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
  before = state();
});
beforeEach(async () => {
  expect((await call("ADD", config)).json).not.toHaveProperty("code");
});
afterAll(() => w[Symbol.dispose]());

function state(): Snapshot[] {
  return [HOST, "c"].map((name) => w.snapshot(name));
}

/** Deletes Berth's rules in a namespace. */
function withoutRules(where: string): void {
  const nl = w.netlink(where);
  const own = families.flatMap((family) => listRules(nl, family)).filter((r) => r.protocol === RTPROT_BERTH);
  expect(own.length).toBeGreaterThan(0);
  for (const rule of own) nl.do(deleteRule(rule));
}

/** Deletes Berth's routes on the host. */
function withoutRoutes(): void {
  const nl = w.netlink(HOST);
  const own = families.flatMap((family) => listRoutes(nl, { family, protocol: RTPROT_BERTH }));
  expect(own.length).toBeGreaterThan(0);
  for (const route of own) nl.do(deleteRoute(route, route.linkIndex ?? 0, "berth-eth1"));
}

const damages: readonly (readonly [string, () => void])[] = [
  ["the container's rules", () => withoutRules("c")],
  ["the host's rules", () => withoutRules(HOST)],
  ["the host's routes", withoutRoutes],
  ["the host's neighbours", () => w.ip(HOST, "neighbour flush dev berth-eth1 nud permanent")],
  ["the access link", () => w.deleteLink(HOST, "berth-eth1")],
  ["the link", () => w.deleteLink("c", "eth0")],
];

describe("DEL after somebody took away", () => {
  test.each(damages)("%s", async (_, damage) => {
    damage();
    expect(await call("DEL", config)).toMatchObject({ exitCode: 0, text: "" });
    expect(state()).toEqual(before);
  });
});

test("a link of somebody's that has the name, the kind and the MAC, and not Berth's mark, stays", async () => {
  w.deleteLink("c", "eth0");
  w.ip(HOST, `link add link eth1 name theirs address ${MAC} netns c type macvlan mode bridge`);
  w.ip("c", "link set dev theirs name eth0");
  for (let i = 0; i < 2; i++) {
    expect((await call("DEL", config)).text).toBe(""); // by the record, and without one
    expect(listLinks(w.netlink("c")).map((l) => l.name)).toEqual(["lo", "eth0"]);
  }
  w.deleteLink("c", "eth0");
  expect(state()).toEqual(before);
});

describe("what is somebody's own", () => {
  const ip = "10.77.0.100";
  const theirs = "02:00:00:00:00:99";
  const given = { ...config, name: "given", hostrouteif: "given0", hostAccess: undefined, mac: undefined };
  const own = { CNI_IFNAME: "eth0", CNI_CONTAINERID: "c2" };
  const neighbour = `${ip} lladdr ${theirs} dev given0 nud permanent`;

  /** What is made, how `ip` shows it, and how it is taken away again. */
  const things: readonly (readonly [string, () => void, () => string, () => void])[] = [
    [
      "a route on the host",
      () => w.ip(HOST, `route replace ${ip}/32 dev given0 scope link src 10.77.0.5 proto static`),
      () => w.ip(HOST, `route show ${ip}/32 proto static`),
      () => w.ip(HOST, `route delete ${ip}/32 dev given0`),
    ],
    [
      "a neighbour on the host",
      () => {
        w.ip(HOST, `neighbour delete ${ip} dev given0`);
        w.ip(HOST, `neighbour add ${neighbour}`);
      },
      () => w.ip(HOST, `neighbour show ${ip} dev given0 nud permanent`),
      () => w.ip(HOST, `neighbour delete ${ip} dev given0`),
    ],
    [
      "a rule in the container",
      () => {
        withoutRules("c");
        w.ip("c", `rule add priority 980 from ${ip} table 98000000`);
      },
      () => w.ip("c", `rule show from ${ip}`),
      () => w.ip("c", `rule delete priority 980 from ${ip} table 98000000`),
    ],
  ];

  beforeEach(async () => {
    expect((await call("DEL", config)).text).toBe("");
    w.subInterface("eth1", "given0", { kind: "macvlan", mode: "bridge" });
  });
  afterEach(() => w.deleteLink(HOST, "given0"));

  test.each(things)("%s in the place of Berth's stays at DEL", async (_, make, show, remove) => {
    expect((await call("ADD", given, own)).json).not.toHaveProperty("code");
    make();
    const shown = show();
    expect(shown).toContain(ip);
    expect(await call("DEL", given, own)).toMatchObject({ exitCode: 0, text: "" });
    expect(show()).toBe(shown);
    remove();
  });

  test("a permanent neighbour on the host is refused at ADD, with the command that removes it, and stays", async () => {
    w.ip(HOST, `neighbour add ${neighbour}`);
    expect((await call("ADD", given, own)).json).toMatchObject({
      code: 102,
      msg: expect.stringContaining(`there is a permanent entry with ${theirs} that is not Berth's`),
      details: expect.stringContaining(`ip neigh del ${ip} dev given0`),
    });
    expect(w.ip(HOST, `neighbour show ${ip} dev given0 nud permanent`)).toContain(theirs);
    w.ip(HOST, `neighbour delete ${ip} dev given0`);
  });
});
