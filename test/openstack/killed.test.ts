import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { execPath } from "node:process";
import { changeLink } from "../../src/kernel/links.ts";
import { engineRefused } from "../../scripts/engine.ts";
import { executablePath } from "../executable.ts";
import { TestWorld } from "../world.ts";
import { DoubleCloud } from "./double/cloud.ts";

const refused = await engineRefused();

let w: TestWorld;
let cloud: DoubleCloud;
let token: string;
let vmPort: string;
let networkId: string;

interface PortJson {
  readonly id: string;
  readonly mac_address: string;
  readonly device_owner: string;
  readonly allowed_address_pairs: readonly unknown[];
}

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
  ({ id: networkId } = await neutron<{ id: string }>("POST", "/networks", { network: { name: "n" } }));
  const subnet = { network_id: networkId, cidr: "192.168.0.0/24", ip_version: 4 };
  await neutron("POST", "/subnets", { subnet });
  const port = await neutron<PortJson>("POST", "/ports", { port: { network_id: networkId, device_id: "vm" } });
  vmPort = port.id;
  w.lan("lan");
  w.plug("lan", "", "eth0", "192.168.0.5/24");
  w.ip("", `link set eth0 address ${port.mac_address}`);
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
});
afterAll(async () => {
  await cloud[Symbol.asyncDispose]();
  w[Symbol.dispose]();
});

const config = JSON.stringify({
  cniVersion: "1.1.0",
  name: "cloudnet",
  type: "macvlan",
  master: "eth0",
  hostAccess: "auto",
  ipam: { type: "neutron", waitReachable: 0 },
});

/** Who carries a call. */
interface By {
  readonly command: readonly string[];
  /** For strace, where it is killed: in the engine only, as with it ends the process that carries its requests. */
  readonly trace: readonly string[];
}
const runtime: By = { command: [execPath, `${import.meta.dir}/../../src/main.ts`], trace: ["-f"] };
const engine: By = { command: [await executablePath()], trace: [] };

/** A call in a process of its own; how it ended. */
async function call(
  by: By,
  verb: string,
  before: readonly string[] = [],
  stdin = config,
): Promise<{ killed: boolean; out: string }> {
  const child = Bun.spawn([...before, ...by.command], {
    env: {
      PATH: "/usr/bin:/bin",
      OS_AUTH_URL: cloud.authUrl,
      OS_USERNAME: "demo",
      OS_PASSWORD: "demo",
      OS_USER_DOMAIN_ID: "default",
      OS_PROJECT_NAME: "demo",
      OS_PROJECT_DOMAIN_ID: "default",
      CNI_COMMAND: verb,
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/opt/cni/bin",
    },
    stdin: new Blob([stdin]),
    stdout: "pipe",
    stderr: "ignore",
  });
  const [out] = await Promise.all([child.stdout.text(), child.exited]);
  return { killed: child.signalCode === "SIGKILL" || child.exitCode === 137, out };
}

/** Ports of containers, pairs, records and the kernel's state. */
async function state(): Promise<unknown> {
  const ports = await neutron<PortJson[]>("GET", `/ports?network_id=${networkId}`);
  const records = existsSync("/run/berth/attachments") ? readdirSync("/run/berth/attachments") : [];
  return {
    ports: ports.filter((p) => p.device_owner.startsWith("berth")).length,
    pairs: ports.find((p) => p.id === vmPort)?.allowed_address_pairs,
    records,
    host: w.snapshot(""),
    container: w.snapshot("c"),
  };
}

describe.skipIf(Bun.which("strace") === null)("killed (skipped where strace is not installed)", () => {
  const carriers = refused === undefined ? { runtime, engine } : { runtime };
  test.each(Object.entries(carriers))(
    "%s, at each message that an ADD sends: DEL, or GC alone, leaves nothing",
    async (_, by) => {
      expect((await call(by, "STATUS")).out).toBe("");
      const before = await state();
      let points = 0;
      for (let n = 1; ; n++) {
        const inject = ["strace", ...by.trace, "-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e"];
        const { killed } = await call(by, "ADD", [...inject, `inject=sendto:signal=SIGKILL:when=${n}`]);
        if (!killed) break;
        points++;
        const verb = n % 2 === 0 ? "DEL" : "GC";
        const stdin =
          verb === "DEL" ? config : JSON.stringify({ ...JSON.parse(config), "cni.dev/valid-attachments": [] });
        expect({ n, verb, ...(await call(by, verb, [], stdin)) }).toEqual({ n, verb, killed: false, out: "" });
        expect({ n, state: await state() }).toEqual({ n, state: before });
      }
      console.log(`killed at ${points} points`);
      expect(points).toBeGreaterThan(10);
      expect((await call(by, "DEL")).out).toBe("");
      expect(await state()).toEqual(before);
    },
    170_000,
  );
});
