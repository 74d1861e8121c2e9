// Containers on several networks with host access: Docker adds addresses, Berth routes, in whatever order, and neither is in
// the other's way; each address answers, and goes on answering when another network is left.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { listRecords } from "../../src/attachment/record.ts";
import { HOST, until } from "../world.ts";
import { Dockerd, errorOf, textOf } from "./dockerd.ts";
import { PluginHost, SOCKET } from "./plugin.ts";

const KEY = "/run/docker/netns/c1";
/** Of the first network the host has addresses itself, of the others it has none. */
const subnets = { first: "10.77.0.0/24", second: "10.78.0.0/24", third: "10.79.0.0/24" } as const;
type Name = keyof typeof subnets;
const idOf = (name: string): string => Bun.hash.xxHash64(name).toString(16).padStart(64, "0");

let w: PluginHost;
let d: Dockerd;
beforeEach(async () => {
  w = new PluginHost();
  w.address("peer", "eth0", "10.79.0.10/24");
  await w.start();
  d = new Dockerd(w, SOCKET);
});
afterEach(async () => {
  await w.stop();
  w[Symbol.dispose]();
});

async function call(name: string, request: Parameters<Dockerd["call"]>[1]): ReturnType<Dockerd["call"]> {
  const answer = await d.call(name, request);
  expect({ name, error: errorOf(answer) }).toEqual({ name, error: undefined });
  return answer;
}

async function createNetwork(name: Name): Promise<void> {
  const Gateway = subnets[name].replace(/0\/.*/u, "1");
  const pool = await call("IpamDriver.RequestPool", { Pool: subnets[name] });
  const PoolID = textOf(pool.body["PoolID"]);
  await call("IpamDriver.RequestAddress", {
    PoolID,
    Address: Gateway,
    Options: { RequestAddressType: "com.docker.network.gateway" },
  });
  await call("NetworkDriver.CreateNetwork", {
    NetworkID: idOf(name),
    Options: { "com.docker.network.generic": { parent: "eth1", host_access: "auto" } },
    IPv4Data: [{ AddressSpace: "berth", Pool: subnets[name], Gateway: `${Gateway}/24` }],
    IPv6Data: [],
  });
}

const endpointOf = (name: Name): { NetworkID: string; EndpointID: string } => ({
  NetworkID: idOf(name),
  EndpointID: idOf(`${name} endpoint`),
});
const addressOn = (name: Name): string => subnets[name].replace(/0\/.*/u, "150");

async function connect(name: Name): Promise<void> {
  const PoolID = textOf((await call("IpamDriver.RequestPool", { Pool: subnets[name] })).body["PoolID"]);
  await call("IpamDriver.RequestAddress", { PoolID, Address: addressOn(name) });
  await call("NetworkDriver.CreateEndpoint", {
    ...endpointOf(name),
    Interface: { Address: `${addressOn(name)}/24`, AddressIPv6: "", MacAddress: "" },
  });
  await call("NetworkDriver.Join", { ...endpointOf(name), SandboxKey: KEY });
}

async function disconnect(name: Name): Promise<void> {
  await call("NetworkDriver.Leave", endpointOf(name));
  await call("NetworkDriver.DeleteEndpoint", endpointOf(name));
  const PoolID = textOf((await call("IpamDriver.RequestPool", { Pool: subnets[name] })).body["PoolID"]);
  await call("IpamDriver.ReleaseAddress", { PoolID, Address: addressOn(name) });
}

async function removeNetwork(name: Name): Promise<void> {
  const PoolID = textOf((await call("IpamDriver.RequestPool", { Pool: subnets[name] })).body["PoolID"]);
  await call("IpamDriver.ReleaseAddress", { PoolID, Address: subnets[name].replace(/0\/.*/u, "1") });
  await call("NetworkDriver.DeleteNetwork", { NetworkID: idOf(name) });
}

async function delivered(): Promise<void> {
  await until("every link is in its container", () => listRecords(() => {}).every((r) => r.inTransit !== true));
}

/** Every address of the container is asked from the host and from the LAN; it reaches those, the host by all its addresses. */
function answers(...names: readonly Name[]): void {
  for (const name of names) {
    for (const from of [HOST, "peer"]) w.ping(from, addressOn(name));
    w.ping("c1", subnets[name].replace(/0\/.*/u, "10"));
  }
  for (const ip of ["10.77.0.5", "192.168.10.22"]) w.ping("c1", ip);
}

const all = Object.keys(subnets) as Name[];

async function end(...left: readonly Name[]): Promise<void> {
  for (const name of left) await disconnect(name);
  d.end(KEY);
  for (const name of all) await removeNetwork(name);
  w.nothingIsLeft();
}

describe.each([{ order: all }, { order: all.toReversed() }])("in the order $order", ({ order }) => {
  test.each(["as joined", "reversed"] as const)(
    "Docker has done its part of all before Berth does its own, %s",
    async (moved) => {
      for (const name of all) await createNetwork(name);
      d.created = true;
      for (const name of order) await connect(name);
      d.start(moved);
      await delivered();
      answers(...all);
      await end(...order);
    },
  );

  test("Berth has done its part of one before Docker comes with the next", async () => {
    for (const name of all) await createNetwork(name);
    for (const name of order) {
      await connect(name);
      await delivered();
    }
    answers(...all);
    await end(...order);
  });

  test("each in turn is left, and joined again", async () => {
    for (const name of all) await createNetwork(name);
    d.created = true;
    for (const name of order) await connect(name);
    d.start();
    await delivered();
    for (const name of order) {
      await disconnect(name);
      answers(...all.filter((n) => n !== name));
      await connect(name);
      await delivered();
      answers(...all);
    }
    await end(...order);
  });
});

test("a container that is started again", async () => {
  for (const name of all) await createNetwork(name);
  for (let run = 0; run < 2; run++) {
    d.created = true;
    for (const name of all) await connect(name);
    d.start();
    await delivered();
    answers(...all);
    // the main table is Docker's alone
    expect(w.ipJson("c1", "-4 route show table main").filter((r) => r["protocol"] === "98")).toEqual([]);
    for (const name of all) await disconnect(name);
    d.end(KEY);
  }
  await end();
});
