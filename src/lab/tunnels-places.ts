// The places of the story of tunnels, and how they are built: two hosts, a router, what sits on the tunnels, the outside.
import { Errno, SysError } from "../kernel/errno.ts";
import { changeLink, newBridge } from "../kernel/links.ts";
import { newTunnel, type TunnelKind } from "../kernel/tunnels.ts";
import { Failure } from "../report/failure.ts";
import { masquerade } from "./nat.ts";
import type { MachinePlan } from "./machines.ts";
import type { World } from "./world.ts";

/** A place with an address of each family. */
export interface Place {
  readonly name: string;
  readonly namespace: string;
  readonly ips: readonly [v4: string, v6: string];
}

/** Indexes of a place's addresses. */
export const families = [0, 1] as const;
/** See {@link families}. */
export type FamilyIndex = (typeof families)[number];

/** Who is beyond the router, on the internet. */
export const outside: Place = { name: "outside", namespace: "outside", ips: ["198.51.100.9", "2001:db8:51::9"] };
/** The router, by its addresses on the bridge of the tunnels. */
export const router: Place = { name: "router", namespace: "router", ips: ["10.90.0.1", "fd90::1"] };
/** The router's address on the hosts' LAN. */
export const onLan: Place = { name: "router/lan", namespace: "router", ips: ["192.168.10.1", "fd10::1"] };
/** The two hosts. */
export const hosts = [
  { name: "agent-a", namespace: "host-a", ips: ["192.168.10.11", "fd10::11"], underlay: "192.168.10.11" },
  { name: "agent-b", namespace: "host-b", ips: ["192.168.10.12", "fd10::12"], underlay: "192.168.10.12" },
] as const satisfies (Place & { underlay: string })[];

const internal = { prefix: ["10.90.0", "fd90::"], gateways: ["10.90.0.1", "fd90::1"] } as const;
/** Public addresses. */
export const open = { prefix: ["203.0.113", "2001:db8:113::"], gateways: ["203.0.113.1", "2001:db8:113::1"] } as const;

/** What sits on the tunnels. */
export interface Resident extends Place {
  readonly host: string;
  readonly kind: "macvlan" | "macvtap";
  readonly net: typeof internal | typeof open;
}

function resident(name: string, host: string, net: Resident["net"], last: number): Resident {
  const kind = name.startsWith("vm") ? "macvtap" : "macvlan";
  return { name, namespace: name, host, kind, net, ips: [`${net.prefix[0]}.${last}`, `${net.prefix[1]}${last}`] };
}

/** All that sit on the tunnels. */
export const residents = [
  resident("vm-a", "host-a", internal, 31),
  resident("app-a", "host-a", internal, 21),
  resident("vm-b", "host-b", internal, 32),
  resident("vm-c", "host-b", open, 33),
  resident("app-b", "host-b", open, 22),
];
/** The virtual machine that has a leg on the hosts' own LAN beside the one on the tunnel. */
export const secondLeg: Place = { name: "vm-a/lan", namespace: "vm-a", ips: ["192.168.10.31", "fd10::31"] };

/** The configuration of a guest's network; what is asked for in the place of addresses is the guest's own. */
function networkOf({ kind, net, ips }: Resident): string {
  const [v4, v6] = net.gateways;
  return JSON.stringify({
    cniVersion: "1.0.0",
    name: net === internal ? "internal" : "public",
    type: kind,
    master: "tun1",
    hostAccess: "auto",
    ipam: {
      type: "static",
      addresses: [
        { address: `${ips[0]}/24`, gateway: v4 },
        { address: `${ips[1]}/64`, gateway: v6 },
      ],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
  });
}

const SECOND_NETWORK = JSON.stringify({
  cniVersion: "1.0.0",
  name: "hosts",
  type: "macvtap",
  master: "eth0",
  hostAccess: "auto",
  ipam: {
    type: "static",
    addresses: [{ address: `${secondLeg.ips[0]}/24` }, { address: `${secondLeg.ips[1]}/64` }],
  },
});

/** One attachment of the story, as it is called for. */
export interface Attachment {
  readonly configuration: string;
  readonly container: string;
  readonly ifName: string;
  readonly host: string;
}

/** All that is attached by CNI calls where namespaces stand for virtual machines, in this order. */
export const attachments: readonly Attachment[] = [
  ...residents.map((g) => ({ configuration: networkOf(g), container: g.namespace, ifName: "eth0", host: g.host })),
  { configuration: SECOND_NETWORK, container: "vm-a", ifName: "eth1", host: "host-a" },
];

/** The virtual machines, for QEMU to run. */
export const machinePlans: readonly MachinePlan[] = residents
  .filter((r) => r.kind === "macvtap")
  .map((r) => ({
    name: r.name,
    host: r.host,
    networks: [networkOf(r), ...(r.name === secondLeg.namespace ? [SECOND_NETWORK] : [])],
  }));

function makeTunnel(world: World, kind: TunnelKind, namespace: string, name: string, id: number, ends: string[]): void {
  const [local = "", remote = ""] = ends;
  const overIndex = world.link(namespace, "eth0").index;
  try {
    world.netlink(namespace).do(newTunnel({ name, kind, id, local, remote, overIndex }));
  } catch (e) {
    if (!(e instanceof SysError) || e.errno !== Errno.EOPNOTSUPP) throw e;
    throw new Failure("unavailable", `build the lab: ${e.message}: this kernel has no ${kind}`, {
      advice: [
        `Load its module (modprobe ${kind === "gretap" ? "ip_gre" : kind}) or boot a kernel that has it. Without:`,
        "    berth lab tunnels --tunnel vxlan           the same story, another tunnel",
        "    npm run test:vm -- test/lab/tunnels        in a virtual machine with Debian's kernel",
      ],
      cause: e,
    });
  }
  world.netlink(namespace).do(changeLink(name, { up: true }));
}

function cidrs({ ips }: Place): string[] {
  return [`${ips[0]}/24`, `${ips[1]}/64`];
}

/** Builds all of it but what is attached. `inNamespaces` are those for which a namespace is made. */
export function build(world: World, kind: TunnelKind, inNamespaces: readonly string[]): void {
  world.lan("hosts");
  world.lan("internet");
  for (const name of ["router", "outside", ...hosts.map((h) => h.namespace), ...inNamespaces]) {
    world.namespace(name);
    world.sysctl(name, "net/ipv6/conf/default/accept_dad", "0"); // nobody else is there, and it takes a second each
  }
  world.plug("hosts", "router", "eth0", ...cidrs(onLan));
  world.plug("internet", "router", "eth1", "198.51.100.1/24", "2001:db8:51::1/64");
  world.plug("internet", "outside", "eth0", ...cidrs(outside));
  world.netlink("router").do(newBridge("tunnels"));
  for (const [i, host] of hosts.entries()) {
    const { namespace, underlay } = host;
    world.plug("hosts", namespace, "eth0", ...cidrs(host));
    for (const [j, everything] of ["0.0.0.0/0", "::/0"].entries())
      world.route(namespace, "eth0", everything, onLan.ips[j === 0 ? 0 : 1]);
    makeTunnel(world, kind, namespace, "tun1", i + 1, [underlay, onLan.ips[0]]);
    makeTunnel(world, kind, "router", `tun-${namespace}`, i + 1, [onLan.ips[0], underlay]);
    const masterIndex = world.link("router", "tunnels").index;
    world.netlink("router").do(changeLink(`tun-${namespace}`, { masterIndex }));
  }
  world.netlink("router").do(changeLink("tunnels", { up: true }));
  for (const { gateways } of [internal, open]) {
    for (const [i, gateway] of gateways.entries())
      world.address("router", "tunnels", `${gateway}/${i === 0 ? 24 : 64}`);
  }
  for (const [key, value] of [
    ["net/ipv4/ip_forward", "1"],
    ["net/ipv6/conf/all/forwarding", "1"],
    ["net/ipv4/conf/all/send_redirects", "0"],
    ["net/ipv4/conf/tunnels/send_redirects", "0"],
  ] as const)
    world.sysctl("router", key, value);
  masquerade("router", `${internal.prefix[0]}.0/24`, "eth1");
  // outside knows the way to public addresses, and to no others
  world.route("outside", "eth0", `${open.prefix[0]}.0/24`, "198.51.100.1");
  world.route("outside", "eth0", `${open.prefix[1]}/64`, "2001:db8:51::1");
}
