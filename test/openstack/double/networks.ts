// Neutron's networks and subnets in memory.
import { type Cidr, contains, formatCidr, lastOf, networkOf, overlaps, parseCidr } from "../../../src/address/cidr.ts";
import { type Family, ipFamily, ipFromBigInt, ipToBigInt, parseIp } from "../../../src/address/ip.ts";
import { Refused, textOf } from "./answers.ts";
import {
  badRequest,
  type Caller,
  invalidInput,
  isFlag,
  isText,
  isUuid,
  type Kind,
  newRow,
  notFound,
  type Row,
} from "./rows.ts";

/** A network, as it is stored. */
export interface Network extends Row {
  shared: boolean;
  mtu: number;
  port_security_enabled: boolean;
}

/** A subnet, as it is stored. */
export interface Subnet extends Row {
  readonly network_id: string;
  readonly cidr: string;
  gateway_ip: string | null;
  allocation_pools: { start: string; end: string }[];
  host_routes: { destination: string; nexthop: string }[];
  dns_nameservers: string[];
}

export const NETWORK: Kind = {
  name: "network",
  attributes: {
    name: { post: true, put: true, check: isText() },
    description: { post: true, put: true, check: isText() },
    admin_state_up: { post: true, put: true, check: isFlag },
    mtu: { post: true, put: true },
    port_security_enabled: { post: true, put: true, check: isFlag },
    shared: { post: true, put: true, admin: "both", check: isFlag },
    project_id: { post: true },
    tenant_id: { post: true },
    "provider:network_type": { post: true, put: true, admin: "both" },
    id: {},
    status: {},
    tags: {},
  },
  filters: ["shared", "status", "mtu", "admin_state_up"],
};

export const SUBNET: Kind = {
  name: "subnet",
  attributes: {
    name: { post: true, put: true, check: isText() },
    description: { post: true, put: true, check: isText() },
    network_id: { post: true, check: isUuid },
    cidr: { post: true },
    ip_version: { post: true },
    gateway_ip: { post: true, put: true },
    enable_dhcp: { post: true, put: true, check: isFlag },
    allocation_pools: { post: true, put: true },
    host_routes: { post: true, put: true },
    dns_nameservers: { post: true, put: true },
    subnetpool_id: { post: true, check: isUuid },
    project_id: { post: true },
    tenant_id: { post: true },
    id: {},
    tags: {},
  },
  filters: ["network_id", "cidr", "ip_version", "gateway_ip", "enable_dhcp", "subnetpool_id"],
};

/** Blocks that subnets are allocated from. */
export const SUBNET_POOL: Kind = {
  name: "subnetpool",
  attributes: {
    name: { post: true, put: true, check: isText() },
    description: { post: true, put: true, check: isText() },
    prefixes: { post: true, put: true },
    default_prefixlen: { post: true, put: true },
    id: {},
    tags: {},
  },
  filters: ["shared", "is_default"],
};

/** Bytes; VXLAN takes 50 of Ethernet's 1500. */
const MTU = 1450;

/** Networks and their subnets. */
export class Networks {
  readonly networks = new Map<string, Network>();
  readonly subnets = new Map<string, Subnet>();
  readonly pools = new Map<string, Row>();

  /** A network that a caller sees: its own, or a shared one. */
  network(caller: Caller, id: string): Network {
    const found = this.networks.get(id);
    if (found !== undefined && (caller.admin || found.shared || found.project_id === caller.projectId)) return found;
    throw notFound("Network", id);
  }

  subnet(caller: Caller, id: string): Subnet {
    const found = this.subnets.get(id);
    if (found === undefined) throw notFound("Subnet", id);
    try {
      this.network(caller, found.network_id);
    } catch {
      throw notFound("Subnet", id);
    }
    return found;
  }

  /** The subnets of a network, in the order of their ids. */
  subnetsOf(networkId: string): Subnet[] {
    return [...this.subnets.values()]
      .filter((s) => s.network_id === networkId)
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  view(network: Network): Record<string, unknown> {
    return { ...network, subnets: this.subnetsOf(network.id).map((s) => s.id) };
  }

  addNetwork(caller: Caller, values: Record<string, unknown>): Network {
    const { shared = false, mtu = MTU, port_security_enabled: security = true } = values;
    const network: Network = {
      ...newRow(caller, values),
      admin_state_up: true,
      status: "ACTIVE",
      shared: shared === true,
      mtu: Number(mtu),
      port_security_enabled: security === true,
      "router:external": false,
      description: textOf(values["description"]),
    };
    this.networks.set(network.id, network);
    return network;
  }

  addSubnet(caller: Caller, values: Record<string, unknown>): Subnet {
    for (const name of ["network_id", "ip_version"]) {
      if (values[name] === undefined) {
        throw badRequest(`Failed to parse request. Required attribute '${name}' not specified`);
      }
    }
    const network = this.network(caller, textOf(values["network_id"]));
    if (!caller.admin && network.project_id !== caller.projectId) {
      throw new Refused(403, "PolicyNotAuthorized", "rule:create_subnet is disallowed by policy");
    }
    const text = textOf(values["cidr"]);
    const cidr = parseCidr(text);
    if (cidr === undefined) throw invalidInput(`${text} is not in a CIDR format.`);
    const block = networkOf(cidr);
    if (this.subnetsOf(network.id).some((s) => overlaps(parseCidr(s.cidr) ?? block, block))) {
      throw invalidInput(
        `Requested subnet with cidr: ${formatCidr(block)} for network: ${network.id} overlaps with another subnet.`,
      );
    }
    const family = ipFamily(block.ip);
    const pool = values["subnetpool_id"] ?? null;
    if (this.subnetsOf(network.id).some((s) => s["ip_version"] === family && s["subnetpool_id"] !== pool)) {
      throw new Refused(
        400,
        "NetworkSubnetPoolAffinityError",
        "Subnets hosted on the same network must be allocated from the same subnet pool.",
      );
    }
    const first = ipToBigInt(block.ip);
    // of IPv6 the first address of all is the gateway's, of IPv4 the one after the network's own
    const usual = ipFromBigInt(first + (family === 4 ? 1n : 0n), family);
    const asked = values["gateway_ip"];
    const gateway = asked === null ? null : (parseIp(textOf(asked, usual)) ?? usual);
    const pools = values["allocation_pools"];
    const subnet: Subnet = {
      ...newRow(caller, values),
      network_id: network.id,
      ip_version: family,
      cidr: formatCidr(block),
      gateway_ip: gateway,
      allocation_pools: Array.isArray(pools) ? (pools as Subnet["allocation_pools"]) : poolsOf(block, gateway, family),
      host_routes: (values["host_routes"] ?? []) as Subnet["host_routes"],
      dns_nameservers: (values["dns_nameservers"] ?? []) as string[],
      enable_dhcp: values["enable_dhcp"] ?? true,
      subnetpool_id: pool,
      ipv6_ra_mode: null,
      ipv6_address_mode: null,
    };
    this.subnets.set(subnet.id, subnet);
    return subnet;
  }
}

/** All usable addresses of a block but the gateway's. */
function poolsOf(block: Cidr, gateway: string | null, family: Family): Subnet["allocation_pools"] {
  const first = ipToBigInt(block.ip) + 1n;
  const last = ipToBigInt(lastOf(block)) - (family === 4 ? 1n : 0n);
  const hole = gateway === null || !contains(block, gateway) ? -1n : ipToBigInt(gateway);
  const ranges: [bigint, bigint][] =
    hole < first || hole > last
      ? [[first, last]]
      : [
          [first, hole - 1n],
          [hole + 1n, last],
        ];
  return ranges
    .filter(([start, end]) => start <= end)
    .map(([start, end]) => ({ start: ipFromBigInt(start, family), end: ipFromBigInt(end, family) }));
}
