// Neutron's ports in memory: addresses, MACs, port security, allowed address pairs.
import { contains, lastOf, parseCidr } from "../../../src/address/cidr.ts";
import { ipFamily, ipFromBigInt, ipToBigInt, parseIp } from "../../../src/address/ip.ts";
import { objectOf, Refused, textOf } from "./answers.ts";
import type { Network, Networks, Subnet } from "./networks.ts";
import {
  badRequest,
  type Caller,
  forbidden,
  invalidInput,
  isFlag,
  isMac,
  isText,
  isUuid,
  type Kind,
  newRow,
  notFound,
  type Row,
  same,
  tagsOf,
  touch,
} from "./rows.ts";
import type { SecurityGroups } from "./security-groups.ts";

/** An address of a port. */
export interface FixedIp {
  readonly subnet_id: string;
  readonly ip_address: string;
}

/** An entry of `allowed_address_pairs`, as it is stored: its text is never changed. */
export interface Pair {
  readonly mac_address: string;
  readonly ip_address: string;
}

/** A port, as it is stored. */
export interface Port extends Row {
  readonly network_id: string;
  mac_address: string;
  fixed_ips: readonly FixedIp[];
  allowed_address_pairs: readonly Pair[];
  port_security_enabled: boolean;
  security_groups: readonly string[];
  device_id: string;
  device_owner: string;
  dns_name: string;
  status: string;
  "binding:host_id": string;
}

export const PORT: Kind = {
  name: "port",
  attributes: {
    name: { post: true, put: true, check: isText() },
    description: { post: true, put: true, check: isText() },
    network_id: { post: true, check: isUuid },
    admin_state_up: { post: true, put: true, check: isFlag },
    mac_address: { post: true, put: true, admin: "put", check: isMac },
    fixed_ips: { post: true, put: true, check: isFixedIps },
    device_id: { post: true, put: true, check: isText() },
    device_owner: { post: true, put: true, check: isText() },
    security_groups: { post: true, put: true, check: isUuids },
    port_security_enabled: { post: true, put: true, check: isFlag },
    allowed_address_pairs: { post: true, put: true }, // looked at later: its sentences differ
    dns_name: { post: true, put: true, check: isText(63) },
    project_id: { post: true },
    tenant_id: { post: true },
    "binding:host_id": { post: true, put: true, admin: "both", check: isText() },
    "binding:profile": { post: true, put: true, admin: "both" },
    "binding:vnic_type": { post: true, put: true },
    tags: { post: true, check: isList },
    id: {},
    status: {},
    revision_number: {},
  },
  filters: [
    "network_id",
    "mac_address",
    "device_id",
    "device_owner",
    "fixed_ips",
    "status",
    "admin_state_up",
    "security_groups",
    "binding:host_id",
    "description",
  ],
};

/** What only who owns a port's network may ask for. */
const NETWORK_OWNERS = ["mac_address", "fixed_ips:ip_address", "port_security_enabled", "allowed_address_pairs"];

/** Ports. */
export class Ports {
  readonly rows = new Map<string, Port>();
  readonly #networks: Networks;
  /** As Neutron's `max_allowed_address_pair`. */
  maxPairs: number;
  /**
   * How long a change of pairs takes between the look at the stored ones and the writing of others, milliseconds. Neutron's
   * processes do that concurrently, and only what was looked at is replaced: what another has written meanwhile stays.
   */
  updateWindowMs = 0;
  readonly #groups: SecurityGroups;

  constructor(networks: Networks, groups: SecurityGroups, maxPairs: number) {
    this.#networks = networks;
    this.#groups = groups;
    this.maxPairs = maxPairs;
  }

  /** A port that a caller sees. */
  port(caller: Caller, id: string): Port {
    const found = this.rows.get(id);
    if (found === undefined || !this.visible(caller, found)) throw notFound("Port", id);
    return found;
  }

  visible(caller: Caller, port: Port): boolean {
    return caller.admin || port.project_id === caller.projectId;
  }

  view(caller: Caller, port: Port): Record<string, unknown> {
    const { "binding:host_id": host, ...rest } = port;
    const admins = {
      "binding:host_id": host,
      "binding:profile": {},
      "binding:vif_type": host === "" ? "unbound" : "bridge",
    };
    return { ...rest, ...(caller.admin ? admins : {}) };
  }

  add(caller: Caller, values: Record<string, unknown>): Port {
    if (values["network_id"] === undefined) {
      throw badRequest("Failed to parse request. Required attribute 'network_id' not specified");
    }
    for (const key of ["project_id", "tenant_id"]) {
      if (values[key] !== undefined && values[key] !== caller.projectId && !caller.admin) {
        const needs = "in request requires admin or advsvc privileges";
        throw badRequest(`Specifying 'project_id' or 'tenant_id' other than the authenticated project ${needs}`);
      }
    }
    const network = this.#networks.network(caller, textOf(values["network_id"]));
    this.#checkOwner("create_port", caller, network, values);
    const { device_owner: owner = "" } = values;
    const trusted = String(owner).startsWith("network:");
    const security = (values["port_security_enabled"] ?? (network.port_security_enabled && !trusted)) === true;
    const mac = this.#mac(network, values["mac_address"]);
    const pairs = this.#pairs(values["allowed_address_pairs"], mac, security);
    const port: Port = {
      ...newRow(caller, values),
      network_id: network.id,
      mac_address: mac,
      admin_state_up: values["admin_state_up"] ?? true,
      status: "DOWN",
      device_id: textOf(values["device_id"]),
      device_owner: String(owner),
      fixed_ips: this.#addresses(caller, network, values["fixed_ips"], undefined),
      port_security_enabled: security,
      security_groups: this.#securityGroups(caller, values["security_groups"], security),
      "binding:vnic_type": "normal",
      "binding:host_id": textOf(values["binding:host_id"]),
      allowed_address_pairs: pairs,
      extra_dhcp_opts: [],
      description: textOf(values["description"]),
      dns_name: textOf(values["dns_name"]),
      tags: tagsOf(values["tags"]),
    };
    this.rows.set(port.id, port);
    return port;
  }

  async update(caller: Caller, port: Port, values: Record<string, unknown>): Promise<void> {
    const network = this.#networks.network({ ...caller, admin: true }, port.network_id);
    this.#checkOwner("update_port", caller, network, values);
    const security = (values["port_security_enabled"] ?? port.port_security_enabled) === true;
    const seen = port.allowed_address_pairs;
    const given = values["allowed_address_pairs"];
    const wished = given === undefined ? seen : this.#pairs(given, port.mac_address, security);
    if (!security && wished.length > 0) throw pairsNeedSecurity();
    const groups = values["security_groups"] === undefined ? port.security_groups : values["security_groups"];
    if (!security && (groups as string[]).length > 0) {
      throw new Refused(
        409,
        "PortSecurityPortHasSecurityGroup",
        "Port has security group associated. Cannot disable port security or IP address until security group is removed.",
      );
    }
    const security_groups = this.#securityGroups(caller, groups, security);
    const mac_address =
      values["mac_address"] === undefined ? port.mac_address : this.#mac(network, values["mac_address"], port);
    const fixed_ips =
      values["fixed_ips"] === undefined ? port.fixed_ips : this.#addresses(caller, network, values["fixed_ips"], port);
    if (given !== undefined && this.updateWindowMs > 0) await Bun.sleep(this.updateWindowMs);
    const others = port.allowed_address_pairs.filter((p) => !seen.some((s) => samePair(s, p)));
    const { name, description, device_id, device_owner, dns_name, "binding:host_id": host } = values;
    const texts = { name, description, device_id, device_owner, dns_name, "binding:host_id": host };
    Object.assign(port, {
      ...Object.fromEntries(Object.entries(texts).filter(([, value]) => value !== undefined)),
      mac_address,
      fixed_ips,
      security_groups,
      port_security_enabled: security,
      allowed_address_pairs: sorted([...others.filter((o) => !wished.some((w) => samePair(o, w))), ...wished]),
    });
    touch(port);
  }

  /** What is about a foreign network is for its owner to say. */
  #checkOwner(rule: string, caller: Caller, network: Network, values: Record<string, unknown>): void {
    if (caller.admin || network.project_id === caller.projectId) return;
    const fixed = (values["fixed_ips"] ?? []) as { ip_address?: string }[];
    const asked = NETWORK_OWNERS.find((key) =>
      key === "fixed_ips:ip_address" ? fixed.some((f) => f.ip_address !== undefined) : values[key] !== undefined,
    );
    if (asked !== undefined) throw forbidden(rule, asked);
  }

  #mac(network: Network, wanted: unknown, except?: Port): string {
    const used = [...this.rows.values()].filter((p) => p.network_id === network.id && p !== except);
    if (wanted !== undefined) {
      const mac = textOf(wanted);
      if (!used.some((p) => same(p.mac_address, mac))) return mac;
      const message = `Unable to complete operation for network ${network.id}. The mac address ${mac} is in use.`;
      throw new Refused(409, "MacAddressInUse", message);
    }
    for (;;) {
      const tail = [...crypto.getRandomValues(new Uint8Array(3))].map((b) => b.toString(16).padStart(2, "0"));
      const mac = `fa:16:3e:${tail.join(":")}`;
      if (!used.some((p) => same(p.mac_address, mac))) return mac;
    }
  }

  #securityGroups(caller: Caller, wanted: unknown, security: boolean): readonly string[] {
    if (wanted === undefined || wanted === null) return security ? [this.#groups.defaultOf(caller.projectId)] : [];
    for (const id of wanted as string[]) this.#groups.group({ ...caller, admin: true }, id);
    return wanted as string[];
  }

  #addresses(caller: Caller, network: Network, wanted: unknown, port: Port | undefined): readonly FixedIp[] {
    const subnets = this.#networks.subnetsOf(network.id);
    const used = new Set(
      [...this.rows.values()]
        .filter((p) => p.network_id === network.id && p !== port)
        .flatMap((p) => p.fixed_ips.map((f) => f.ip_address)),
    );
    const exhausted = new Refused(
      409,
      "IpAddressGenerationFailure",
      `No more IP addresses available on network ${network.id}.`,
    );
    const any = (from: readonly Subnet[]): FixedIp => {
      for (const subnet of from) {
        const ip = freeAddress(subnet, used);
        if (ip === undefined) continue;
        used.add(ip);
        return { subnet_id: subnet.id, ip_address: ip };
      }
      throw exhausted;
    };
    if (wanted === undefined) {
      const families = [4, 6].map((family) => subnets.filter((s) => s["ip_version"] === family));
      return families.filter((f) => f.length > 0).map(any);
    }
    return (wanted as { subnet_id?: string; ip_address?: string }[]).map(({ subnet_id: id, ip_address: text }) => {
      const subnet = id === undefined ? undefined : this.#networks.subnet(caller, id);
      if (subnet !== undefined && subnet.network_id !== network.id) {
        throw invalidInput(
          `Failed to create port on network ${network.id}, because fixed_ips included invalid subnet ${subnet.id}.`,
        );
      }
      if (text === undefined) return any(subnet === undefined ? [] : [subnet]);
      const ip = parseIp(text) ?? text;
      const home = (subnet === undefined ? subnets : [subnet]).find((s) => isUsable(s, ip));
      if (home === undefined) {
        throw subnet === undefined
          ? new Refused(
              400,
              "InvalidIpForNetwork",
              `IP address ${text} is not a valid IP for any of the subnets on the specified network.`,
            )
          : new Refused(400, "InvalidIpForSubnet", `IP address ${text} is not a valid IP for the specified subnet.`);
      }
      if (used.has(ip)) {
        const message = `IP address ${ip} already allocated in subnet ${home.id}`;
        throw new Refused(409, "IpAddressAlreadyAllocated", message);
      }
      used.add(ip);
      return { subnet_id: home.id, ip_address: ip };
    });
  }

  #pairs(given: unknown, mac: string, security: boolean): readonly Pair[] {
    if (given === undefined || given === null) return [];
    if (!Array.isArray(given)) throw badRequest("Allowed address pairs must be a list.");
    if (given.length > this.maxPairs) {
      const message = `The number of allowed address pair exceeds the maximum ${this.maxPairs}.`;
      throw new Refused(400, "AllowedAddressPairExhausted", message);
    }
    const pairs: Pair[] = [];
    for (const entry of given) {
      const { mac_address: own, ip_address: ip, ...more } = objectOf(entry) ?? {};
      const [unknown] = Object.keys(more);
      if (own !== undefined) refuseInvalid(isMac(own));
      if (ip === undefined) {
        throw new Refused(400, "AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address");
      }
      const pair = { mac_address: textOf(own, mac), ip_address: textOf(ip) };
      if (pairs.some((p) => samePair(p, pair))) {
        const which = `mac_address ${textOf(own, "None")} ip_address ${pair.ip_address}`;
        throw new Refused(400, "DuplicateAddressPairInRequest", `Request contains duplicate address pair: ${which}.`);
      }
      if (unknown !== undefined) throw badRequest(`Unrecognized attribute(s) '${unknown}'`);
      const valid = pair.ip_address.includes("/") ? parseCidr(pair.ip_address) : parseIp(pair.ip_address);
      if (valid === undefined)
        throw badRequest(
          `'${pair.ip_address}' is not a valid IP ${pair.ip_address.includes("/") ? "subnet" : "address"}`,
        );
      pairs.push(pair);
    }
    if (!security && pairs.length > 0) throw pairsNeedSecurity();
    return sorted(pairs);
  }
}

function pairsNeedSecurity(): Refused {
  const message = "Port Security must be enabled in order to have allowed address pairs on a port.";
  return new Refused(409, "AddressPairAndPortSecurityRequired", message);
}

function refuseInvalid(wrong: string | undefined): void {
  if (wrong !== undefined) throw badRequest(wrong);
}

function samePair(a: Pair, b: Pair): boolean {
  return same(a.mac_address, b.mac_address) && same(a.ip_address, b.ip_address);
}

/** In the order of the database's key, whatever order they were given in. */
function sorted(pairs: readonly Pair[]): readonly Pair[] {
  const key = (p: Pair): string => `${p.mac_address} ${p.ip_address}`.toLowerCase();
  return pairs.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

function isUsable(subnet: Subnet, ip: string): boolean {
  const block = parseCidr(subnet.cidr);
  if (block === undefined || !contains(block, ip)) return false;
  return ipFamily(ip) === 6 || (ip !== block.ip && ip !== lastOf(block));
}

/** Some address of the subnet's pools that nobody has: the lowest from a random place on. */
function freeAddress({ allocation_pools: pools }: Subnet, used: ReadonlySet<string>): string | undefined {
  for (const { start, end } of pools) {
    const [first, last] = [ipToBigInt(start), ipToBigInt(end)];
    const size = last - first + 1n;
    const offset = BigInt(Math.floor(Math.random() * Number(size > 65_536n ? 65_536n : size)));
    for (let i = 0n; i < size && i <= BigInt(used.size); i++) {
      const ip = ipFromBigInt(first + ((offset + i) % size), ipFamily(start));
      if (!used.has(ip)) return ip;
    }
  }
  return undefined;
}

function isList(value: unknown): string | undefined {
  return Array.isArray(value) ? undefined : `'${String(value)}' is not a list`;
}

function isUuids(value: unknown): string | undefined {
  if (value === null) return undefined;
  return Array.isArray(value) ? value.map(isUuid).find((wrong) => wrong !== undefined) : isList(value);
}

function isFixedIps(value: unknown): string | undefined {
  if (!Array.isArray(value)) return isList(value);
  const seen = new Set<string>();
  for (const entry of value) {
    const { subnet_id: subnet, ip_address: ip } = objectOf(entry) ?? {};
    if (subnet !== undefined && isUuid(subnet) !== undefined) return isUuid(subnet);
    if (ip === undefined) continue;
    if (typeof ip !== "string" || parseIp(ip) === undefined) return `'${textOf(ip)}' is not a valid IP address`;
    if (seen.has(ip)) return `Duplicate IP address '${ip}'`;
    seen.add(ip);
  }
  return undefined;
}
