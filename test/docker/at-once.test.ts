// Many at once, while other programs take the same locks and the same addresses.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { listRecords } from "../../src/attachment/record.ts";
import { HOST, until } from "../world.ts";
import { Dockerd, errorOf, textOf } from "./dockerd.ts";
import { PluginHost, SOCKET } from "./plugin.ts";

const root = new URL("../..", import.meta.url).pathname;
const NETWORK = "a".repeat(64);
const CIDR = "10.77.0.0/24";
const MANY = 60;
const OTHERS = 6;
const shared = {
  cniVersion: "1.1.0",
  name: "shared",
  type: "macvlan",
  master: "eth1",
  hostrouteif: "auto",
  ipam: { type: "host-local", ranges: [[{ subnet: CIDR, rangeStart: "10.77.0.100" }]] },
};

let w: PluginHost;
let d: Dockerd;
beforeEach(async () => {
  w = new PluginHost();
  await w.start();
  d = new Dockerd(w, SOCKET);
});
afterEach(async () => {
  await w.stop();
  w[Symbol.dispose]();
});

/** A CNI call by a process of its own. */
async function cni(verb: string, container: string): Promise<{ readonly code: number; readonly text: string }> {
  const p = Bun.spawn([process.execPath, `${root}src/main.ts`], {
    env: {
      ...process.env,
      CNI_COMMAND: verb,
      CNI_CONTAINERID: container,
      CNI_NETNS: `/run/netns/${container}`,
      CNI_IFNAME: "eth0",
      CNI_PATH: "/opt/cni/bin",
    },
    stdin: new Blob([JSON.stringify(shared)]),
    stdout: "pipe",
    stderr: "inherit",
  });
  const [text, code] = await Promise.all([p.stdout.text(), p.exited]);
  return { code, text };
}

test("sixty endpoints and six CNI calls of one network: all succeed, no address twice, nothing stays", async () => {
  const pool = await d.send("IpamDriver.RequestPool", {
    Pool: CIDR,
    SubPool: "10.77.0.128/25",
    Options: { network: "shared" },
  });
  const PoolID = textOf(pool.body["PoolID"]);
  await d.send("NetworkDriver.CreateNetwork", {
    NetworkID: NETWORK,
    Options: { "com.docker.network.generic": { parent: "eth1", host_access: "auto" } },
    IPv4Data: [{ AddressSpace: "berth", Pool: CIDR, Gateway: "10.77.0.1/24" }],
  });
  const endpoint = async (i: number): Promise<string> => {
    const own = { NetworkID: NETWORK, EndpointID: `${i}`.padStart(64, "e") };
    const Address = textOf((await d.send("IpamDriver.RequestAddress", { PoolID, Address: "" })).body["Address"]);
    const Interface = { Address, AddressIPv6: "", MacAddress: "" };
    const created = await d.send("NetworkDriver.CreateEndpoint", { ...own, Interface });
    const joined = await d.send("NetworkDriver.Join", { ...own, SandboxKey: `/run/docker/netns/c${i}` });
    expect([errorOf(created), errorOf(joined)]).toEqual([undefined, undefined]);
    return Address.replace(/\/.*/u, "");
  };
  const others = Array.from({ length: OTHERS }, (_, i) => `o${i}`);
  for (const name of others) w.namespace(name);
  const [docker, calls] = await Promise.all([
    Promise.all(Array.from({ length: MANY }, (_, i) => endpoint(i))),
    Promise.all(others.map((name) => cni("ADD", name))),
  ]);
  expect(calls.map((c) => c.code)).toEqual(others.map(() => 0));
  const theirs = calls.map(({ text }) => (JSON.parse(text) as { ips: { address: string }[] }).ips[0]?.address ?? "");
  expect(new Set([...docker, ...theirs.map((a) => a.replace(/\/.*/u, ""))]).size).toBe(MANY + OTHERS);
  expect(listRecords(() => {}).length).toBe(MANY + OTHERS);
  for (const address of theirs) w.ping(HOST, address.replace(/\/.*/u, ""));
  await Promise.all(
    docker
      .map(async (Address, i) => {
        const own = { NetworkID: NETWORK, EndpointID: `${i}`.padStart(64, "e") };
        expect(errorOf(await d.send("NetworkDriver.DeleteEndpoint", own))).toBeUndefined();
        expect(errorOf(await d.send("IpamDriver.ReleaseAddress", { PoolID, Address }))).toBeUndefined();
      })
      .concat(others.map(async (name) => expect((await cni("DEL", name)).code).toBe(0))),
  );
  for (const name of others) w.removeNamespace(name);
  await d.send("NetworkDriver.DeleteNetwork", { NetworkID: NETWORK });
  await until("nothing is recorded", () => listRecords(() => {}).length === 0);
  w.nothingIsLeft();
});
