// An ADD with a Neutron port: what Berth adds to Neutron's own time. The Neutron of this series is a double whose time to answer is known.
import { DoubleCloud } from "../../test/openstack/double/cloud.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { call } from "../calls.ts";
import type { Bench, Row, Series } from "../series.ts";

async function post<T>(url: string, token: string, body: object): Promise<T> {
  const answer = await fetch(url, { method: "POST", headers: { "x-auth-token": token }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`POST ${url}: ${answer.status} ${await answer.text()}`);
  return Object.values((await answer.json()) as Record<string, T>)[0] as T;
}

async function neutron(bench: Bench): Promise<Row[]> {
  const [berth] = bench.plugins;
  if (berth === undefined) return [];
  const { world, parent } = bench;
  world.netlink("").do(changeLink("lo", { up: true }));
  await using cloud = await DoubleCloud.start();
  const user = { name: "demo", password: "demo", domain: { id: "default" } };
  const scope = { project: { name: "demo", domain: { id: "default" } } };
  const login = await fetch(`${cloud.authUrl}/auth/tokens`, {
    method: "POST",
    body: JSON.stringify({ auth: { identity: { methods: ["password"], password: { user } }, scope } }),
  });
  const token = login.headers.get("x-subject-token") ?? "";
  const url = `${cloud.keystone.endpoints.network}/v2.0`;
  const network = await post<{ id: string }>(`${url}/networks`, token, { network: { name: "bench" } });
  const subnet = { network_id: network.id, cidr: "192.168.0.0/24", ip_version: 4 };
  await post(`${url}/subnets`, token, { subnet });
  const port = { network_id: network.id, device_id: "vm" };
  const { mac_address: mac } = await post<{ mac_address: string }>(`${url}/ports`, token, { port });
  world.netlink("").do(changeLink(parent, { mac }));
  const netns = world.namespace("cloud");
  const config = {
    cniVersion: "1.0.0",
    name: "cloud",
    type: "macvlan",
    master: parent,
    ipam: { type: "neutron", waitReachable: 0 },
  };
  const env = {
    OS_AUTH_URL: cloud.authUrl,
    OS_USERNAME: "demo",
    OS_PASSWORD: "demo",
    OS_PROJECT_NAME: "demo",
    OS_USER_DOMAIN_ID: "default",
    OS_PROJECT_DOMAIN_ID: "default",
  };
  const target = { containerId: "c", netns };
  const times: number[] = [];
  const count = Math.min(20, bench.count.pairs);
  for (let i = 0; i < count + 2; i++) {
    const before = cloud.answeringMs;
    const { cost } = await call(berth, "ADD", target, config, { env });
    if (i >= 2) times.push(cost.wall - (cloud.answeringMs - before));
    await call(berth, "DEL", target, config, { env });
  }
  return [{ name: "ADD with Neutron: beyond Neutron's own time", unit: "ms", limit: 15, berth: times, peer: [] }];
}

/** Neutron. */
export const cloudSeries: readonly Series[] = [{ name: "Neutron", run: neutron }];
