// The schema of a network's configuration, for all faces. docs/reference/ and config-accepts.ts are generated from it.
import * as v from "valibot";
import { dns, ipam, range } from "./config-ipam.ts";
import { between, cidr, described, ip, ipOrCidr, linkName, mac, natural, pciBusId } from "./config-values.ts";
import { kinds, modes } from "./kinds.ts";

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
  ipam: v.exactOptional(v.pipe(ipam, v.description("where addresses come from; absent: none (layer 2 only)"))),
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
