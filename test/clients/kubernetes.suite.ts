// The calls that Multus makes for a pod's second network, by libcni, from the objects in examples/. Before them the pod has the
// cluster's own network: a veth pair, with the default route.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { HOST } from "../world.ts";
import { ClientHost, kinds, run } from "./host.ts";
import { installPlugins } from "./networks.ts";
import { runPage } from "./page.ts";
import { makeTenantRootfs, Tenant } from "./tenant.ts";

const root = new URL("../..", import.meta.url).pathname;
const program = `${process.env["CLIENT_PROGRAMS"] ?? ""}/libcni`;
const LIST = "/run/lan.conflist";

let w: ClientHost;
beforeAll(() => {
  installPlugins();
  makeTenantRootfs();
  w = new ClientHost();
});
afterAll(() => w[Symbol.dispose]());

function read(file: string): unknown {
  return Bun.YAML.parse(readFileSync(`${root}examples/${file}`, "utf8"));
}

/** The parts of the two objects that Multus reads. */
function objects(): { readonly config: string; readonly network: string; readonly asked: Record<string, unknown>[] } {
  const definition = read("multus-network.yaml") as { metadata: { name: string }; spec: { config: string } };
  const pod = read("multus-pod.yaml") as { metadata: { annotations: Record<string, string> } };
  const annotation = pod.metadata.annotations["k8s.v1.cni.cncf.io/networks"] ?? "";
  return {
    config: definition.spec.config,
    network: definition.metadata.name,
    asked: JSON.parse(annotation) as Record<string, unknown>[],
  };
}

test.each(kinds)("%s: a pod of the examples keeps the cluster's network and gets its address on the LAN", (kind) => {
  const { config, network, asked } = objects();
  expect(asked.map((a) => a["name"])).toEqual([network]);
  const [{ ips, mac } = {}] = asked;
  using tenant = new Tenant(w);
  // the cluster's network
  w.ip(HOST, "link add cluster0 type veth peer name eth0 netns tenant");
  w.ip(HOST, "address add 10.244.0.1/24 dev cluster0");
  w.ip(HOST, "link set cluster0 up");
  w.ip("tenant", "address add 10.244.0.7/24 dev eth0");
  w.ip("tenant", "link set eth0 up");
  w.ip("tenant", "route add default via 10.244.0.1");

  writeFileSync(LIST, config.replace('"macvlan"', `"${kind}"`));
  const args = ["IgnoreUnknown=true", "K8S_POD_NAMESPACE=default", "K8S_POD_NAME=web", "K8S_POD_UID=web-uid"];
  const libcni = (verb: string): string =>
    run([
      program,
      "-id",
      "pod",
      "-if",
      "net1",
      "-capabilities",
      JSON.stringify({ ips, mac }),
      ...args.flatMap((arg) => ["-arg", arg]),
      verb,
      LIST,
      tenant.netns,
    ]);
  const result = JSON.parse(libcni("add")) as { ips: { address: string }[]; interfaces: { mac: string }[] };
  expect(result.ips.map((ip) => ip.address)).toEqual(["192.168.122.177/24"]);
  expect(result.interfaces.map((i) => i.mac)).toEqual(["02:00:5e:10:00:77"]);
  w.answers("192.168.122.177");
  expect(tenant.inside("ping -c 1 -W 3 192.168.10.22")).toContain("1 packets received"); // the node
  expect(tenant.inside("ping -c 1 -W 3 192.168.122.22")).toContain("1 packets received"); // the LAN
  expect(tenant.inside("ip route get 203.0.113.1")).toContain("via 10.244.0.1 dev eth0"); // the cluster
  w.run(HOST, ["busybox", "ping", "-c", "1", "-W", "3", "10.244.0.7"]);
  libcni("check");
  runPage("kubernetes");
  libcni("del");
  libcni("del");
  w.ip(HOST, "link delete cluster0");
  w.nothingIsLeft();
});
