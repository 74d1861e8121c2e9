// The schema of a configuration's `ipam`: where addresses, routes and DNS settings come from, by each provider.
import * as v from "valibot";
import { between, cidr, described, ip, mac, natural } from "./config-values.ts";

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
/** A range that addresses come from (host-local). */
export const range = v.object({ subnet: v.pipe(cidr, described("the subnet's network address")), ...rangeKeys });

/** DNS settings, as the CNI spec has them (section 5, "Result types"). */
export const dns = v.object({
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

/** One of the providers. */
export const ipam = v.union([hostLocal, staticIpam, neutron, delegated, noIpam]);
