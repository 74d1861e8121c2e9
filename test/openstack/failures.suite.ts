import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { Neutron } from "../../src/openstack/neutron.ts";
import { findCredentials } from "../../src/openstack/credentials.ts";
import { Session } from "../../src/openstack/session.ts";
import { Api } from "./api.ts";
import { realCloud } from "./real/cloud.ts";
import { Proxy } from "./real/proxy.ts";
import { credentials, Site, type Vm } from "./real/site.ts";

const PROXY = 29_696;
let site: Site;
let vm: Vm;
let proxy: Proxy;
beforeAll(async () => {
  site = await Site.make(await realCloud(), "failing");
  proxy = new Proxy(PROXY);
  vm = await site.vm("vm3", "192.168.0.5", {}, PROXY);
  vm.container("f1");
}, 300_000);
afterAll(async () => await proxy[Symbol.asyncDispose]());
beforeEach(() => proxy.reset());
// what a test that failed left does not fail the next one
afterEach(async () => {
  proxy.reset();
  await vm.cni("DEL", "f1", network());
});

function network(ipam: object = {}): Record<string, unknown> {
  return {
    cniVersion: "1.1.0",
    name: "cloudnet",
    type: "macvlan",
    master: "eth0",
    ipam: { type: "neutron", waitReachable: 0, ...ipam },
  };
}

/** Takes the gateway off its network, or puts it back. */
function gateway(state: "down" | "up"): void {
  site.services.run(["ip", "-n", "failing-router", "link", "set", "lan0", state]);
}

/** What an ADD with other credentials is answered. */
async function as(env: Record<string, string>): Promise<Record<string, unknown>> {
  return (await vm.cni("ADD", "f1", network(), { ...credentials(), ...env })).json;
}

function neutron(ipam: object): Neutron {
  const around = { env: credentials(), directories: [] };
  return new Neutron({ type: "neutron", vmPort: vm.port.id, ...ipam }, new Session(findCredentials({}, around)));
}

function holder(i: number): { network: string; containerId: string; ifName: string } {
  return { network: "cloudnet", containerId: `p${i}`, ifName: "eth0" };
}

/** Neither port, pair, link nor record. */
async function nothingIsLeft(): Promise<void> {
  expect((await site.ports()).filter((p) => p.device_owner.startsWith("berth"))).toEqual([]);
  expect(await vm.pairs()).toEqual([]);
  expect(site.services.run(["ip", "-n", "f1", "-o", "link", "show"])).not.toContain("eth0");
  expect((await vm.berth("ls", "--json")).out.trim()).toBe("[]");
}

describe("the API calls of an ADD", () => {
  test("are five with a warm token, and none that could be left out", async () => {
    await vm.cni("STATUS", "", network());
    proxy.reset();
    expect((await vm.cni("ADD", "f1", network())).exitCode).toBe(0);
    expect(proxy.asked.toSorted()).toEqual([
      "GET /networks",
      "GET /ports",
      "GET /subnets",
      "POST /ports",
      "PUT /ports/ID",
    ]);
    proxy.reset();
    expect((await vm.cni("DEL", "f1", network())).exitCode).toBe(0);
    const pairs = ["GET /ports/ID", "PUT /ports/ID", "GET /ports/ID"];
    expect(proxy.asked).toEqual([...pairs, "GET /ports/ID", "DELETE /ports/ID"]);
    await nothingIsLeft();
  });
});

describe("what the cloud refuses", () => {
  test("each has a sentence that says what to do, and leaves nothing", async () => {
    const other = await site.demo.must<{ id: string }>("POST", "/ports", {
      port: {
        network_id: site.networkId,
        name: "other",
        device_owner: "compute:nova",
        fixed_ips: [{ ip_address: "192.168.0.99" }],
      },
    });
    const { mac_address: taken } = await site.port(other.id);
    const cases: [string, Record<string, unknown>, number, RegExp, RegExp][] = [
      ["an address that another has", { ip: "192.168.0.99" }, 101, /192\.168\.0\.99/u, /Ask for another/u],
      ["a MAC that another has", { mac: taken }, 102, /MacAddressInUse/u, /another/u],
      [
        "an address of no subnet",
        { ip: "10.1.2.3" },
        101,
        /InvalidIpFor(Network|Subnet)/u,
        /none of the network's subnets|not one of the subnet/u,
      ],
      ["a network that is not there", { network: "moon" }, 7, /find the network moon/u, /openstack network list/u],
      ["a port that is not there", { port: "moon" }, 7, /find the port moon/u, /openstack port list/u],
      ["a port that somebody has", { port: "other" }, 102, /take the port/u, /Name another/u],
      ["a subnet that is not there", { subnets: ["moon"] }, 7, /find the subnet moon/u, /openstack subnet list/u],
      [
        "a VM's port that is not there",
        { vmPort: "11111111-2222-3333-4444-555555555555" },
        7,
        /find the VM's port/u,
        /vmPort/u,
      ],
    ];
    for (const [what, ipam, code, sentence, advice] of cases) {
      const { json } = await vm.cni("ADD", "f1", network(ipam));
      expect({ what, ...json }).toMatchObject({
        what,
        code,
        msg: expect.stringMatching(sentence),
        details: expect.stringMatching(advice),
      });
    }
    await site.demo.must("DELETE", `/ports/${other.id}`);
    await nothingIsLeft();
  }, 120_000);

  test("the quota of ports, and a subnet without a free address", async () => {
    const { projectId } = site.demo;
    const { port } = await site.admin.must<{ port: { used: number } }>("GET", `/quotas/${projectId}/details.json`);
    await site.admin.must("PUT", `/quotas/${projectId}`, { quota: { port: port.used } });
    expect((await vm.cni("ADD", "f1", network())).json).toMatchObject({
      code: 106,
      msg: expect.stringContaining("OverQuota"),
      details: expect.stringContaining("openstack quota set"),
    });
    expect((await vm.cni("STATUS", "", network())).json).toMatchObject({
      code: 50,
      msg: expect.stringContaining("quota"),
    });
    await site.admin.must("PUT", `/quotas/${projectId}`, { quota: { port: 500 } });
    const pool = { network_id: site.networkId, cidr: "10.77.0.0/29", ip_version: 4, name: "tiny", gateway_ip: null };
    const tiny = await site.demo.must<{ id: string }>("POST", "/subnets", {
      subnet: { ...pool, allocation_pools: [{ start: "10.77.0.2", end: "10.77.0.2" }] },
    });
    const last = await site.demo.must<{ id: string }>("POST", "/ports", {
      port: { network_id: site.networkId, fixed_ips: [{ subnet_id: tiny.id }] },
    });
    expect((await vm.cni("ADD", "f1", network({ subnets: ["tiny"] }))).json).toMatchObject({
      code: 101,
      msg: expect.stringContaining("IpAddressGenerationFailure"),
      details: expect.stringContaining("no free address"),
    });
    await site.demo.must("DELETE", `/ports/${last.id}`);
    await site.demo.must("DELETE", `/subnets/${tiny.id}`);
    await nothingIsLeft();
  }, 120_000);

  test("a user who may not, a password that is wrong, a cloud that does not answer", async () => {
    expect(await as({ OS_USERNAME: "reader", OS_PASSWORD: "reader" })).toMatchObject({
      code: 106,
      msg: expect.stringMatching(/disallowed by policy|PolicyNotAuthorized/u),
      details: expect.stringContaining("role member"),
    });
    expect(await as({ OS_PASSWORD: "wrong" })).toMatchObject({ code: 7, msg: expect.stringContaining("HTTP 401") });
    expect(await as({ OS_PROJECT_NAME: "other" })).toMatchObject({ code: 7 });
    expect(await as({ OS_AUTH_URL: "http://127.0.0.1:9/v3" })).toMatchObject({
      code: 11,
      details: expect.stringContaining("try again"),
    });
    proxy.incident = () => ({ status: 503, body: { message: "down for maintenance" } });
    expect(await as({})).toMatchObject({ code: 11, msg: expect.stringContaining("503") });
    proxy.reset();
    await nothingIsLeft();
  }, 120_000);

  test("a VM's port without port security needs no pair", async () => {
    await site.demo.must("PUT", `/ports/${vm.port.id}`, {
      port: { security_groups: [], port_security_enabled: false },
    });
    expect((await vm.cni("ADD", "f1", network())).exitCode).toBe(0);
    expect(await vm.pairs()).toEqual([]);
    expect((await vm.cni("CHECK", "f1", network())).exitCode).toBe(0);
    expect((await vm.cni("DEL", "f1", network())).exitCode).toBe(0);
    await site.demo.must("PUT", `/ports/${vm.port.id}`, { port: { port_security_enabled: true } });
    await nothingIsLeft();
  }, 60_000);
});

test("both families: an address of each, and both pairs by one change", async () => {
  const subnet = {
    network_id: site.networkId,
    cidr: "fd00:5::/64",
    ip_version: 6,
    name: "six",
    gateway_ip: "fd00:5::1",
  };
  const { id } = await site.demo.must<{ id: string }>("POST", "/subnets", { subnet });
  await vm.cni("STATUS", "", network());
  proxy.reset();
  const { json } = await vm.cni("ADD", "f1", network());
  const ips = (json["ips"] as { address: string; gateway: string }[]).toSorted(
    (a, b) => a.address.length - b.address.length,
  );
  expect(json["routes"]).toEqual([
    { dst: "0.0.0.0/0", gw: "192.168.0.1" },
    { dst: "::/0", gw: "fd00:5::1" },
  ]);
  expect(ips.map((i) => i.gateway).toSorted()).toEqual(["192.168.0.1", "fd00:5::1"]);
  expect((await vm.pairs()).length).toBe(2);
  // one that is refused, as the agent gave the port a new revision meanwhile, is asked for again
  expect(proxy.granted.filter((a) => a.startsWith("PUT")).length).toBe(1);
  expect((await vm.cni("CHECK", "f1", network())).exitCode).toBe(0);
  expect((await vm.cni("DEL", "f1", network())).exitCode).toBe(0);
  await nothingIsLeft();
  await site.demo.must("DELETE", `/subnets/${id}`);
}, 60_000);

test("an existing port is taken and given back: by name, and by an address that was asked for", async () => {
  for (const by of ["port", "ip"] as const) {
    const wish = { network_id: site.networkId, name: "mine", fixed_ips: [{ ip_address: "192.168.0.44" }] };
    const { id } = await site.demo.must<{ id: string }>("POST", "/ports", { port: wish });
    const config = network(by === "port" ? { port: "mine" } : { ip: "192.168.0.44" });
    expect((await vm.cni("ADD", "f1", config)).json).toMatchObject({ ips: [{ address: "192.168.0.44/24" }] });
    expect(await site.port(id)).toMatchObject({ name: "mine", device_owner: "berth:taken" });
    expect((await vm.cni("ADD", "f9", config, { CNI_NETNS: "/run/netns/f1", CNI_IFNAME: "eth9" })).exitCode).toBe(1);
    expect((await vm.cni("DEL", "f1", config)).exitCode).toBe(0);
    expect(await site.port(id)).toMatchObject({ name: "mine", device_owner: "", device_id: "" });
    await site.demo.must("DELETE", `/ports/${id}`);
    await nothingIsLeft();
  }
}, 60_000);

test("a gateway that does not answer is remarked, or refused where it is required, and leaves nothing", async () => {
  gateway("down");
  const patient = { waitReachable: 1 };
  const reply = await vm.cni("ADD", "f1", network(patient));
  expect(reply.exitCode).toBe(0);
  expect(reply.remarks).toContain("the gateway 192.168.0.1 did not answer 192.168.0.");
  expect((await vm.cni("DEL", "f1", network(patient))).exitCode).toBe(0);
  expect((await vm.cni("ADD", "f1", network({ ...patient, requireReachable: true }))).json).toMatchObject({
    code: 11,
    msg: expect.stringContaining("the gateway 192.168.0.1 did not answer"),
  });
  await nothingIsLeft();
  gateway("up");
}, 60_000);

test("a dry run prints the openstack commands beside the ip commands, and changes nothing", async () => {
  site.services.run(["sh", "-c", `printf '%s' '${JSON.stringify(network())}' > /run/cloudnet.conf`]);
  const { out, exitCode } = await vm.berth("attach", "--dry-run", "--config", "/run/cloudnet.conf", "--netns", "f1");
  expect(exitCode).toBe(0);
  const lines = out.trim().split("\n");
  expect(lines[0]).toMatch(/^openstack port create --network .* cloudnet-f1-eth0 #/u);
  expect(out).toMatch(/^openstack port set --allowed-address ip-address=192\.168\.0\.\d+,mac-address=fa:16:3e:/mu);
  expect(out).toMatch(/^ip link add link eth0 name berth[\da-f]+ netns f1 address fa:16:3e:/mu);
  await nothingIsLeft();
}, 60_000);

describe("logins", () => {
  test("an application credential; a token that was revoked between calls is renewed", async () => {
    const made = (await site.demo.keystone("POST", `/users/${site.demo.userId}/application_credentials`, {
      application_credential: { name: "berth", secret: "hush" },
    })) as { application_credential: { id: string } };
    const env = {
      OS_AUTH_TYPE: "v3applicationcredential",
      OS_APPLICATION_CREDENTIAL_ID: made.application_credential.id,
      OS_APPLICATION_CREDENTIAL_SECRET: "hush",
    };
    const own = Object.fromEntries(Object.keys(credentials()).map((key) => [key, ""]));
    const login = { ...own, OS_AUTH_URL: "http://127.0.0.1:15000/v3", ...env };
    expect((await vm.cni("ADD", "f1", network(), login)).exitCode).toBe(0);
    const tokens = site.services.run(["sh", "-c", "cat /run/berth/tokens/*"]).match(/"token":"[^"]+"/gu) ?? [];
    expect(tokens.length).toBeGreaterThan(0);
    const admin = await Api.login("admin", "admin", "admin");
    for (const text of tokens) {
      const { token } = JSON.parse(`{${text}}`) as { token: string };
      const revoked = await fetch("http://127.0.0.1:15000/v3/auth/tokens", {
        method: "DELETE",
        headers: { "x-auth-token": admin.token, "x-subject-token": token },
      });
      expect([204, 404]).toContain(revoked.status);
    }
    await Bun.sleep(1000);
    expect((await vm.cni("DEL", "f1", network(), login)).exitCode).toBe(0);
    await nothingIsLeft();
  }, 120_000);
});

describe("answers that are lost, and processes that are killed", () => {
  test("a POST that was carried out though nobody heard of it is found again, and not made twice", async () => {
    proxy.incident = ({ method, path }) =>
      method === "POST" && path === "/ports" && !proxy.asked.slice(0, -1).includes("POST /ports") ? "lose" : undefined;
    expect((await vm.cni("ADD", "f1", network())).exitCode).toBe(0);
    expect((await site.ports("&device_owner=berth:container")).length).toBe(1);
    proxy.reset();
    proxy.incident = ({ method, number }) => (method === "PUT" && number < 4 ? "lose" : undefined);
    expect((await vm.cni("DEL", "f1", network())).exitCode).toBe(0);
    await nothingIsLeft();
  }, 120_000);

  test("killed before or after each call of an ADD, DEL leaves nothing; so does gc, where nobody calls DEL", async () => {
    let points = 0;
    for (const way of ["DEL", "GC"] as const) {
      for (const when of ["before", "after"] as const) {
        for (let n = 1; n <= 5; n++) {
          proxy.reset();
          const child = Bun.spawn(["nsenter", "--net=/run/netns/vm3", `${import.meta.dir}/../../dist/berth`], {
            env: {
              PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
              ...credentials(),
              CNI_COMMAND: "ADD",
              CNI_CONTAINERID: "f1",
              CNI_NETNS: "/run/netns/f1",
              CNI_IFNAME: "eth0",
              CNI_PATH: "/opt/cni/bin",
            },
            stdin: new Blob([JSON.stringify(network())]),
            stdout: "ignore",
            stderr: "ignore",
          });
          proxy.before = (number, at) => {
            if (number === n && at === when) child.kill("SIGKILL");
          };
          await child.exited;
          expect({ n, when, signal: child.signalCode }).toEqual({ n, when, signal: "SIGKILL" });
          points++;
          await Bun.sleep(1500); // what was under way when the process died is carried out
          proxy.reset();
          const config = { ...network(), "cni.dev/valid-attachments": [] };
          const reply = await vm.cni(way, way === "DEL" ? "f1" : "", config);
          expect({ n, when, way, ...reply.json }).toEqual({ n, when, way });
          await nothingIsLeft();
        }
      }
    }
    console.log(`killed at ${points} points`);
  }, 400_000);

  test("a DEL without a record, or without the namespace, takes back port and pair", async () => {
    const config = network();
    expect((await vm.cni("ADD", "f1", config)).exitCode).toBe(0);
    site.services.run(["rm", "-r", "/run/berth"]);
    expect((await vm.cni("DEL", "f1", config)).exitCode).toBe(0);
    await nothingIsLeft();
    vm.container("f2");
    expect((await vm.cni("ADD", "f2", config)).exitCode).toBe(0);
    site.services.run(["ip", "netns", "del", "f2"]);
    site.services.run(["rm", "-r", "/run/berth", "/var/lib/berth"]); // a reboot, and a disk that was not kept
    expect((await vm.cni("DEL", "f2", config, { CNI_NETNS: "" })).exitCode).toBe(0);
    await nothingIsLeft();
  }, 60_000);
});

describe("ports for kinds that this kernel may lack", () => {
  const seat = { parentMac: undefined, mac: undefined };

  test("60 ipvlan containers with addresses of a block need one pair, which goes with the last of them", async () => {
    const provider = neutron({ addressPairs: { cidr: "192.168.0.64/26" } });
    const allocations = [];
    for (let i = 0; i < 60; i++) {
      const allocation = await provider.allocate(holder(i), [], { ...seat, kind: "ipvlan" });
      if (allocation.port?.admission !== undefined) await provider.admit(allocation.port.admission);
      allocations.push(allocation);
    }
    const ips = allocations.map((a) => a.ips[0]?.address ?? "");
    expect(new Set(ips).size).toBe(60);
    expect(
      ips.every((text) => Number(/\.(\d+)\//u.exec(text)?.[1]) >= 64 && Number(/\.(\d+)\//u.exec(text)?.[1]) < 128),
    ).toBe(true);
    expect(await vm.pairs()).toEqual([`192.168.0.64/26 ${vm.port.mac_address}`]);
    for (const [i, { port }] of allocations.entries()) {
      if (port?.admission !== undefined) await provider.dismiss(port.admission);
      expect((await vm.pairs()).length).toBe(i < 59 ? 1 : 0);
      await provider.release(holder(i), [], port);
    }
    await nothingIsLeft();
  }, 400_000);

  test("a trunk's sub-ports get VLANs that nobody else has, however many ask at once", async () => {
    const trunk = await site.demo.must<{ id: string }>("POST", "/trunks", { trunk: { port_id: vm.port.id } });
    const all = await Promise.all(
      Array.from({ length: 8 }, async (_, i) => await neutron({}).allocate(holder(i), [], { ...seat, kind: "vlan" })),
    );
    expect(new Set(all.map((a) => a.port?.vlanId))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8]));
    for (const { port } of all) expect(port?.admission).toBeUndefined();
    await Promise.all(all.map(async ({ port }, i) => await neutron({}).release(holder(i), [], port)));
    await site.demo.must("DELETE", `/trunks/${trunk.id}`);
    await nothingIsLeft();
  }, 200_000);
});
