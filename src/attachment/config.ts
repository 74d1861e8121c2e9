// The schema of a network's configuration, for all faces. docs/reference/ and config-accepts.ts are generated from it.
import * as v from "valibot";
import { Failure } from "../report/failure.ts";
import { isCidr, isIp, isIpOrCidr, isMac } from "./config-texts.ts";
import { kinds, modes } from "./kinds.ts";

const described = (text: string): v.DescriptionAction<string, string> => v.description(text);

const linkName = v.pipe(
  v.string(),
  v.regex(/^(?!\.{1,2}$)[^\s/:\p{Cc}]{1,15}$/u, "an interface name: 1 to 15 characters, no space, slash or colon"),
);
const ip = v.pipe(v.string(), v.check(isIp, "an IP address"));
const cidr = v.pipe(v.string(), v.check(isCidr, "an address, a slash, a prefix length"));
const ipOrCidr = v.pipe(v.string(), v.check(isIpOrCidr, "an IP address, with or without a prefix length"));
const mac = v.pipe(v.string(), v.check(isMac, "a MAC address: six pairs of hexadecimal digits"));
const pciBusId = v.pipe(
  v.string(),
  v.regex(/^[\da-fA-F]{4}:[\da-fA-F]{2}:[\da-fA-F]{2}\.[0-7]$/u, "a PCI address, as 0000:00:1f.6"),
);
/** The kernel's numbers have 32 bits. */
const natural = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff));
const between = (low: number, high: number): v.GenericSchema<number> =>
  v.pipe(v.number(), v.integer(), v.minValue(low), v.maxValue(high));

const route = v.object({
  dst: v.pipe(cidr, described("destination")),
  gw: v.exactOptional(
    v.pipe(ip, described("next hop; absent: the allocation's gateway; 0.0.0.0 or ::: the destination is on the link")),
  ),
  mtu: v.exactOptional(v.pipe(natural, v.description("bytes"))),
  advmss: v.exactOptional(v.pipe(natural, v.description("TCP's advertised maximum segment size, bytes"))),
  priority: v.exactOptional(v.pipe(natural, v.description("metric: smaller is preferred"))),
  table: v.exactOptional(v.pipe(natural, v.description("routing table; absent: main (254)"))),
  scope: v.exactOptional(v.pipe(between(0, 255), v.description("rt_scope: 0 global, 253 link, 254 host"))),
});

const rangeKeys = {
  rangeStart: v.exactOptional(v.pipe(ip, described("first address to hand out; absent: the subnet's first"))),
  rangeEnd: v.exactOptional(
    v.pipe(ip, described("last address to hand out; absent: the subnet's last but the broadcast")),
  ),
  gateway: v.exactOptional(v.pipe(ip, described("absent: the subnet's first address; never handed out"))),
};
const range = v.object({ subnet: v.pipe(cidr, described("the subnet's network address")), ...rangeKeys });

const dns = v.object({
  nameservers: v.exactOptional(v.array(v.string())),
  domain: v.exactOptional(v.string()),
  search: v.exactOptional(v.array(v.string())),
  options: v.exactOptional(v.array(v.string())),
});

const hostLocal = v.object({
  type: v.literal("host-local"),
  subnet: v.exactOptional(v.pipe(cidr, described("short form of one range"))),
  ...rangeKeys,
  ranges: v.exactOptional(
    v.pipe(v.array(v.array(range)), v.description("sets of ranges: the attachment gets one address from each set")),
  ),
  routes: v.exactOptional(v.array(route)),
  dataDir: v.exactOptional(v.pipe(v.string(), described("state on disk; absent: /var/lib/cni/networks"))),
  resolvConf: v.exactOptional(v.pipe(v.string(), described("a resolv.conf to take DNS settings from"))),
});

const staticIpam = v.object({
  type: v.literal("static"),
  addresses: v.exactOptional(v.array(v.object({ address: cidr, gateway: v.exactOptional(ip) }))),
  routes: v.exactOptional(v.array(route)),
  dns: v.exactOptional(dns),
});

const neutron = v.object({
  type: v.literal("neutron"),
  cloud: v.exactOptional(
    v.pipe(
      v.string(),
      described("a cloud of clouds.yaml; absent: OS_CLOUD, the OS_ variables, or the only one there is"),
    ),
  ),
  credentials: v.exactOptional(
    v.pipe(v.string(), described("a file with one cloud, as an entry of clouds.yaml, that others cannot read")),
  ),
  network: v.exactOptional(
    v.pipe(v.string(), described("by id or name; absent: the VM's port's own; kind vlan may have any")),
  ),
  subnets: v.exactOptional(
    v.pipe(v.array(v.string()), v.minLength(1), v.description("by id or name; absent: as Neutron chooses")),
  ),
  port: v.exactOptional(v.pipe(v.string(), described("an existing port that nobody uses, by id or name"))),
  ip: v.exactOptional(v.pipe(v.union([ip, v.array(ip)]), v.description("the address, or one of each family"))),
  mac: v.exactOptional(v.pipe(mac, described("the port's MAC; absent: as Neutron chooses"))),
  securityGroups: v.exactOptional(
    v.pipe(
      v.array(v.string()),
      v.description(
        "of the container's port, by id or name; what filters a container is the VM's port, but with kind vlan",
      ),
    ),
  ),
  dnsName: v.exactOptional(v.pipe(v.string(), described("the port's name in the cloud's DNS"))),
  tags: v.exactOptional(v.pipe(v.array(v.string()), v.description("tags of the port beside berth"))),
  vmPort: v.exactOptional(
    v.pipe(v.string(), described("id of the port of the parent's NIC; absent: found by the parent's MAC")),
  ),
  addressPairs: v.exactOptional(
    v.pipe(
      v.strictObject({ cidr: v.pipe(cidr, described("a block of the subnet")) }),
      v.description("kind ipvlan: containers get addresses of this block, which is let pass by one pair for all"),
    ),
  ),
  waitReachable: v.exactOptional(
    v.pipe(v.number(), v.minValue(0), v.description("how long ADD waits for the gateway, seconds; absent: 5; 0: not")),
  ),
  requireReachable: v.exactOptional(
    v.pipe(v.boolean(), v.description("ADD fails where the gateway does not answer in that time")),
  ),
});

const noIpam = v.strictObject({ type: v.exactOptional(v.literal("")) });

const delegated = v.looseObject({
  type: v.pipe(
    v.string(),
    v.regex(/^(?!(host-local|static|neutron)$)(?!\.{1,2}$)[^/\0]+$/u, "the file name of an IPAM plugin"),
    described("any other IPAM plugin, found in CNI_PATH"),
  ),
});

const master = v.union([
  linkName,
  v.strictObject({ mac: v.pipe(mac, described("the link with this MAC")) }),
  v.strictObject({ subnet: v.pipe(cidr, described("the link with an address in this subnet")) }),
  v.strictObject({ names: v.pipe(v.array(linkName), v.minLength(1), v.description("the first of these that exists")) }),
]);

const hostAccess = v.strictObject({
  link: v.exactOptional(v.pipe(linkName, described('the access link\'s name, or "auto" (default): Berth makes one'))),
  addresses: v.exactOptional(
    v.pipe(v.array(ip), v.description("the host's addresses that it is for; absent: every global one")),
  ),
  metric: v.exactOptional(v.pipe(natural, v.description("of the host's routes; smaller is preferred"))),
  table: v.exactOptional(
    v.pipe(
      v.union([natural, v.literal("own")]),
      v.description(
        "routing table of the host's routes; \"own\": one of Berth's, looked up before the main table, for hosts whose policy routing (a VPN) would win otherwise; absent: main",
      ),
    ),
  ),
  neighbours: v.exactOptional(
    v.pipe(
      v.picklist(["auto", "static", "kernel"]),
      v.description(
        "auto, static: permanent neighbour entries; kernel: ARP and neighbour discovery, which host settings may forbid",
      ),
    ),
  ),
});

const tap = v.strictObject({
  owner: v.exactOptional(v.pipe(natural, v.description("user id that the device node belongs to; absent: 0"))),
  group: v.exactOptional(v.pipe(natural, v.description("group id that it belongs to; absent: 0"))),
  mode: v.exactOptional(
    v.pipe(
      v.string(),
      v.regex(/^0?[0-7]{3}$/u, "permissions as three octal digits"),
      described("its permissions; absent: 0660"),
    ),
  ),
  path: v.exactOptional(
    v.pipe(
      v.string(),
      v.regex(/^(\/(?!\.{1,2}(\/|$))[^/\0]+)+$/u, "an absolute path without . and .."),
      described(
        "where it is made: in the container's root directory where its namespace is given as /proc/PID/ns/net, else on the host; absent: /dev/tap-INTERFACE there, /run/berth/taps/NETWORK:CONTAINER:INTERFACE here",
      ),
    ),
  ),
});

const conflictDetection = v.strictObject({
  probes: v.exactOptional(v.pipe(between(1, 10), v.description("how many times each address is asked for; absent: 3"))),
  waitMs: v.exactOptional(
    v.pipe(between(1, 10_000), v.description("how long each probe waits for an answer, milliseconds; absent: 200")),
  ),
  quarantineS: v.exactOptional(
    v.pipe(
      natural,
      v.description("how long an address that another machine has is not handed out again, seconds; absent: 3600"),
    ),
  ),
});

/** Mesos' NetworkInfo as JSON (include/mesos/mesos.proto of apache/mesos): of its fields those that are honoured. */
const mesosNetworkInfo = v.looseObject({
  ip_addresses: v.exactOptional(
    v.array(
      v.looseObject({
        ip_address: v.exactOptional(v.pipe(ipOrCidr, described("an address asked for"))),
      }),
    ),
  ),
  labels: v.exactOptional(
    v.looseObject({
      labels: v.exactOptional(
        v.array(
          v.looseObject({
            key: v.pipe(v.string(), described("berth.ip: addresses asked for; berth.mac: the MAC; others are ignored")),
            value: v.exactOptional(v.pipe(v.string(), described("of berth.ip: separated by commas"))),
          }),
        ),
      ),
    }),
  ),
});

/** The keys of a network's configuration, in the order in which the reference shows them. */
export const networkKeys = {
  cniVersion: v.optional(
    v.pipe(v.string(), described("the CNI version of configuration and result; absent: 0.1.0")),
    "0.1.0",
  ),
  name: v.pipe(
    v.string(),
    v.regex(/^[a-zA-Z0-9][\w.-]*$/u, "a network name: letters, digits, dots, dashes, underscores"),
    described("the network's name"),
  ),
  type: v.pipe(v.string(), described("the plugin's name: a kind, or berth")),
  kind: v.exactOptional(v.pipe(v.picklist(kinds), v.description("the kind, where type is berth"))),
  master: v.exactOptional(
    v.pipe(master, v.description("the parent: a name, or what it is; absent: the default route's link")),
  ),
  mode: v.exactOptional(
    v.pipe(
      v.picklist([...modes.macvlan, ...modes.ipvlan]),
      v.description(
        "macvlan, macvtap: bridge (default), private, vepa, passthru, source; ipvlan: l2 (default), l3, l3s",
      ),
    ),
  ),
  mtu: v.exactOptional(v.pipe(between(0, 65535), v.description("bytes; absent or 0: the parent's"))),
  mac: v.exactOptional(v.pipe(mac, described("the attachment's MAC; absent: a random one"))),
  vlanId: v.exactOptional(v.pipe(between(0, 4094), v.description("kind vlan: the VLAN's number"))),
  vlanProtocol: v.exactOptional(
    v.pipe(v.picklist(["802.1q", "802.1ad"]), v.description("kind vlan: the tag's type; absent: 802.1q")),
  ),
  isolation: v.exactOptional(
    v.pipe(
      v.picklist(["bridge", "private", "vepa"]),
      v.description("kind ipvlan: who it may talk to on its own parent"),
    ),
  ),
  sources: v.exactOptional(v.pipe(v.array(mac), v.description("mode source: the MACs that are let in"))),
  bcqueuelen: v.exactOptional(v.pipe(natural, v.description("macvlan, macvtap: broadcast queue length, frames"))),
  tap: v.exactOptional(
    v.pipe(
      tap,
      v.description(
        "kind macvtap: the link is a virtual machine's, which has the addresses; a node of its character device is made, by which the machine is connected",
      ),
    ),
  ),
  device: v.exactOptional(v.pipe(linkName, described("kind device: the NIC that is moved, by name"))),
  hwaddr: v.exactOptional(v.pipe(mac, described("kind device: the NIC, by its MAC"))),
  kernelpath: v.exactOptional(
    v.pipe(
      v.string(),
      v.regex(/^\/sys\/devices(\/(?!\.{1,2}(\/|$))[^/\0]+)+$/u, "a path in /sys/devices"),
      described("kind device: the NIC, by its path in /sys/devices"),
    ),
  ),
  pciBusID: v.exactOptional(v.pipe(pciBusId, described("kind device: the NIC, by its place on the PCI bus"))),
  linkInContainer: v.optional(v.pipe(v.boolean(), v.description("the parent is in the container's namespace")), false),
  hostrouteif: v.exactOptional(
    v.pipe(
      linkName,
      described(
        'host access through this access link: a macvlan or macvtap of the same parent, or "auto": Berth makes one',
      ),
    ),
  ),
  hostrouteip: v.exactOptional(
    v.pipe(
      v.union([ip, v.array(ip)]),
      v.description("the host addresses that host access is for; absent: every global address of the host"),
    ),
  ),
  hostAccess: v.exactOptional(
    v.pipe(
      v.union([v.literal("auto"), v.literal(false), hostAccess]),
      v.description("host access in full; hostrouteif and hostrouteip are its short form"),
    ),
  ),
  defaultRoute: v.exactOptional(
    v.pipe(
      v.union([v.boolean(), v.literal("auto")]),
      v.description(
        "whether the attachment owns the container's default route; auto: the first of its networks by interface name does; absent: as ipam.routes say",
      ),
    ),
  ),
  sourceRouting: v.exactOptional(
    v.pipe(
      v.union([v.boolean(), v.literal("only")]),
      v.description(
        "a routing table of its own, so that replies leave by the interface that the request came in by; only: and no route in the main table, for a caller that keeps that one itself; absent: where host access or defaultRoute is asked for",
      ),
    ),
  ),
  conflictDetection: v.exactOptional(
    v.pipe(
      v.union([v.boolean(), conflictDetection]),
      v.description(
        "ask the LAN whether another machine has an address before it is used; host-local then gives the next one; absent: no, but IPv6's own detection, which the kernel does",
      ),
    ),
  ),
  ipam: v.exactOptional(
    v.pipe(
      v.union([hostLocal, staticIpam, neutron, delegated, noIpam]),
      v.description("where addresses come from; absent: none (layer 2 only)"),
    ),
  ),
  dns: v.exactOptional(v.pipe(dns, v.description("answered in the result"))),
  args: v.exactOptional(
    v.looseObject({
      cni: v.exactOptional(
        v.looseObject({
          ips: v.exactOptional(v.pipe(v.array(ipOrCidr), v.description("addresses asked for"))),
          mac: v.exactOptional(v.pipe(mac, described("the MAC asked for"))),
        }),
      ),
      "org.apache.mesos": v.exactOptional(
        v.looseObject({
          network_info: v.exactOptional(v.pipe(mesosNetworkInfo, v.description("what a task asks for"))),
        }),
      ),
    }),
  ),
  runtimeConfig: v.exactOptional(
    v.pipe(
      v.looseObject({
        mac: v.exactOptional(v.pipe(mac, described("the MAC asked for (capability mac)"))),
        ips: v.exactOptional(v.pipe(v.array(ipOrCidr), v.description("addresses asked for (capability ips)"))),
        deviceID: v.exactOptional(
          v.pipe(pciBusId, described("kind device: the NIC's PCI address (capability deviceID)")),
        ),
        ipRanges: v.exactOptional(
          v.pipe(v.array(v.array(range)), v.description("further range sets (capability ipRanges)")),
        ),
      }),
      v.description("what the runtime adds for the capabilities that the configuration declares"),
    ),
  ),
};

/** A network's configuration. Keys that are not listed are kept and ignored, as other plugins do. */
export const NetworkConfig = v.looseObject(networkKeys);
/** {@link NetworkConfig} as it was read, defaults filled in. */
export type NetworkConfig = v.InferOutput<typeof NetworkConfig>;

/** One thing that is wrong with a configuration. */
export interface ConfigIssue {
  /** Where, as `ipam.ranges[0][1].subnet`; empty for the whole. */
  readonly path: string;
  /** The value as JSON; undefined where the key is missing. */
  readonly value: string | undefined;
  /** What is allowed there. */
  readonly expected: string;
}

function pathOf(issue: v.BaseIssue<unknown>): string {
  let path = "";
  for (const item of issue.path ?? []) {
    path += typeof item.key === "number" ? `[${item.key}]` : `${path === "" ? "" : "."}${String(item.key)}`;
  }
  return path;
}

/** Of a union's branches, the one the value was meant for: the branch that got deepest. */
function innermost(issue: v.BaseIssue<unknown>): v.BaseIssue<unknown> {
  const below = (issue.issues ?? []).filter((i) => (i.path?.length ?? 0) > 0);
  if (below.length === 0) return issue;
  const atType = below.find((i) => i.path?.at(-1)?.key === "type");
  const deepest = below.find((i) => i.path?.at(-1)?.key !== "type") ?? atType;
  if (deepest === undefined) return issue;
  const inner = innermost(deepest);
  return { ...inner, path: [...(issue.path ?? []), ...(inner.path ?? [])] as NonNullable<typeof inner.path> };
}

/** Checks a configuration that was parsed from JSON: the configuration, or all that is wrong with it. */
export function parseConfig(json: unknown): { config: NetworkConfig } | { issues: ConfigIssue[] } {
  const result = v.safeParse(NetworkConfig, json);
  if (result.success) return { config: result.output };
  return {
    issues: result.issues.map((outer) => {
      const issue = innermost(outer);
      const text = issue.input === undefined ? undefined : JSON.stringify(issue.input);
      const expected =
        issue.type === "check" || issue.type === "regex" ? issue.message : (issue.expected ?? issue.message);
      return { path: pathOf(issue), value: text, expected };
    }),
  };
}

/** A configuration issue as a sentence. */
export function describeIssue(issue: ConfigIssue): string {
  const where = issue.path === "" ? "the configuration" : issue.path;
  return issue.value === undefined
    ? `${where} is missing: it must be ${issue.expected}`
    : `${where} is ${issue.value}: it must be ${issue.expected}`;
}

/** {@link parseConfig} that throws `Failure` (`config`) naming every issue. */
export function readConfig(json: unknown): NetworkConfig {
  const result = parseConfig(json);
  if ("config" in result) return result.config;
  throw new Failure("config", `read the network configuration: ${result.issues.map(describeIssue).join("; ")}`, {
    advice: 'Check the file with "berth network check FILE".',
  });
}
