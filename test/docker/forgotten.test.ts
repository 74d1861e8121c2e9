// Networks that Docker removed without the driver: what Docker's API lists decides, and only where dockerd answers.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { until } from "../world.ts";
import { Dockerd, errorOf, textOf } from "./dockerd.ts";
import { PluginHost, SOCKET } from "./plugin.ts";

const API = "/run/docker.sock";
const EVERY_MS = 20;
const NETWORK = "a".repeat(64);

let w: PluginHost;
let d: Dockerd;
let api: Bun.Server<undefined> | undefined;
/** What dockerd answers to `GET /networks`, and how often it was asked. */
let listed: unknown;
/** What it answers before that, each once. */
const before: unknown[] = [];
let asked = 0;

function startApi(): void {
  rmSync(API, { force: true });
  api = Bun.serve({
    unix: API,
    fetch(request) {
      if (request.url.endsWith("/networks")) asked++;
      return Response.json(before.shift() ?? listed);
    },
  });
}

beforeEach(async () => {
  w = new PluginHost();
  mkdirSync("/run", { recursive: true });
  asked = 0;
  listed = [{ Id: NETWORK, Name: "lan" }, { Id: "b".repeat(64) }];
  startApi();
  await w.start({ socket: API, everyMs: EVERY_MS });
  d = new Dockerd(w, SOCKET);
});
afterEach(async () => {
  await w.stop();
  await api?.stop(true);
  w[Symbol.dispose]();
});

/** A network with a gateway, an address that is set aside, and an endpoint that is joined. */
async function build(): Promise<void> {
  const pool = await d.send("IpamDriver.RequestPool", { Pool: "10.77.0.0/24" });
  const PoolID = textOf(pool.body["PoolID"]);
  const Options = { RequestAddressType: "com.docker.network.gateway" };
  await d.send("IpamDriver.RequestAddress", { PoolID, Address: "10.77.0.1", Options });
  await d.send("IpamDriver.RequestAddress", { PoolID, Address: "10.77.0.130" });
  await d.send("NetworkDriver.CreateNetwork", {
    NetworkID: NETWORK,
    Options: { "com.docker.network.generic": { parent: "eth1" } },
    IPv4Data: [
      {
        Pool: "10.77.0.0/24",
        Gateway: "10.77.0.1/24",
        AuxAddresses: { printer: "10.77.0.130" },
        AddressSpace: "berth",
      },
    ],
  });
  const { body } = await d.send("IpamDriver.RequestAddress", { PoolID, Address: "" });
  const own = { NetworkID: NETWORK, EndpointID: "e".repeat(64) };
  const Interface = { Address: textOf(body["Address"]), AddressIPv6: "", MacAddress: "" };
  await d.send("NetworkDriver.CreateEndpoint", { ...own, Interface });
  const joined = await d.send("NetworkDriver.Join", { ...own, SandboxKey: "/run/docker/netns/c1" });
  expect(errorOf(joined)).toBeUndefined();
}

const known = (): number => {
  const directory = "/var/lib/berth/docker/networks";
  return existsSync(directory) ? readdirSync(directory).filter((f) => f.endsWith(".json")).length : 0;
};
const looks = async (n: number): Promise<void> => {
  const from = asked;
  await until(`dockerd is asked ${n} times`, () => asked >= from + n);
};

test("one that Docker has stays; one that it has no more goes, with all that was reserved, set aside and attached", async () => {
  await build();
  await looks(3);
  expect(known()).toBe(1);
  listed = [{ Id: "b".repeat(64) }];
  await until("the network is forgotten", () => known() === 0);
  w.nothingIsLeft();
});

test("one that is missing once, as while it is being created, stays", async () => {
  await build();
  before.push([], [{ Id: NETWORK }], [], [{ Id: NETWORK }]);
  await looks(6);
  expect(before).toEqual([]);
  expect(known()).toBe(1);
  listed = [];
  await until("the network is forgotten", () => known() === 0);
  w.nothingIsLeft();
});

test("while dockerd is away, or answers something else, nothing is concluded", async () => {
  await build();
  listed = { message: "starting" };
  await looks(3);
  expect(known()).toBe(1);
  await api?.stop(true);
  await Bun.sleep(5 * EVERY_MS);
  expect(known()).toBe(1);
  listed = [];
  startApi();
  await until("the network is forgotten", () => known() === 0);
  w.nothingIsLeft();
});
