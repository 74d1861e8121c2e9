// A cloud's client in the compiled program: the engine asks, and a process beside it carries its requests. What comes of it is
// what comes of it in the runtime, and nothing of that process is left.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { MAX_ANSWER } from "../../src/openstack/carrier.ts";
import { executablePath } from "../executable.ts";
import { engineRefused } from "../../scripts/engine.ts";
import { TestWorld, until } from "../world.ts";
import { certificate, key } from "./certificate.ts";
import { CloudServer, next, SECRET, silence, type Stored } from "./server.ts";

const NETWORK = "11111111-2222-3333-4444-555555555555";
const refused = await engineRefused();
const program = await executablePath();

let w: TestWorld;
let cloud: CloudServer;
let vm: Stored;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.plug("lan", "", "eth0", "192.168.0.5/24");
  w.namespace("c");
});
afterAll(() => w[Symbol.dispose]());
beforeEach(() => {
  for (const state of ["/run/berth", "/var/lib/berth"]) rmSync(state, { recursive: true, force: true });
  Bun.spawnSync(["ip", "-n", "c", "link", "del", "eth1"]); // where the test before has left it
  use(new CloudServer());
  return () => cloud[Symbol.dispose]();
});

function use(another: CloudServer): void {
  cloud = another;
  cloud.networks.push({ id: NETWORK, name: "private", mtu: 1450 });
  cloud.subnets.push({
    id: "s4",
    name: "v4",
    network_id: NETWORK,
    cidr: "192.168.0.0/24",
    gateway_ip: "192.168.0.1",
    host_routes: [],
    dns_nameservers: [],
    allocation_pools: [{ start: "192.168.0.2", end: "192.168.0.254" }],
  });
  vm = cloud.port({
    network_id: NETWORK,
    fixed_ips: [{ subnet_id: "s4", ip_address: "192.168.0.5" }],
    device_id: "vm-2",
    device_owner: "compute:nova",
  });
  w.ip("", `link set eth0 address ${vm.mac_address}`);
}

function credentials(): Record<string, string> {
  return {
    OS_AUTH_URL: `${cloud.url}/v3`,
    OS_USERNAME: "ann",
    OS_PASSWORD: SECRET,
    OS_PROJECT_ID: "project",
    OS_USER_DOMAIN_ID: "default",
  };
}

interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly errors: string;
}

function start(verb: string, env: Record<string, string>): Bun.Subprocess<Blob, "pipe", "pipe"> {
  const config = {
    cniVersion: "1.0.0",
    name: "cloudnet",
    type: "macvlan",
    master: "eth0",
    ipam: { type: "neutron", waitReachable: 0 },
  };
  return Bun.spawn([program], {
    env: {
      PATH: "/usr/bin:/bin",
      CNI_COMMAND: verb,
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c",
      CNI_IFNAME: "eth1",
      CNI_PATH: "/nowhere",
      ...env,
    },
    stdin: new Blob([JSON.stringify(config)]),
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function ended(child: Bun.Subprocess<Blob, "pipe", "pipe">): Promise<Ended> {
  const [out, errors, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { status, out, errors };
}

async function call(verb: string, env = credentials()): Promise<Ended> {
  return await ended(start(verb, env));
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}

/** A call of which one request is answered after something was done to its processes. */
async function meeting(
  request: string,
  what: (engine: number, carrier: number) => unknown,
  times = 1,
  env = credentials(),
): Promise<Ended> {
  let engine = 0;
  const at = next(
    request,
    async () => {
      const [carrier = 0] = childrenOf(engine);
      await what(engine, carrier);
      return undefined;
    },
    times,
  );
  cloud.troubles.push(at);
  const child = start("ADD", env);
  engine = child.pid;
  return await ended(child);
}

/** Has the next list of ports answered so. */
function listing(answer: () => Response): () => unknown {
  return () => cloud.troubles.push(next("GET /ports", answer));
}

function isGone(pid: number): boolean {
  return !existsSync(`/proc/${pid}`);
}

describe.skipIf(refused !== undefined)(`by the engine (where one can be built: ${refused ?? "here"})`, () => {
  test("ADD and DEL ask the same of a cloud as by the runtime, and leave nothing", async () => {
    const seen: unknown[] = [];
    for (const engine of ["on", "off"]) {
      cloud.asked.length = 0;
      const env = { ...credentials(), BERTH_ENGINE: engine };
      const add = await call("ADD", env);
      const [, made] = [...cloud.ports.values()];
      const mac = made?.mac_address ?? "none";
      seen.push([add.status, add.out.replaceAll(mac, "MAC"), add.errors, vm.allowed_address_pairs.length]);
      seen.push([await call("DEL", env), cloud.ports.size, vm.allowed_address_pairs]);
      seen.push(cloud.calls.toSorted());
      rmSync("/run/berth/tokens", { recursive: true, force: true });
    }
    expect(seen.slice(3)).toEqual(seen.slice(0, 3));
    expect(seen[0]).toEqual([0, expect.stringContaining('"192.168.0.2/24"'), "", 1]);
    expect(seen[1]).toEqual([{ status: 0, out: "", errors: "" }, 1, []]);
  });

  test("the process that carries requests knows no secret of its surroundings, has no stream of the call, and is gone with it", async () => {
    let [told, streams, pid]: [string, string, number] = ["", "", 0];
    const { status } = await meeting("GET /networks", (_, carrier) => {
      pid = carrier;
      told = ["cmdline", "environ"].map((f) => readFileSync(`/proc/${carrier}/${f}`, "utf8")).join(" ");
      const r = Bun.spawnSync(["readlink", ...[0, 1, 2].map((fd) => `/proc/${carrier}/fd/${fd}`)]);
      streams = r.stdout.toString();
    });
    expect([status, streams, isGone(pid)]).toEqual([0, "/dev/null\n".repeat(3), true]);
    expect(told).toContain("berth-carrier");
    expect(told).toContain("PATH=");
    for (const secret of [SECRET, "OS_", "CNI_", "token-"]) expect(told).not.toContain(secret);
  });

  test("that process killed once: what is repeatable is asked again, by another one", async () => {
    const carriers: number[] = [];
    const { status } = await meeting("GET /ports", (_, carrier) => {
      carriers.push(carrier);
      process.kill(carrier, "SIGKILL");
    });
    expect([status, carriers.every(isGone)]).toEqual([0, true]);
    expect(cloud.calls.filter((c) => c === "GET /ports").length).toBe(2);
  });

  test("killed while a port is made: the port is found, and none is made twice", async () => {
    const { status } = await meeting("POST /ports", (_, carrier) => process.kill(carrier, "SIGKILL"));
    expect([status, cloud.ports.size]).toEqual([0, 2]);
  });

  test("killed each time: the error says what was attempted, and why it is not known", async () => {
    const { status, out } = await meeting("GET /ports", (_, carrier) => process.kill(carrier, "SIGKILL"), 99);
    const { msg } = JSON.parse(out) as { msg: string };
    expect([status, cloud.ports.size]).toEqual([1, 1]);
    expect(msg).toContain("GET http://127.0.0.1:");
    expect(msg).toContain("the process that carries requests to the cloud was ended by signal 9");
  });

  test("the engine killed: so is the process that carries requests, even where it cannot see that the engine is gone", async () => {
    let pid = 0;
    const { status } = await meeting("GET /networks", (engine, carrier) => {
      pid = carrier;
      process.kill(carrier, "SIGSTOP"); // it reads nothing any more
      process.kill(engine, "SIGKILL");
    });
    expect(status).not.toBe(0);
    // whoever takes orphans in may leave it there as a zombie
    await until("it has ended", () => isGone(pid) || /^State:\s+Z/mu.test(readFileSync(`/proc/${pid}/status`, "utf8")));
  });

  test("a connection that ends in the middle: asked again", async () => {
    cloud.troubles.push(next("GET /subnets", () => silence(), 2));
    expect((await call("ADD")).status).toBe(0);
    expect(cloud.calls.filter((c) => c === "GET /subnets").length).toBe(3);
  });

  test.each([
    ["a server that is gone", "ECONNREFUSED", (): unknown => cloud[Symbol.dispose]()],
    ["an answer that is too long", "is longer than", listing(() => new Response("x".repeat(MAX_ANSWER + 1)))],
    ["a refusal", "é€\u{1F600}", listing(() => Response.json({ error: "é€\u{1F600}" }, { status: 403 }))],
    ["no JSON", "the answer's", listing(() => new Response("<html>"))],
  ])("%s: the same error as by the runtime", async (_, text, trouble) => {
    const said: Ended[] = [];
    for (const engine of ["on", "off"]) {
      trouble();
      said.push(await call("ADD", { ...credentials(), BERTH_ENGINE: engine }));
    }
    expect(said[0]).toEqual(said[1] as Ended);
    expect(said[0]).toMatchObject({ status: 1, out: expect.stringContaining(text) });
  });

  test("certificates: one that nobody vouches for is refused, one of OS_CACERT is accepted", async () => {
    cloud[Symbol.dispose]();
    use(new CloudServer({ cert: certificate, key }));
    const { status, out } = await call("ADD");
    expect([status, out]).toEqual([1, expect.stringContaining("DEPTH_ZERO_SELF_SIGNED_CERT")]);
    expect(cloud.asked).toEqual([]);
    writeFileSync("/run/ca.pem", certificate);
    expect((await call("ADD", { ...credentials(), OS_CACERT: "/run/ca.pem" })).status).toBe(0);
  });

  test("clouds.yaml: read, and where it is none the same error as by the runtime", async () => {
    const auth = { auth_url: `${cloud.url}/v3`, username: "ann", password: SECRET, project_id: "project" };
    const entry = Object.entries({ ...auth, user_domain_id: "default" }).map(([k, v]) => `      ${k}: ${v}`);
    writeFileSync("/run/clouds.yaml", ["clouds:", "  one: &one", "    auth:", ...entry, "  two: *one"].join("\n"));
    const env = { OS_CLIENT_CONFIG_FILE: "/run/clouds.yaml", OS_CLOUD: "two" };
    expect((await call("ADD", env)).status).toBe(0);
    for (const damaged of ["clouds: [", "- a", "clouds: {two: {auth: {auth_url: 3}}}", ""]) {
      writeFileSync("/run/clouds.yaml", damaged);
      const said = await call("ADD", env);
      expect(said).toEqual(await call("ADD", { ...env, BERTH_ENGINE: "off" }));
      expect([said.status, said.out]).toEqual([1, expect.stringContaining("/run/clouds.yaml")]);
    }
  });

  test("a list in pieces, whose further pieces are named by URLs", async () => {
    for (let n = 0; n < 5; n++) cloud.port({ network_id: NETWORK, mac_address: vm.mac_address, device_owner: "other" });
    cloud.pieces = 2;
    const said = await call("ADD");
    expect(cloud.asked.some((a) => a.query.has("marker"))).toBe(true);
    expect(said).toEqual(await call("ADD", { ...credentials(), BERTH_ENGINE: "off" }));
  });
});
