// What Docker waits for when it joins a container to a network: two requests to the running plugin, by its socket.
import type { Bench, Row, Series } from "../series.ts";

const SOCKET = "/run/docker/plugins/berth.sock";
const POOL = "10.94.0.0/16";
const NETWORK = "b".repeat(64);

/** A request as Docker makes it. Throws where it is refused. */
async function ask(call: string, body: object): Promise<Readonly<Record<string, unknown>>> {
  const answer = await fetch(`http://berth/${call}`, { unix: SOCKET, method: "POST", body: JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${call}: ${answer.status} ${text}`);
  return JSON.parse(text) as Readonly<Record<string, unknown>>;
}

/** Starts the plugin, and waits until it serves. It ends when it is disposed of. */
async function start(executable: string): Promise<AsyncDisposable> {
  const p = Bun.spawn([executable, "docker", "--socket", SOCKET], {
    argv0: "berth",
    stdout: "pipe",
    stderr: "inherit",
  });
  const stop = async (): Promise<void> => {
    p.kill("SIGTERM");
    await p.exited;
  };
  const { value } = await p.stdout.getReader().read();
  if (value === undefined) throw new Error(`${executable} docker: exit status ${await p.exited}`);
  return { [Symbol.asyncDispose]: stop };
}

async function joins(bench: Bench): Promise<Row[]> {
  const berth = bench.plugins.find((p) => p.side === "berth");
  if (berth === undefined) return [];
  await using _server = await start(berth.executable);
  const { PoolID } = await ask("IpamDriver.RequestPool", { Pool: POOL });
  const gateway = { PoolID, Address: "10.94.0.1", Options: { RequestAddressType: "com.docker.network.gateway" } };
  await ask("IpamDriver.RequestAddress", gateway);
  await ask("NetworkDriver.CreateNetwork", {
    NetworkID: NETWORK,
    Options: { "com.docker.network.generic": { parent: bench.parent } },
    IPv4Data: [{ AddressSpace: "berth", Pool: POOL, Gateway: "10.94.0.1/16" }],
    IPv6Data: [],
  });
  const SandboxKey = bench.world.namespace("docker");
  const { pairs, warmUp } = bench.count;
  const times: number[] = [];
  for (let i = -warmUp; i < pairs; i++) {
    const endpoint = { NetworkID: NETWORK, EndpointID: (i + warmUp).toString(16).padStart(64, "e") };
    const { Address } = await ask("IpamDriver.RequestAddress", { PoolID, Address: "" });
    const begun = performance.now();
    await ask("NetworkDriver.CreateEndpoint", {
      ...endpoint,
      Interface: { Address, AddressIPv6: "", MacAddress: "" },
    });
    await ask("NetworkDriver.Join", { ...endpoint, SandboxKey });
    if (i >= 0) times.push(performance.now() - begun);
    await ask("NetworkDriver.Leave", endpoint);
    await ask("NetworkDriver.DeleteEndpoint", endpoint);
    await ask("IpamDriver.ReleaseAddress", { PoolID, Address: String(Address).replace(/\/.*/u, "") });
  }
  return [{ name: "Docker: CreateEndpoint and Join", unit: "ms", limit: 5, berth: times, peer: [] }];
}

/** Docker. */
export const dockerSeries: readonly Series[] = [{ name: "Docker", run: joins }];
