import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { changeLink } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { declareContract } from "./contract.ts";
import { DoubleCloud } from "./double/cloud.ts";

let cloud: DoubleCloud | undefined;
async function started(): Promise<DoubleCloud> {
  using nl = new Netlink();
  nl.do(changeLink("lo", { up: true }));
  return (cloud ??= await DoubleCloud.start());
}
afterAll(async () => await cloud?.[Symbol.asyncDispose]());

declareContract("the double", started);

test("the contract leaves nothing behind", () => {
  const { networks, ports, trunks } = cloud?.neutron ?? {};
  expect([networks?.networks, networks?.subnets, ports?.rows, trunks?.rows].map((m) => m?.size)).toEqual([0, 0, 0, 0]);
});

/** Asks one of the double's services. */
async function ask(url: string, token: string, method = "GET", body?: object, revision?: number): Promise<Response> {
  return await fetch(url, {
    method,
    headers: {
      "x-auth-token": token,
      ...(revision === undefined ? {} : { "if-match": `revision_number=${revision}` }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(500),
  });
}

async function failing(promise: Promise<unknown>, why: RegExp): Promise<void> {
  expect(
    await promise.then(
      () => "it did not fail",
      (e: unknown) => String(e),
    ),
  ).toMatch(why);
}

describe("what only the double can do", () => {
  let own: DoubleCloud;
  let ports: string;
  let token: string;
  let networkId: string;
  beforeEach(async () => {
    await started();
    own = await DoubleCloud.start({ maxAllowedAddressPair: 3 });
    token = await login();
    ports = `${own.keystone.endpoints.network}/v2.0/ports`;
    const network = await ask(ports.replace("ports", "networks"), token, "POST", { network: { name: "n" } });
    ({ id: networkId } = ((await network.json()) as { network: { id: string } }).network);
    own.faults.seen();
  });

  async function login(): Promise<string> {
    const user = { name: "demo", password: "demo", domain: { id: "default" } };
    const scope = { project: { name: "demo", domain: { id: "default" } } };
    const auth = { identity: { methods: ["password"], password: { user } }, scope };
    const response = await ask(`${own.authUrl}/auth/tokens`, "", "POST", { auth });
    return response.headers.get("x-subject-token") ?? "";
  }

  async function newPort(): Promise<{ id: string; revision_number: number }> {
    const response = await ask(ports, token, "POST", { port: { network_id: networkId } });
    return ((await response.json()) as { port: { id: string; revision_number: number } }).port;
  }

  test("an answer that is lost after the effect, one that is not, and none at all", async () => {
    own.faults.plan("POST", /\/ports$/u, { lost: true });
    await failing(newPort(), /closed/u);
    expect(own.neutron.ports.rows.size).toBe(1);
    own.faults.plan("POST", /\/ports$/u, { instead: "dropped" });
    await failing(newPort(), /closed/u);
    own.faults.plan("POST", /\/ports$/u, { instead: "silence" });
    await failing(newPort(), /timed out/u);
    expect(own.neutron.ports.rows.size).toBe(1);
    await newPort();
    expect(own.neutron.ports.rows.size).toBe(2);
    expect(own.faults.seen()).toEqual(Array.from({ length: 4 }, () => "POST /v2.0/ports"));
  });

  test("a status instead of the effect, as often as was planned, and a delay before it", async () => {
    own.faults.plan("GET", /\/ports$/u, { instead: { status: 503, body: { message: "away" } } }, 2);
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push((await ask(ports, token)).status);
    expect(statuses).toEqual([503, 503, 200]);
    own.faults.plan("GET", /\/ports$/u, { delayMs: 100 });
    const start = performance.now();
    expect((await ask(ports, token)).status).toBe(200);
    expect(performance.now() - start).toBeGreaterThan(95);
  });

  test("a token that ends, or is refused from now on", async () => {
    expect((await ask(ports, token)).status).toBe(200);
    own.keystone.invalidateTokens();
    expect((await ask(ports, token)).status).toBe(401);
    own.keystone.tokenLifetimeMs = 50;
    const short = await login();
    expect((await ask(ports, short)).status).toBe(200);
    await Bun.sleep(60);
    expect((await ask(ports, short)).status).toBe(401);
  });

  test("another limit of address pairs", async () => {
    const { id } = await newPort();
    const pairs = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map((ip_address) => ({ ip_address }));
    const put = async (allowed_address_pairs: object[]): Promise<number> =>
      (await ask(`${ports}/${id}`, token, "PUT", { port: { allowed_address_pairs } })).status;
    expect([await put(pairs.slice(1)), await put(pairs)]).toEqual([200, 400]);
    own.neutron.ports.maxPairs = 4;
    expect(await put(pairs)).toBe(200);
  });

  test("changes of one port that overlap: as in Neutron, If-Match lets both in, and a pair that one removed comes back", async () => {
    const { id } = await newPort();
    const url = `${ports}/${id}`;
    const put = async (ips: string[], revision?: number): Promise<number> => {
      const port = { allowed_address_pairs: ips.map((ip_address) => ({ ip_address })) };
      return (await ask(url, token, "PUT", { port }, revision)).status;
    };
    await put(["10.0.0.1"]);
    const port = own.neutron.ports.rows.get(id);
    own.neutron.ports.updateWindowMs = 50;
    const revision = port?.revision_number;
    expect(await Promise.all([put([], revision), put(["10.0.0.1", "10.0.0.2"], revision)])).toEqual([200, 200]);
    expect(port?.allowed_address_pairs.map((p) => p.ip_address)).toEqual(["10.0.0.1", "10.0.0.2"]);
  });
});
