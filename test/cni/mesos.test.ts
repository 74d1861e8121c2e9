// What a Mesos task asks for: the NetworkInfo that the agent adds to the configuration.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { TestWorld } from "../world.ts";
import { call, type Reply } from "./call.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("tasks");
  w.plug("tasks", "", "eth1");
});
beforeEach(() => {
  rmSync("/var/lib/cni", { recursive: true, force: true });
  w.namespace("c");
});
afterEach(() => w.removeNamespace("c"));
afterAll(() => w[Symbol.dispose]());

const hostLocal = { type: "host-local", subnet: "192.168.122.0/24", rangeStart: "192.168.122.171" };

/** The agent's environment is these and PATH, nothing else. */
async function add(networkInfo: unknown, more: Record<string, unknown> = {}): Promise<Reply> {
  const args = { ...(more["args"] as object | undefined), "org.apache.mesos": { network_info: networkInfo } };
  const config = { name: "net", type: "macvtap", master: "eth1", ipam: hostLocal, ...more, args };
  return await call("ADD", config, { CNI_CONTAINERID: "5baff64c-d028-47ba-864e-a5ee679fc069.child-1" }, "macvtap");
}

const label = (key: string, value?: string): object => ({ key, ...(value === undefined ? {} : { value }) });

test("ip_addresses with an address, and the labels berth.ip and berth.mac", async () => {
  const asked = {
    name: "net",
    ip_addresses: [{ protocol: "IPv4", ip_address: "192.168.122.177" }],
    labels: { labels: [label("app", "web"), label("berth.mac", "02:00:5E:10:00:09"), label("novalue")] },
  };
  const added = await add(asked);
  expect(added.json).toMatchObject({ cniVersion: "0.1.0", ip4: { ip: "192.168.122.177/24" } });
  expect(w.link("c", "eth0").mac).toBe("02:00:5e:10:00:09");
});

test("berth.ip may name one of each family", async () => {
  const ipam = { ...hostLocal, ranges: [[{ subnet: "fd22::/64" }]] };
  const labels = { labels: [label("berth.ip", "192.168.122.178, fd22::99")] };
  const added = await add({ labels }, { ipam });
  expect(added.json).toMatchObject({ ip4: { ip: "192.168.122.178/24" }, ip6: { ip: "fd22::99/64" } });
});

test("a protocol alone, as the agent prints it always, is no wish", async () => {
  const added = await add({ name: "net", ip_addresses: [{ protocol: "IPv4" }] });
  expect(added.json).toMatchObject({ ip4: { ip: "192.168.122.171/24" } });
});

test("the task's wishes go before those that the file states for everybody", async () => {
  const inFile = { cni: { ips: ["192.168.122.180"], mac: "02:00:00:00:00:01" } };
  const labels = { labels: [label("berth.ip", "192.168.122.181"), label("berth.mac", "02:00:00:00:00:02")] };
  const added = await add({ labels }, { args: inFile });
  expect(added.json).toMatchObject({ ip4: { ip: "192.168.122.181/24" } });
  expect(w.link("c", "eth0").mac).toBe("02:00:00:00:00:02");
});

test("type static: the label's address has the configured one's prefix length and gateway", async () => {
  const ipam = { type: "static", addresses: [{ address: "192.168.122.50/24", gateway: "192.168.122.1" }] };
  const added = await add({ labels: { labels: [label("berth.ip", "192.168.122.51")] } }, { ipam });
  expect(added.json).toMatchObject({ ip4: { ip: "192.168.122.51/24", gateway: "192.168.122.1" } });
});

test.each([
  ["berth.ip", "192.168.122", 4, 'the address "192.168.122"'],
  ["berth.ip", "10.9.9.9", 101, "in none of the ranges"],
  ["berth.mac", "02:00", 4, 'the MAC "02:00" of the label berth.mac'],
])("%s %s is refused, and nothing is left", async (key, value, code, sentence) => {
  const refused = await add({ labels: { labels: [label(key, value)] } });
  expect(refused.json).toMatchObject({ code, msg: expect.stringContaining(sentence) });
  expect(w.ipJson("c", "link show").map((l) => l["ifname"])).toEqual(["lo"]);
});
