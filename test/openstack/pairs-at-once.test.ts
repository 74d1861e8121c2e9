import { beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { lockFile } from "../../src/kernel/locks.ts";
import { canonical, type PairWish, wishPairs } from "../../src/openstack/address-pairs.ts";
import { PairLedger } from "../../src/openstack/pair-ledger.ts";
import { Session } from "../../src/openstack/session.ts";
import { until } from "../world.ts";
import { CloudServer, failing, next, refusal, silence, type Stored } from "./server.ts";

beforeEach(() => {
  for (const state of ["/run/berth", "/var/lib/berth"]) rmSync(state, { recursive: true, force: true });
});

const source = (name: string): string => JSON.stringify(new URL(`../../src/${name}.ts`, import.meta.url).pathname);

/** The pair of the container with this number. */
function pair(n: number): { ip: string; mac: string } {
  return { ip: `192.168.0.${n}`, mac: `fa:16:3e:aa:00:${n.toString(16).padStart(2, "0")}` };
}

/** Starts a process with a wish; it prints nothing, or the failure. */
function start(cloud: CloudServer, port: Stored, what: PairWish): Bun.Subprocess<"ignore", "pipe", "inherit"> {
  const script = `
    import { wishPairs } from ${source("openstack/address-pairs")};
    import { Session } from ${source("openstack/session")};
    try {
      await wishPairs(new Session(${JSON.stringify(cloud.credentials())}), "${port.id}", ${JSON.stringify(what)});
    } catch (e) {
      console.log(JSON.stringify({ reason: e.reason, message: e.message, advice: e.advice }));
    }`;
  return Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
}

function wishOf(verb: PairWish["verb"], n: number): PairWish {
  return { verb, pairs: [pair(n)], user: `container-${n}` };
}

async function all(
  cloud: CloudServer,
  port: Stored,
  verb: PairWish["verb"],
  containers: readonly number[],
): Promise<string[]> {
  const children = containers.map((n) => start(cloud, port, wishOf(verb, n)));
  return (await Promise.all(children.map((c) => c.stdout.text()))).filter((text) => text !== "");
}

function numbers(count: number, first = 1): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

/** The addresses that a port lets pass, sorted. */
function admitted(port: Stored): string[] {
  return port.allowed_address_pairs.map((p) => `${p.ip_address} ${p.mac_address}`).toSorted();
}

function expected(count: readonly number[]): string[] {
  return count.map((n) => `${pair(n).ip} ${pair(n).mac}`).toSorted();
}

function pairsDirectory(port: Stored): string {
  return `/run/berth/pairs/${port.id}`;
}

function wishesOf(port: Stored): string[] {
  return existsSync(pairsDirectory(port)) ? readdirSync(pairsDirectory(port)).filter((f) => f.endsWith(".wish")) : [];
}

function puts(cloud: CloudServer): number {
  return cloud.asked.filter((a) => a.method === "PUT").length;
}

/** Somebody else who changes pairs of the same port, until stopped; those that are left, as they are written. */
function foreigner(cloud: CloudServer, port: Stored): { stop(): Promise<string[]> } {
  const own: string[] = [];
  const end = new AbortController();
  const [token] = cloud.tokens;
  const headers = { "x-auth-token": token ?? "", "content-type": "application/json" };
  const url = `${cloud.url}/v2.0/ports/${port.id}`;
  const run = async (): Promise<void> => {
    for (let n = 0; !end.signal.aborted; n++) {
      // as Neutron keeps them: not canonical
      const mine = `10.0.${n}.7/24`;
      const leaving = own.length > 5 ? own[0] : undefined;
      for (let done = false; !done;) {
        const { port: read } = (await (await fetch(url, { headers })).json()) as { port: Stored };
        const pairs = read.allowed_address_pairs.filter((p) => p.ip_address !== leaving);
        const body = {
          port: { allowed_address_pairs: [...pairs, { ip_address: mine, mac_address: "FA:16:3E:FF:FF:FF" }] },
        };
        const match = { "if-match": `revision_number=${read.revision_number}` };
        const put = await fetch(url, {
          method: "PUT",
          headers: { ...headers, ...match },
          body: JSON.stringify(body),
        });
        done = put.status === 200;
        if (!done && put.status !== 412) throw new Error(`${put.status} ${await put.text()}`);
      }
      own.push(mine);
      if (leaving !== undefined) own.shift();
      await Bun.sleep(15);
    }
  };
  const running = run();
  return {
    async stop() {
      end.abort();
      await running;
      return own;
    },
  };
}

describe("30 processes at once", () => {
  test("and another writer: no pair is lost, none is left, the other's stay as they are", async () => {
    using cloud = new CloudServer();
    cloud.maxPairs = 1000;
    const port = cloud.port({ allowed_address_pairs: [{ ip_address: "172.16.0.9/12" }] });
    await new Session(cloud.credentials()).grant();
    cloud.troubles.push(async ({ method }) => {
      if (method === "PUT") await Bun.sleep(5);
      return undefined;
    });
    const other = foreigner(cloud, port);
    expect(await all(cloud, port, "admit", numbers(30))).toEqual([]);
    const mine = admitted(port).filter((p) => p.startsWith("192.168.0."));
    expect(mine).toEqual(expected(numbers(30)));
    expect(new PairLedger(port.id).entries().length).toBe(30);
    expect(await all(cloud, port, "dismiss", numbers(30))).toEqual([]);
    const theirs = await other.stop();
    expect(theirs.length).toBeGreaterThan(5);
    expect(port.allowed_address_pairs).toEqual([
      { ip_address: "172.16.0.9/12" },
      ...theirs.map((ip_address) => ({ ip_address, mac_address: "FA:16:3E:FF:FF:FF" })),
    ]);
    expect(new PairLedger(port.id).entries()).toEqual([]);
    expect(readdirSync(pairsDirectory(port))).toEqual(["lock"]);
  }, 120_000);

  test("some coming, some going", async () => {
    using cloud = new CloudServer();
    cloud.maxPairs = 1000;
    const port = cloud.port();
    await all(cloud, port, "admit", numbers(15));
    const both = [all(cloud, port, "admit", numbers(15, 16)), all(cloud, port, "dismiss", numbers(15))];
    expect((await Promise.all(both)).flat()).toEqual([]);
    expect(admitted(port)).toEqual(expected(numbers(15, 16)));
  }, 120_000);
});

describe("those who wait for one another", () => {
  test("are served by one change", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    await new Session(cloud.credentials()).grant();
    mkdirSync(pairsDirectory(port), { recursive: true });
    const lock = lockFile(`${pairsDirectory(port)}/lock`);
    const done = all(cloud, port, "admit", numbers(8));
    await until("8 wishes are there", () => wishesOf(port).length === 8);
    const before = cloud.asked.length;
    lock[Symbol.dispose]();
    expect(await done).toEqual([]);
    expect(cloud.calls.slice(before)).toEqual(["GET /ports/ID", "PUT /ports/ID"]);
    expect(admitted(port)).toEqual(expected(numbers(8)));
  });

  test("learn of a failure, with what to do about it", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    await new Session(cloud.credentials()).grant();
    cloud.troubles.push(next("PUT", () => refusal(403, "PolicyNotAuthorized", "It is disallowed by policy"), 99));
    const failures = await all(cloud, port, "admit", numbers(3));
    expect(failures.length).toBe(3);
    for (const failure of failures) {
      expect(JSON.parse(failure)).toMatchObject({
        reason: "cloud",
        message: expect.stringContaining("disallowed by policy (PolicyNotAuthorized, HTTP 403, req-7)"),
        advice: expect.stringContaining("role member"),
      });
    }
    expect(new PairLedger(port.id).entries()).toEqual([]);
  });

  test("survive the one who makes the change for them", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    await new Session(cloud.credentials()).grant();
    let stuck = false;
    cloud.troubles.push(
      next("PUT", async () => {
        stuck = true;
        await Bun.sleep(5000);
        return silence();
      }),
    );
    const leader = start(cloud, port, wishOf("admit", 1));
    await until("the leader waits for its answer", () => stuck);
    const done = all(cloud, port, "admit", numbers(4, 2));
    await until("4 wait for it", () => wishesOf(port).length === 5);
    leader.kill("SIGKILL");
    expect(await done).toEqual([]);
    expect(admitted(port)).toEqual(expected(numbers(4, 2)));
    // what the killed one began is taken back as if it had got through
    expect(await all(cloud, port, "dismiss", numbers(5))).toEqual([]);
    expect([port.allowed_address_pairs, new PairLedger(port.id).entries()]).toEqual([[], []]);
  });

  test("are not kept by what processes left behind that are gone", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    mkdirSync(pairsDirectory(port), { recursive: true });
    const gone = `999999-1-1`;
    for (const name of [`${gone}.wish`, `${gone}.outcome`, `999999-1-2.wish.new`])
      writeFileSync(`${pairsDirectory(port)}/${name}`, JSON.stringify(wishOf("admit", 9)));
    await wishPairs(new Session(cloud.credentials()), port.id, wishOf("admit", 1));
    expect(admitted(port)).toEqual(expected([1]));
    expect(readdirSync(pairsDirectory(port))).toEqual(["lock"]);
  });
});

test("at the limit, as many get through as fit; the others are told, and leave nothing", async () => {
  using cloud = new CloudServer();
  cloud.maxPairs = 5;
  const port = cloud.port();
  await new Session(cloud.credentials()).grant();
  mkdirSync(pairsDirectory(port), { recursive: true });
  const lock = lockFile(`${pairsDirectory(port)}/lock`);
  const done = all(cloud, port, "admit", numbers(7));
  await until("7 wishes are there", () => wishesOf(port).length === 7);
  lock[Symbol.dispose]();
  const failures = (await done).map((text) => JSON.parse(text) as { message: string; advice: string });
  expect(failures.map((f) => [f.message.includes("AllowedAddressPairExhausted"), /ipvlan/u.test(f.advice)])).toEqual([
    [true, true],
    [true, true],
  ]);
  expect(port.allowed_address_pairs.length).toBe(5);
  const users = new PairLedger(port.id).entries();
  expect(users.map((e) => `${e.pair.ip} ${e.pair.mac}`).toSorted()).toEqual(admitted(port));
  // who was refused may be undone all the same
  expect(await all(cloud, port, "dismiss", numbers(7))).toEqual([]);
  expect(port.allowed_address_pairs).toEqual([]);
});

/** Makes a change from this process. */
async function wish(cloud: CloudServer, port: Stored, what: PairWish): Promise<void> {
  await wishPairs(new Session(cloud.credentials()), port.id, what);
}

describe("one change", () => {
  test("of nothing is not sent: each would be a revision", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    await wish(cloud, port, wishOf("admit", 1));
    await wish(cloud, port, wishOf("admit", 1));
    await wish(cloud, port, { ...wishOf("admit", 1), user: "another" });
    await wish(cloud, port, wishOf("dismiss", 7));
    expect([puts(cloud), port.revision_number]).toEqual([1, 2]);
  });

  test("a pair that two need goes with the last of them", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    for (const user of ["a", "b"]) await wish(cloud, port, { ...wishOf("admit", 1), user });
    await wish(cloud, port, { ...wishOf("dismiss", 1), user: "a" });
    expect(port.allowed_address_pairs.length).toBe(1);
    await wish(cloud, port, { ...wishOf("dismiss", 1), user: "b" });
    expect(port.allowed_address_pairs).toEqual([]);
  });

  test("a pair that somebody else made before stays", async () => {
    using cloud = new CloudServer();
    const written = { ip_address: "192.168.0.1/32", mac_address: "FA:16:3E:AA:00:01" };
    const port = cloud.port({ allowed_address_pairs: [written] });
    await wish(cloud, port, wishOf("admit", 1));
    await wish(cloud, port, wishOf("dismiss", 1));
    expect([port.allowed_address_pairs, puts(cloud)]).toEqual([[written], 0]);
    expect(canonical(written, port.mac_address)).toEqual(pair(1));
  });

  test("of which the answer is lost was made, and is Berth's to take back", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    cloud.troubles.push(
      next("PUT", (_, usual) => {
        usual();
        return silence();
      }),
    );
    await wish(cloud, port, wishOf("admit", 1));
    expect([admitted(port), port.revision_number]).toEqual([expected([1]), 2]);
    await wish(cloud, port, wishOf("dismiss", 1));
    expect(port.allowed_address_pairs).toEqual([]);
  });

  test("a pair that could not be taken away is taken away with its next user", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    await wish(cloud, port, wishOf("admit", 1));
    const broken = next("PUT", () => refusal(403, "PolicyNotAuthorized", "no"), 99);
    cloud.troubles.push(broken);
    await failing(wish(cloud, port, wishOf("dismiss", 1)));
    // one that is refused beside it changes nothing of that
    const both = { ...wishOf("admit", 1), pairs: [pair(1), pair(2)] };
    await failing(wish(cloud, port, both));
    cloud.troubles.length = 0;
    await wish(cloud, port, wishOf("admit", 1));
    await wish(cloud, port, wishOf("dismiss", 1));
    expect(port.allowed_address_pairs).toEqual([]);
  });

  test("without port security no pair is needed, nor of a port that is gone taken away", async () => {
    using cloud = new CloudServer();
    const open = cloud.port({ port_security_enabled: false });
    await wish(cloud, open, wishOf("admit", 1));
    expect(puts(cloud)).toBe(0);
    const closing = cloud.port();
    cloud.troubles.push(
      next("PUT", () => {
        closing["port_security_enabled"] = false; // between reading and writing
        return undefined;
      }),
    );
    await wish(cloud, closing, wishOf("admit", 1));
    const gone = cloud.port();
    cloud.ports.delete(gone.id);
    await wish(cloud, gone, wishOf("dismiss", 1));
    expect(await failing(wish(cloud, gone, wishOf("admit", 1)))).toMatchObject({
      reason: "config",
      message: expect.stringContaining("the port is gone"),
    });
  });

  test("to a port that was read a moment ago is one call, also where it has changed since", async () => {
    using cloud = new CloudServer();
    const port = cloud.port();
    const session = new Session(cloud.credentials());
    await session.grant();
    const known = {
      ...port,
      name: "",
      description: "",
      fixed_ips: [],
      network_id: "net",
      status: "",
      device_owner: "",
      port_security_enabled: true,
    };
    cloud.asked.length = 0;
    await wishPairs(session, port.id, wishOf("admit", 1), { ...known });
    expect(cloud.calls).toEqual(["PUT /ports/ID"]);
    await wishPairs(session, port.id, wishOf("admit", 2), { ...known }); // of revision 1, which is past
    expect(cloud.calls).toEqual(["PUT /ports/ID", "PUT /ports/ID", "GET /ports/ID", "PUT /ports/ID"]);
    expect(admitted(port)).toEqual(expected([1, 2]));
  });
});
