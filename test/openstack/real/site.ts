// What the cloud's user sees: a network with VMs on it, and a router to an outside. VMs are namespaces whose NICs are veths
// to taps, which the hypervisor's agent filters as it filters a real one's.
import { Api } from "../api.ts";
import type { Services } from "./services.ts";
import { HYPERVISOR, relay } from "./start.ts";

/** A port as the API answers it, as far as tests look. */
export interface PortJson {
  readonly id: string;
  readonly name: string;
  readonly network_id: string;
  readonly mac_address: string;
  readonly status: string;
  readonly device_id: string;
  readonly device_owner: string;
  readonly tags: readonly string[];
  readonly revision_number: number;
  readonly fixed_ips: readonly { readonly ip_address: string; readonly subnet_id: string }[];
  readonly allowed_address_pairs: readonly { readonly ip_address: string; readonly mac_address: string }[];
}

/** What a call of the plugin was answered with. */
export interface CniReply {
  readonly exitCode: number;
  readonly json: Record<string, unknown>;
  readonly remarks: string;
}

const OUTSIDE = "203.0.113.2";
const root = new URL("../../..", import.meta.url).pathname;

/** A network of the cloud with its VMs. */
export class Site {
  readonly services: Services;
  readonly admin: Api;
  readonly demo: Api;
  readonly networkId: string;
  readonly subnetId: string;
  /** An address beyond the router. */
  readonly outside = OUTSIDE;

  private constructor(services: Services, admin: Api, demo: Api, networkId: string, subnetId: string) {
    this.services = services;
    this.admin = admin;
    this.demo = demo;
    this.networkId = networkId;
    this.subnetId = subnetId;
  }

  /** Makes network and subnet 192.168.0.0/24, a router, and an outside behind it. */
  static async make(services: Services, name = "private"): Promise<Site> {
    const [admin, demo] = [await Api.login("admin", "admin", "admin"), await Api.login("demo", "demo", "demo")];
    const network = await demo.must<{ id: string }>("POST", "/networks", { network: { name } });
    const wish = { network_id: network.id, cidr: "192.168.0.0/24", ip_version: 4, dns_nameservers: ["192.0.2.53"] };
    const subnet = await demo.must<{ id: string }>("POST", "/subnets", { subnet: { ...wish, name: `${name}-4` } });
    const site = new Site(services, admin, demo, network.id, subnet.id);
    const router = await demo.must<{ id: string }>("POST", "/routers", { router: { name: `${name}-router` } });
    const added = await demo.call("PUT", `/routers/${router.id}/add_router_interface`, { subnet_id: subnet.id });
    await site.#plug(await site.port(String(added.json["port_id"])), "router", "lan0");
    for (const command of [
      "ip netns add outside",
      "ip -n outside link set lo up",
      "ip -n router link add ext0 type veth peer name eth0 netns outside",
      "ip -n router addr add 203.0.113.1/24 dev ext0",
      "ip -n router link set ext0 up",
      `ip -n outside addr add ${OUTSIDE}/24 dev eth0`,
      "ip -n outside link set eth0 up",
      "nsenter --net=/run/netns/router sysctl -qw net.ipv4.ip_forward=1",
      "nsenter --net=/run/netns/router iptables -t nat -A POSTROUTING -o ext0 -j MASQUERADE",
    ])
      services.run(command.split(" "));
    return site;
  }

  /**
   * A VM with one NIC, eth0, of this network. It reaches the cloud's API by its own 127.0.0.1.
   * @param neutron the port out here that its Neutron is behind
   */
  async vm(name: string, ip: string, more: object = {}, neutron = 19_696): Promise<Vm> {
    const wish = {
      network_id: this.networkId,
      name,
      device_owner: "compute:nova",
      device_id: crypto.randomUUID(),
      fixed_ips: [{ ip_address: ip }],
      ...more,
    };
    const { id } = await this.demo.must<PortJson>("POST", "/ports", { port: wish });
    const port = await this.#plug(await this.port(id), name, "eth0");
    this.services.run(["ip", "-n", name, "route", "add", "default", "via", "192.168.0.1"]);
    relay(this.services, name, 15_000);
    relay(this.services, name, 19_696, neutron);
    return new Vm(this, name, port);
  }

  /** A port as it is now. */
  async port(id: string): Promise<PortJson> {
    return await this.admin.must<PortJson>("GET", `/ports/${id}`);
  }

  /** All ports of the network. */
  async ports(filter = ""): Promise<readonly PortJson[]> {
    return await this.admin.must<PortJson[]>("GET", `/ports?network_id=${this.networkId}${filter}`);
  }

  /** What Nova does for a VM: binds the port to the hypervisor, makes NIC and tap, and waits until the agent has seen it. */
  async #plug(port: PortJson, namespace: string, nic: string): Promise<PortJson> {
    await this.admin.must("PUT", `/ports/${port.id}`, { port: { "binding:host_id": HYPERVISOR } });
    const { mtu } = await this.admin.must<{ mtu: number }>("GET", `/networks/${port.network_id}`);
    const [tap, bridge] = [`tap${port.id.slice(0, 11)}`, `brq${port.network_id.slice(0, 11)}`];
    const run = (command: string): string => this.services.run(command.split(" "));
    run(`ip netns add ${namespace}`);
    run(`ip -n ${namespace} link set lo up`);
    run(
      `ip -n ${HYPERVISOR} link add ${tap} mtu ${mtu} type veth peer name ${nic} mtu ${mtu} address ${port.mac_address} netns ${namespace}`,
    );
    // the agent itself bridges taps of "network:" ports only; for a VM's, Nova makes the bridge
    const bridges = run(`ip -n ${HYPERVISOR} -o link show type bridge`);
    if (!bridges.includes(bridge)) {
      run(`ip -n ${HYPERVISOR} link add ${bridge} type bridge`);
      run(`ip -n ${HYPERVISOR} link set ${bridge} up`);
    }
    run(`ip -n ${HYPERVISOR} link set ${tap} master ${bridge} up`);
    for (const { ip_address: ip } of port.fixed_ips) run(`ip -n ${namespace} addr add ${ip}/24 dev ${nic}`);
    run(`ip -n ${namespace} link set ${nic} up`);
    for (let i = 0; i < 150; i++) {
      const now = await this.port(port.id);
      if (now.status === "ACTIVE") return now;
      await Bun.sleep(200);
    }
    throw new Error(`the agent has not made port ${port.id} active`);
  }

  /** How many frames of a port the hypervisor has dropped: by the agent's rules of ARP, MAC and address. */
  dropped(port: PortJson): number {
    const tap = `tap${port.id.slice(0, 11)}`;
    const enter = ["ip", "netns", "exec", HYPERVISOR];
    const ip = this.services.run([...enter, "iptables", "-nvxL"]);
    const chain =
      new RegExp(`Chain neutron-linuxbri-s${port.id.slice(0, 10)}[\\s\\S]*?\\n\\n`, "u").exec(`${ip}\n\n`)?.[0] ?? "";
    const byAddress = [...chain.matchAll(/^\s*(\d+)\s+\d+\s+DROP/gmu)].map((m) => Number(m[1]));
    const bridge = ["nat", "filter"]
      .map((table) => this.services.run([...enter, "ebtables", "-t", table, "-L", "--Lc"]))
      .join("\n");
    const chains = bridge.split(/^(?=Bridge chain:)/mu).filter((c) => c.split("\n")[0]?.includes(tap));
    const byArp = chains.flatMap((c) => [...c.matchAll(/-j DROP.*pcnt = (\d+)/gu)].map((m) => Number(m[1])));
    return [...byAddress, ...byArp].reduce((n, count) => n + count, 0);
  }
}

/** A VM, and Berth in it. */
export class Vm {
  readonly site: Site;
  readonly name: string;
  readonly port: PortJson;

  constructor(site: Site, name: string, port: PortJson) {
    this.site = site;
    this.name = name;
    this.port = port;
  }

  /** The VM's port's pairs as they are now. */
  async pairs(): Promise<string[]> {
    const { allowed_address_pairs: pairs } = await this.site.port(this.port.id);
    return pairs.map((p) => `${p.ip_address} ${p.mac_address}`).toSorted();
  }

  /** Makes a container's namespace. */
  container(name: string): void {
    this.site.services.run(["ip", "netns", "add", name]);
    this.site.services.run(["ip", "-n", name, "link", "set", "lo", "up"]);
  }

  /** Runs a program of this machine in the VM. */
  async run(
    argv: readonly string[],
    env: Record<string, string> = {},
    stdin = "",
  ): Promise<{ exitCode: number; out: string; err: string }> {
    const child = Bun.spawn(["nsenter", `--net=/run/netns/${this.name}`, ...argv], {
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
      stdin: new Blob([stdin]),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { exitCode, out, err };
  }

  /** A command of berth's. */
  async berth(...args: string[]): Promise<{ exitCode: number; out: string; err: string }> {
    return await this.run([`${root}dist/berth`, ...args], credentials());
  }

  /** A call of the plugin for a container. */
  async cni(verb: string, container: string, config: object, env: Record<string, string> = {}): Promise<CniReply> {
    const { exitCode, out, err } = await this.run(
      [`${root}dist/berth`],
      {
        ...credentials(),
        CNI_COMMAND: verb,
        CNI_CONTAINERID: container,
        CNI_NETNS: `/run/netns/${container}`,
        CNI_IFNAME: "eth0",
        CNI_PATH: "/opt/cni/bin",
        ...env,
      },
      JSON.stringify(config),
    );
    return { exitCode, remarks: err, json: out === "" ? {} : (JSON.parse(out) as Record<string, unknown>) };
  }
}

/** An ordinary user's, in the environment. */
export function credentials(user = "demo", project = user): Record<string, string> {
  return {
    OS_AUTH_URL: "http://127.0.0.1:15000/v3",
    OS_USERNAME: user,
    OS_PASSWORD: user,
    OS_USER_DOMAIN_ID: "default",
    OS_PROJECT_NAME: project,
    OS_PROJECT_DOMAIN_ID: "default",
  };
}

/** Whether an address answers a ping from a namespace, within some time. */
export async function answers(namespace: string, ip: string, within = 1): Promise<boolean> {
  const command = ["ping", "-c1", "-n", "-q", "-i0.2", "-W1", ip];
  for (const end = performance.now() + within * 1000; ;) {
    const child = Bun.spawn(["nsenter", `--net=/run/netns/${namespace}`, ...command], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    if ((await child.exited) === 0) return true;
    if (performance.now() > end) return false;
  }
}
