import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { routingPlace } from "../../src/attachment/source-routing.ts";
import { ping } from "../../src/kernel/icmp.ts";
import { exchange } from "../../src/kernel/tcp.ts";
import { call } from "../cni/call.ts";
import { executablePath } from "../executable.ts";
import { TestWorld, until } from "../world.ts";

/** How many times longer than usual things take: more than once on a machine that is emulated. */
const PATIENCE = Number(process.env["BERTH_TEST_PATIENCE"] ?? 1);
/** So often three processes attach at once. */
const ROUNDS = Math.ceil(50 / PATIENCE);

/** Compiled, as hundreds of processes of it are started. */
const executable = await executablePath();

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  for (const lan of ["office", "one", "two"]) w.lan(lan);
  w.namespace("router");
  w.plug("office", "", "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("one", "", "eth1");
  w.plug("two", "", "eth2");
  w.plug("one", "router", "eth1", "10.1.0.1/24", "fd01::1/64");
  w.plug("two", "router", "eth2", "10.2.0.1/24", "fd02::1/64");
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
});
afterAll(() => w[Symbol.dispose]());

/** Three networks: two other LANs and the host's own. */
const networks = ["1", "2", "office"].map((n) => ({
  cniVersion: "1.0.0",
  name: `net-${n}`,
  type: n === "2" ? "macvtap" : "macvlan",
  master: n === "office" ? "eth0" : `eth${n}`,
  hostrouteif: "auto",
  defaultRoute: "auto",
  ipam: {
    type: "static",
    addresses:
      n === "office"
        ? [{ address: "192.168.10.99/24", gateway: "192.168.10.1" }, { address: "fd10::99/64" }]
        : [
            { address: `10.${n}.0.99/24`, gateway: `10.${n}.0.1` },
            { address: `fd0${n}::99/64`, gateway: `fd0${n}::1` },
          ],
  },
}));

interface Pick {
  readonly config: Record<string, unknown>;
  readonly ifName: string;
}
const picks: Pick[] = networks.map((config, i) => ({ config, ifName: ["eth0", "eth1", "lan"][i] ?? "" }));

function env(ifName: string): Record<string, string> {
  return { CNI_IFNAME: ifName, CNI_CONTAINERID: "c" };
}

/** A call in a process of its own, as an orchestrator makes it; what it answered. */
async function callApart(verb: string, { config, ifName }: Pick, netns = "c"): Promise<Record<string, unknown>> {
  const child = Bun.spawn([executable], {
    env: {
      PATH: "/usr/bin",
      CNI_COMMAND: verb,
      CNI_CONTAINERID: netns,
      CNI_NETNS: `/run/netns/${netns}`,
      CNI_IFNAME: ifName,
    },
    stdin: new Blob([JSON.stringify(config)]),
    stdout: "pipe",
  });
  return JSON.parse((await child.stdout.text()) || "{}") as Record<string, unknown>;
}

/** Every order of a few things. */
function orders<T>(list: readonly T[]): T[][] {
  if (list.length === 0) return [[]];
  return list.flatMap((first, i) => orders(list.toSpliced(i, 1)).map((rest) => [first, ...rest]));
}

/** Routes and rules as `ip` shows them, without addresses that are made from the MAC. */
function routing(): string[] {
  const lines = ["-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule"].flatMap((args) =>
    w.ip("c", args).split("\n"),
  );
  return lines.filter((l) => l !== "" && !l.includes("fe80::") && !l.includes("ff00::")).toSorted();
}

function freshContainer(): void {
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
}

function shuffled<T>(list: readonly T[], seed: number): T[] {
  return list
    .map((value, i) => ({ value, order: Bun.hash.xxHash32(`${seed} ${i}`) }))
    .toSorted((a, b) => a.order - b.order)
    .map((e) => e.value);
}

/** Every address of the task answers the host, seen from the address that was asked; so do the LANs. */
function everythingTalks(): void {
  const c = w.at("c");
  for (const ip of ["10.1.0.99", "10.2.0.99", "192.168.10.99", "fd01::99", "fd02::99", "fd10::99"]) {
    const host = ip.includes(":") ? "fd10::22" : "192.168.10.22";
    expect({ ip, ...ping(undefined, ip) }).toMatchObject({ ok: true });
    expect({ ip, ...exchange(undefined, c, ip, 80) }).toMatchObject({ ok: true, peer: host });
    expect({ ip, ...exchange(c, undefined, host, 80, { source: ip }) }).toMatchObject({ ok: true, peer: ip });
  }
  for (const ip of ["10.1.0.99", "10.2.0.99", "fd01::99", "fd02::99"]) {
    expect({ ip, ...exchange(w.at("router"), c, ip, 80) }).toMatchObject({ ok: true });
  }
}

/** The interface of the default route when networks are attached with these choices. */
async function owner(...choices: (boolean | "auto")[]): Promise<unknown> {
  freshContainer();
  for (const [i, choice] of choices.entries()) {
    const { config, ifName } = picks[i] ?? { config: {}, ifName: "" };
    const { defaultRoute: _, ...rest } = config;
    const reply = await call("ADD", { ...rest, defaultRoute: choice }, env(ifName));
    expect(reply.json).not.toHaveProperty("code");
  }
  const dev = w.ipJson("c", "route get 8.8.8.8")[0]?.["dev"];
  for (const [i] of choices.entries()) await call("DEL", picks[i]?.config, env(picks[i]?.ifName ?? ""));
  w.removeNamespace("c");
  return dev;
}

/** A network as it would be without Berth's own keys. */
function plain(i: number): Record<string, unknown> {
  const { hostrouteif: _, defaultRoute: __, ...rest } = networks[i] ?? { ipam: {} };
  return { ...rest, ipam: { ...rest.ipam, routes: [{ dst: "0.0.0.0/0" }] } };
}

describe("three networks of one container", () => {
  test(
    "attached and detached at once by three processes in any order, again and again, they end in the same routes and rules, and every address answers",
    async () => {
      const before = w.snapshot("");
      let expected: string[] | undefined;
      for (let round = 0; round < ROUNDS; round++) {
        freshContainer();
        for (const reply of await Promise.all(shuffled(picks, round).map((pick) => callApart("ADD", pick)))) {
          expect(reply).not.toHaveProperty("code");
        }
        expected ??= routing();
        expect(routing()).toEqual(expected);
        everythingTalks();
        const leaving = shuffled(picks, round + ROUNDS);
        for (const { config, ifName } of round === 0 ? leaving : [])
          expect((await call("CHECK", config, env(ifName))).text).toBe("");
        for (const reply of await Promise.all(leaving.map((pick) => callApart("DEL", pick)))) expect(reply).toEqual({});
        expect(w.ip("c", "rule")).not.toContain("proto");
        w.removeNamespace("c");
      }
      expect(w.snapshot("")).toEqual(before);
    },
    120_000 * PATIENCE,
  );

  test("one after the other, in each of the six orders, or in one process at once, the same", async () => {
    let expected: string[] | undefined;
    for (const order of [...orders(picks), undefined]) {
      freshContainer();
      const add = async ({ config, ifName }: Pick): Promise<void> => {
        expect((await call("ADD", config, env(ifName))).json).not.toHaveProperty("code");
      };
      if (order === undefined) await Promise.all(picks.map(add));
      else for (const pick of order) await add(pick);
      expected ??= routing();
      expect(routing()).toEqual(expected);
      everythingTalks();
      for (const { config, ifName } of order ?? picks) await call("DEL", config, env(ifName));
      w.removeNamespace("c");
    }
  });

  test("removing one leaves the others as if it had never been", async () => {
    freshContainer();
    const [first, second] = picks;
    if (first === undefined || second === undefined) throw new Error("no picks");
    await call("ADD", second.config, env(second.ifName));
    const alone = routing();
    await call("ADD", first.config, env(first.ifName));
    await call("DEL", first.config, env(first.ifName));
    expect(routing()).toEqual(alone);
    expect((await call("CHECK", second.config, env(second.ifName))).text).toBe("");
    rmSync("/run/berth", { recursive: true });
    await call("DEL", second.config, env(second.ifName)); // without a record its rules go too
    expect(w.ip("c", "rule")).not.toContain("proto");
    w.removeNamespace("c");
  });

  test("defaultRoute says who owns the default route", async () => {
    expect(await owner("auto", "auto")).toBe("eth0");
    expect(await owner("auto", true)).toBe("eth1");
    expect(await owner(false, "auto")).toBe("eth1");
    expect(await owner(true, true, true)).toBe("eth0");
  });

  test("a second plain default route is refused, naming the holder and the key that helps", async () => {
    freshContainer();
    expect((await call("ADD", plain(0), env("eth0"))).json).not.toHaveProperty("code");
    expect((await call("ADD", plain(1), env("eth1"))).json).toMatchObject({
      code: 102,
      msg: expect.stringContaining('there is "default via 10.1.0.1 dev eth0'),
      details: expect.stringContaining('"defaultRoute"'),
    });
    await call("DEL", plain(0), env("eth0"));
    w.removeNamespace("c");
  });

  test("a plain network has neither rules nor tables, unless sourceRouting asks for them", async () => {
    freshContainer();
    const { hostrouteif: _, defaultRoute: __, ...bare } = networks[0] ?? {};
    await call("ADD", bare);
    expect(w.ip("c", "rule")).not.toContain("proto");
    await call("DEL", bare);
    await call("ADD", { ...bare, sourceRouting: true });
    expect(w.ip("c", "rule")).toContain(`from 10.1.0.99 lookup ${routingPlace("eth0").table} proto 98`);
    await call("DEL", bare);
    w.removeNamespace("c");
  });
});

test("nobody on a parent waits for another's duplicate address detection", async () => {
  const main = `${import.meta.dir}/../../src/main.ts`;
  freshContainer();
  w.namespace("slow");
  w.sysctl("slow", "net/ipv6/conf/default/dad_transmits", "30"); // one a second
  const slowly = {
    PATH: "/usr/bin",
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "s",
    CNI_NETNS: "/run/netns/slow",
    CNI_IFNAME: "eth0",
  };
  const ofSlow = { ...networks[0], ipam: { type: "static", addresses: [{ address: "fd01::50/64" }] } };
  const slow = Bun.spawn([process.execPath, main], {
    env: slowly,
    stdin: new Blob([JSON.stringify(ofSlow)]),
    stdout: "pipe",
  });
  await until("the slow one is being detected", () => w.ip("slow", "address").includes("tentative"));
  const { config } = picks[0] ?? { config: {} };
  expect((await call("ADD", config)).json).not.toHaveProperty("code");
  expect((await call("DEL", config)).text).toBe("");
  expect(w.ip("slow", "address")).toContain("tentative"); // it is still at it
  expect(slow.exitCode).toBeNull();
  slow.kill("SIGKILL");
  await slow.exited;
  // what the killed one left is taken back by its record
  expect((await call("DEL", ofSlow, { CNI_CONTAINERID: "s", CNI_NETNS: "/run/netns/slow" })).text).toBe("");
  for (const name of ["slow", "c"]) w.removeNamespace(name);
  expect(w.ip("", "-6 route show proto 98")).toBe("");
});

describe("an address on the host's side", () => {
  test("a stale route of Berth's is replaced; one of a living attachment is refused, and stays", async () => {
    freshContainer();
    w.namespace("d");
    w.sysctl("d", "net/ipv6/conf/default/accept_dad", "0"); // detection would find the twin first
    const [config] = networks;
    await call("ADD", config);
    const d = { CNI_CONTAINERID: "c2", CNI_NETNS: "/run/netns/d" };
    expect((await call("ADD", { ...config, name: "twin" }, d)).json).toMatchObject({
      code: 102,
      msg: expect.stringContaining("of the attachment net-1/c1/eth0"),
    });
    expect((await call("CHECK", config)).text).toBe("");
    expect(ping(undefined, "10.1.0.99")).toMatchObject({ ok: true });
    rmSync("/run/berth", { recursive: true });
    w.removeNamespace("c");
    expect((await call("ADD", config, d)).json).not.toHaveProperty("code");
    expect(ping(undefined, "10.1.0.99")).toMatchObject({ ok: true });
    await call("DEL", config, d);
    w.removeNamespace("d");
    expect(w.ip("", "route show proto 98")).toBe("");
  });
});

test("places of interface names: tables and metrics differ, none is 0, and owners come before all others", () => {
  const names = [
    ...Array.from({ length: 50 }, (_, i) => `eth${i}`),
    ...Array.from({ length: 50 }, (_, i) => `net${i}`),
    "lan",
    "eth0x",
    "eth00",
  ];
  const places = names.map(routingPlace);
  expect(new Set(places.map((p) => p.table)).size).toBe(names.length);
  expect(new Set(places.map((p) => p.metric)).size).toBe(names.length);
  expect(Math.min(...places.map((p) => p.owningMetric))).toBeGreaterThan(0);
  expect(Math.max(...places.map((p) => p.owningMetric))).toBeLessThan(Math.min(...places.map((p) => p.metric)));
  expect(places[1]?.metric).toBeLessThan(places[2]?.metric ?? 0);
});

/** A network on a LAN of its own, whose host routes are in Berth's table. */
function own(n: string): Pick {
  return {
    ifName: "eth0",
    config: {
      cniVersion: "1.0.0",
      name: `net-${n}`,
      type: "macvlan",
      master: `eth${n}`,
      hostAccess: { table: "own" },
      ipam: { type: "static", addresses: [{ address: `10.${n}.0.99/24` }] },
    },
  };
}

test("a table of Berth's own: its rule stays while one parent's last goes and another's first comes", async () => {
  const before = w.snapshot("");
  for (const name of ["c", "d"]) w.namespace(name);
  let [there, other] = [
    { pick: own("1"), netns: "c" },
    { pick: own("2"), netns: "d" },
  ];
  expect(await callApart("ADD", there.pick, there.netns)).not.toHaveProperty("code");
  for (let round = 0; round < 20; round++) {
    const answers = await Promise.all([
      callApart("DEL", there.pick, there.netns),
      callApart("ADD", other.pick, other.netns),
    ]);
    for (const answer of answers) expect(answer).not.toHaveProperty("code");
    expect(await callApart("CHECK", other.pick, other.netns)).toEqual({});
    [there, other] = [other, there];
  }
  expect(await callApart("DEL", there.pick, there.netns)).toEqual({});
  for (const name of ["c", "d"]) w.removeNamespace(name);
  expect(w.snapshot("")).toEqual(before);
});

test("two attachments on one LAN: neighbours learn each address at its own MAC", async () => {
  freshContainer();
  const onOne = ["98", "97"].map((last, i) => ({
    config: {
      ...networks[0],
      name: `lan-${last}`,
      ipam: { type: "static", addresses: [{ address: `10.1.0.${last}/24`, gateway: "10.1.0.1" }] },
    },
    ifName: `eth${i}`,
    ip: `10.1.0.${last}`,
  }));
  for (const { config, ifName } of onOne) expect((await call("ADD", config, env(ifName))).exitCode).toBe(0);
  for (const { ip, ifName } of [...onOne, ...onOne]) {
    w.ip("router", "neighbour flush dev eth1");
    expect(ping(w.at("router"), ip)).toMatchObject({ ok: true });
    await Bun.sleep(50); // the other link's answer would come now
    const [entry] = w.ipJson("router", `neighbour show ${ip} dev eth1`);
    expect({ ip, at: entry?.["lladdr"] }).toEqual({ ip, at: w.link("c", ifName).mac ?? "" });
  }
  const [first, second] = onOne;
  await call("DEL", first?.config, env("eth0"));
  expect(ping(w.at("router"), second?.ip ?? "")).toMatchObject({ ok: true });
  await call("DEL", second?.config, env("eth1"));
  w.removeNamespace("c");
});
