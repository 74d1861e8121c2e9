// What real callers were seen to send, and what uses the rest of the configuration's keys.
import { readdirSync, readFileSync } from "node:fs";

const tests = new URL("../..", import.meta.url).pathname;

/** A call of the CNI plugin. */
export interface CniCall {
  readonly env: Readonly<Record<string, unknown>>;
  readonly stdin: unknown;
}

interface RecordedCall extends CniCall {
  readonly plugin: string;
}

function recordedIn<T>(directory: string): T[] {
  const files = readdirSync(`${tests}${directory}`).filter((f) => f.endsWith(".json"));
  return files.flatMap((f) => JSON.parse(readFileSync(`${tests}${directory}/${f}`, "utf8")) as T[]);
}

const env = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/run/netns/c1",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin",
  CNI_ARGS: "IgnoreUnknown=1;IP=10.1.0.7,fd00::7;MAC=02:00:00:00:00:07",
};

const ranges = [
  [{ subnet: "10.1.0.0/24", rangeStart: "10.1.0.10", rangeEnd: "10.1.0.20", gateway: "10.1.0.1" }],
  [{ subnet: "fd00:1::/64" }],
];
const routes = [
  { dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, advmss: 1360, priority: 10, table: 100, scope: 0 },
  { dst: "::/0" },
];
const dns = { nameservers: ["10.1.0.53"], domain: "example.org", search: ["a.org"], options: ["ndots:2"] };

/** Configurations that together have every key. */
export const configs: readonly Readonly<Record<string, unknown>>[] = [
  {
    cniVersion: "1.1.0",
    name: "lan",
    type: "macvlan",
    master: "eth1",
    mode: "bridge",
    mtu: 1400,
    mac: "02:00:00:00:00:01",
    bcqueuelen: 1000,
    linkInContainer: false,
    hostrouteif: "auto",
    hostrouteip: ["192.168.10.22"],
    defaultRoute: "auto",
    sourceRouting: true,
    conflictDetection: { probes: 2, waitMs: 100, quarantineS: 60 },
    ipam: { type: "host-local", ranges, routes, resolvConf: "/etc/resolv.conf", dataDir: "/var/lib/cni/networks" },
    dns,
    args: { cni: { ips: ["10.1.0.9/24"], mac: "02:00:00:00:00:02" } },
    runtimeConfig: { mac: "02:00:00:00:00:03", ips: ["10.1.0.11"], ipRanges: [[{ subnet: "10.2.0.0/24" }]] },
    prevResult: {
      cniVersion: "1.1.0",
      interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", sandbox: "/run/netns/c1" }],
      ips: [{ address: "10.1.0.7/24", gateway: "10.1.0.1", interface: 0 }],
      routes: [{ dst: "0.0.0.0/0" }],
      dns,
    },
    "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }],
  },
  {
    cniVersion: "0.4.0",
    name: "source",
    type: "berth",
    kind: "macvtap",
    master: { names: ["eth9", "eth1"] },
    mode: "source",
    sources: ["02:00:00:00:00:05"],
    ipam: { type: "static", addresses: [{ address: "10.1.0.7/24", gateway: "10.1.0.1" }], routes, dns },
  },
  {
    cniVersion: "0.2.0",
    name: "l3",
    type: "ipvlan",
    master: { subnet: "10.1.0.0/24" },
    mode: "l2",
    isolation: "private",
    hostAccess: {
      link: "auto",
      addresses: ["192.168.10.22", "fd00:10::22"],
      metric: 5,
      table: "own",
      neighbours: "static",
    },
    ipam: { type: "host-local", subnet: "10.1.0.0/24", rangeStart: "10.1.0.5", rangeEnd: "10.1.0.9" },
    prevResult: { cniVersion: "0.2.0", ip4: { ip: "10.1.0.7/24", gateway: "10.1.0.1", routes: [] }, dns: {} },
  },
  {
    cniVersion: "1.0.0",
    name: "tagged",
    type: "vlan",
    master: { mac: "02:00:00:00:00:09" },
    vlanId: 7,
    vlanProtocol: "802.1ad",
  },
  {
    cniVersion: "1.0.0",
    name: "mesos",
    type: "macvlan",
    conflictDetection: true,
    ipam: { type: "dhcp", anything: { at: "all" } },
    args: {
      "org.apache.mesos": {
        network_info: {
          ip_addresses: [{ protocol: "IPv4", ip_address: "10.1.0.7" }],
          labels: {
            labels: [
              { key: "berth.ip", value: "10.1.0.8,10.1.0.9" },
              { key: "berth.mac", value: "02:00:00:00:00:04" },
            ],
          },
        },
      },
    },
  },
];

/** Calls of the CNI plugin. */
export const cniCalls: readonly CniCall[] = [
  ...recordedIn<RecordedCall>("clients/recorded"),
  ...["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"].flatMap((verb) =>
    configs.map((stdin) => ({ env: { ...env, CNI_COMMAND: verb }, stdin })),
  ),
];

/** A request to the Docker plugin. */
export interface DockerCall {
  readonly call: string;
  readonly request: unknown;
}

/** Requests that dockerd was seen to send. */
export const dockerCalls: readonly DockerCall[] = recordedIn<DockerCall>("docker/recorded");
