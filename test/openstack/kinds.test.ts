import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { changeLink, supportsKind } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { call } from "../cni/call.ts";
import { TestWorld } from "../world.ts";
import { DoubleCloud } from "./double/cloud.ts";

interface PortJson {
  readonly id: string;
  readonly mac_address: string;
  readonly device_owner: string;
  readonly allowed_address_pairs: readonly { readonly ip_address: string; readonly mac_address: string }[];
}

/** More than a cloud's limit of pairs. */
const CONTAINERS = 60;
let w: TestWorld;
let cloud: DoubleCloud;
let token = "";
let vm: PortJson;

async function neutron<T>(method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(`${cloud.keystone.endpoints.network}/v2.0${path}`, {
    method,
    headers: { "x-auth-token": token },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const json = (await response.json()) as Record<string, T>;
  const [value] = Object.values(json);
  if (!response.ok || value === undefined) throw new Error(`${method} ${path}: ${JSON.stringify(json)}`);
  return value;
}

async function ports(): Promise<{ pairs: readonly string[]; containers: number }> {
  const all = await neutron<PortJson[]>("GET", "/ports");
  const own = all.find((p) => p.id === vm.id);
  return {
    pairs: (own?.allowed_address_pairs ?? []).map((p) => `${p.ip_address} ${p.mac_address}`),
    containers: all.length - 1,
  };
}

function has(kind: "ipvlan" | "vlan"): boolean {
  using nl = new Netlink();
  return supportsKind(nl, kind === "ipvlan" ? { kind, mode: "l2" } : { kind, id: 7 });
}

beforeAll(async () => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.netlink("").do(changeLink("lo", { up: true }));
  cloud = await DoubleCloud.start();
  const user = { name: "demo", password: "demo", domain: { id: "default" } };
  const scope = { project: { name: "demo", domain: { id: "default" } } };
  const login = await fetch(`${cloud.authUrl}/auth/tokens`, {
    method: "POST",
    body: JSON.stringify({ auth: { identity: { methods: ["password"], password: { user } }, scope } }),
  });
  token = login.headers.get("x-subject-token") ?? "";
  const { id } = await neutron<{ id: string }>("POST", "/networks", { network: { name: "n" } });
  await neutron("POST", "/subnets", { subnet: { network_id: id, cidr: "192.168.0.0/24", ip_version: 4 } });
  vm = await neutron<PortJson>("POST", "/ports", {
    port: { network_id: id, fixed_ips: [{ ip_address: "192.168.0.5" }] },
  });
  w.lan("lan");
  w.plug("lan", "", "eth0", "192.168.0.5/24");
  w.ip("", `link set eth0 address ${vm.mac_address}`);
  Object.assign(process.env, {
    OS_AUTH_URL: cloud.authUrl,
    OS_USERNAME: "demo",
    OS_PASSWORD: "demo",
    OS_USER_DOMAIN_ID: "default",
    OS_PROJECT_NAME: "demo",
    OS_PROJECT_DOMAIN_ID: "default",
  });
});
afterAll(async () => {
  await cloud[Symbol.asyncDispose]();
  w[Symbol.dispose]();
});

function network(type: string, ipam: object): Record<string, unknown> {
  return {
    cniVersion: "1.1.0",
    name: "cloudnet",
    type,
    master: "eth0",
    ipam: { type: "neutron", waitReachable: 0, ...ipam },
  };
}

function of(name: string): Record<string, string> {
  return { CNI_CONTAINERID: name, CNI_NETNS: `/run/netns/${name}` };
}

describe.skipIf(!has("ipvlan"))("kind ipvlan (skipped where the kernel lacks it)", () => {
  test(`${CONTAINERS} containers with addresses of a block need one pair, which goes with the last`, async () => {
    const config = network("ipvlan", { addressPairs: { cidr: "192.168.0.64/26" } });
    const names = Array.from({ length: CONTAINERS }, (_, i) => `i${i}`);
    const ips = new Set<string>();
    for (const name of names) {
      w.namespace(name);
      const { json } = await call("ADD", config, of(name));
      expect(json).not.toHaveProperty("code");
      ips.add(
        w
          .ipJson(name, "-4 address show dev eth0")
          .map((l) => JSON.stringify(l["addr_info"]))
          .join(""),
      );
      expect(w.link(name, "eth0")).toMatchObject({ kind: "ipvlan", mac: vm.mac_address });
    }
    expect(ips.size).toBe(CONTAINERS);
    expect(await ports()).toEqual({ pairs: [`192.168.0.64/26 ${vm.mac_address}`], containers: CONTAINERS });
    for (const [i, name] of names.entries()) {
      if (i === 0) expect((await call("CHECK", config, of(name))).text).toBe("");
      expect((await ports()).pairs.length).toBe(1);
      expect((await call("DEL", config, of(name))).text).toBe("");
      w.removeNamespace(name);
    }
    expect(await ports()).toEqual({ pairs: [], containers: 0 });
  });
});

describe.skipIf(!has("vlan"))("kind vlan (skipped where the kernel lacks it)", () => {
  test("containers have sub-ports of the VM port's trunk, each by a VLAN of its own with its port's MAC", async () => {
    await neutron("POST", "/trunks", { trunk: { port_id: vm.id } });
    const config = network("vlan", {});
    const seen = new Set<number>();
    for (const name of ["v1", "v2", "v3"]) {
      w.namespace(name);
      const { json } = await call("ADD", config, of(name));
      expect(json).not.toHaveProperty("code");
      const { detail, mac } = w.link(name, "eth0");
      if (detail?.kind === "vlan") seen.add(detail.id);
      const mine = (await neutron<PortJson[]>("GET", `/ports?mac_address=${mac}`)).length;
      expect(mine).toBe(1);
    }
    expect(seen).toEqual(new Set([1, 2, 3]));
    expect((await ports()).pairs).toEqual([]);
    for (const name of ["v1", "v2", "v3"]) {
      expect((await call("CHECK", config, of(name))).text).toBe("");
      expect((await call("DEL", config, of(name))).text).toBe("");
      w.removeNamespace(name);
    }
    expect(await ports()).toEqual({ pairs: [], containers: 0 });
  });
});
