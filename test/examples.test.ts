import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { isOurs, readNetworkFile } from "../src/cli/networks.ts";
import { supportsKind } from "../src/kernel/links.ts";
import { call } from "./cni/call.ts";
import { TestWorld } from "./world.ts";

const directory = `${import.meta.dir}/../examples`;
const files = readdirSync(directory).filter((f) => /\.conf(list)?$/u.test(f));

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  for (const lan of ["office", "tasks"]) w.lan(lan);
  w.namespace("c");
  w.plug("office", "", "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", "", "eth1");
  w.plug("tasks", "", "eth2");
  w.subInterface("eth1", "macvtap1", { kind: "macvtap", mode: "bridge" }, false);
});
afterAll(() => w[Symbol.dispose]());

/** Routes without the flag that follows a link's state. */
function withoutUp(state: unknown): string {
  return JSON.stringify(state).replaceAll("UP", "");
}

function isNeutron({ ipam }: Readonly<Record<string, unknown>>): boolean {
  return typeof ipam === "object" && ipam !== null && "type" in ipam && ipam.type === "neutron";
}

test.each(files)("examples/%s attaches, passes CHECK, and detaches", async (file) => {
  const plugins = readNetworkFile(`${directory}/${file}`).filter((n) => isOurs(n.json));
  expect(plugins.length).toBeGreaterThan(0);
  const before = w.snapshot("");
  for (const { json } of plugins) {
    const kind = json["type"];
    const lacking =
      (kind === "ipvlan" && !supportsKind(w.netlink(""), { kind, mode: "l2" })) ||
      (kind === "vlan" && !supportsKind(w.netlink(""), { kind, id: 100 }));
    const added = await call("ADD", json);
    if (lacking) {
      expect(added.json).toMatchObject({
        code: 50,
        msg: expect.stringContaining(`this kernel has no ${kind}`),
      });
      continue;
    }
    if ("tap" in json) {
      // with device nodes it runs in test/guests
      expect(added.json).toMatchObject({
        msg: expect.stringContaining("make the device node /run/berth/taps/machines:c1:eth0 of eth0"),
        details: expect.stringContaining("in a user namespace"),
      });
      continue;
    }
    if (isNeutron(json)) {
      // with a cloud it runs in test/openstack/story.suite.ts
      expect(added.json).toMatchObject({ code: 7, msg: expect.stringContaining("find the credentials of the cloud") });
      continue;
    }
    expect(added.json).not.toHaveProperty("code");
    expect((await call("CHECK", { ...json, prevResult: added.json })).text).toBe("");
    expect((await call("DEL", json)).text).toBe("");
  }
  const after = w.snapshot("");
  if (!file.startsWith("host-access-macvtap")) expect(after).toEqual(before);
  else expect(withoutUp(after.routes4)).toBe(withoutUp(before.routes4)); // the user's spare link was down, and stays up
});

function read(file: string): unknown {
  return Bun.YAML.parse(readFileSync(`${directory}/${file}`, "utf8"));
}

test("examples/multus-network.yaml and multus-pod.yaml: the pod's wishes fit the network, which attaches, checks, detaches", async () => {
  const definition = read("multus-network.yaml") as { metadata: { name: string }; spec: { config: string } };
  const pod = read("multus-pod.yaml") as { metadata: { annotations: Record<string, string> } };
  const annotation = pod.metadata.annotations["k8s.v1.cni.cncf.io/networks"] ?? "";
  const [asked] = JSON.parse(annotation) as { name: string; ips: string[]; mac: string }[];
  expect(asked?.name).toBe(definition.metadata.name);
  writeFileSync("/run/multus.conflist", definition.spec.config);
  const [network] = readNetworkFile("/run/multus.conflist");
  const before = w.snapshot("");
  // Multus hands on what the capabilities in the configuration allow
  const json = { ...network?.json, runtimeConfig: { ips: asked?.ips, mac: asked?.mac } };
  expect(network?.json["capabilities"]).toEqual({ ips: true, mac: true });
  const env = { CNI_IFNAME: "net1", CNI_ARGS: "IgnoreUnknown=true;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web" };
  const added = await call("ADD", json, env);
  expect(added.json).toMatchObject({ ips: [{ address: asked?.ips[0] }], interfaces: [{ mac: asked?.mac }] });
  expect((await call("CHECK", { ...json, prevResult: added.json }, env)).text).toBe("");
  expect((await call("DEL", { ...json, prevResult: added.json }, env)).text).toBe("");
  expect(w.snapshot("")).toEqual(before);
});

test("examples/nomad-job.hcl asks for the network of examples/nomad.conflist", () => {
  const [network] = readNetworkFile(`${directory}/nomad.conflist`);
  expect(readFileSync(`${directory}/nomad-job.hcl`, "utf8")).toContain(`mode = "cni/${network?.name}"`);
});
