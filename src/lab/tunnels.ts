// The story of hosts without a way to the internet of their own: tunnels to a router, virtual machines and apps as
// neighbours on them, and a host's agent that reaches its own.
import { Errno, SysError } from "../kernel/errno.ts";
import { changeLink, listLinks, newBridge } from "../kernel/links.ts";
import { newTunnel, type TunnelKind } from "../kernel/tunnels.ts";
import { Failure } from "../report/failure.ts";
import { masquerade } from "./nat.ts";
import { tunnelsPicture } from "./picture.ts";
import { callPlugin, stateOf } from "./plugin.ts";
import { filesIn, type Proof, prove, proveNone, proveWhole, show, type Spot, traces } from "./proofs.ts";
import { type LabOptions, untilInterrupted } from "./session.ts";
import { World } from "./world.ts";

/** A place with an address of each family. */
interface Place {
  readonly name: string;
  readonly namespace: string;
  readonly ips: readonly [v4: string, v6: string];
}

const families = [0, 1] as const;
type FamilyIndex = (typeof families)[number];

const outside: Place = { name: "outside", namespace: "outside", ips: ["198.51.100.9", "2001:db8:51::9"] };
const router: Place = { name: "router", namespace: "router", ips: ["10.90.0.1", "fd90::1"] };
const onLan: Place = { name: "router/lan", namespace: "router", ips: ["192.168.10.1", "fd10::1"] };
const hosts = [
  { name: "agent-a", namespace: "host-a", ips: ["192.168.10.11", "fd10::11"], underlay: "192.168.10.11" },
  { name: "agent-b", namespace: "host-b", ips: ["192.168.10.12", "fd10::12"], underlay: "192.168.10.12" },
] as const satisfies (Place & { underlay: string })[];

const internal = { prefix: ["10.90.0", "fd90::"], gateways: ["10.90.0.1", "fd90::1"] } as const;
const open = { prefix: ["203.0.113", "2001:db8:113::"], gateways: ["203.0.113.1", "2001:db8:113::1"] } as const;

/** What is attached by a CNI call, in this order. */
interface Guest extends Place {
  readonly host: string;
  readonly kind: "macvlan" | "macvtap";
  readonly net: typeof internal | typeof open;
}

function guest(name: string, host: string, net: Guest["net"], last: number): Guest {
  const kind = name.startsWith("vm") ? "macvtap" : "macvlan";
  return { name, namespace: name, host, kind, net, ips: [`${net.prefix[0]}.${last}`, `${net.prefix[1]}${last}`] };
}

const guests = [
  guest("vm-a", "host-a", internal, 31),
  guest("app-a", "host-a", internal, 21),
  guest("vm-b", "host-b", internal, 32),
  guest("vm-c", "host-b", open, 33),
  guest("app-b", "host-b", open, 22),
];
/** The virtual machine that has a leg on the hosts' own LAN beside the one on the tunnel. */
const secondLeg: Place = { name: "vm-a/lan", namespace: "vm-a", ips: ["192.168.10.31", "fd10::31"] };

/** The configuration of a guest's network; what is asked for in the place of addresses is the guest's own. */
function networkOf({ kind, net, ips }: Guest): string {
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
interface Attachment {
  readonly configuration: string;
  readonly container: string;
  readonly ifName: string;
  readonly host: string;
}

const attachments: readonly Attachment[] = [
  ...guests.map((g) => ({ configuration: networkOf(g), container: g.namespace, ifName: "eth0", host: g.host })),
  { configuration: SECOND_NETWORK, container: "vm-a", ifName: "eth1", host: "host-a" },
];

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
      ].join("\n"),
      cause: e,
    });
  }
  world.netlink(namespace).do(changeLink(name, { up: true }));
}

function cidrs({ ips }: Place): string[] {
  return [`${ips[0]}/24`, `${ips[1]}/64`];
}

function build(world: World, kind: TunnelKind): void {
  world.lan("hosts");
  world.lan("internet");
  for (const name of ["router", "outside", ...hosts.map((h) => h.namespace), ...guests.map((g) => g.namespace)]) {
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

function spot({ name, namespace, ips }: Place, family: FamilyIndex): Spot {
  return { name, namespace, ip: ips[family] };
}

/** All ordered pairs of these places. */
function pairs(places: readonly Place[]): (readonly [Place, Place])[] {
  return places.flatMap((a) => places.filter((b) => b !== a).map((b) => [a, b] as const));
}

/** Who shall reach whom. */
function proveAll(world: World): Proof[] {
  const everybody: readonly Place[] = [...hosts, ...guests, router];
  const leg = [...hosts, onLan].flatMap((other) => [[secondLeg, other] as const, [other, secondLeg] as const]);
  return families.flatMap((family) => {
    const works = (from: Place, to: Place, seenAs?: string): Proof[] =>
      prove(world, spot(from, family), spot(to, family), "works", seenAs);
    const withoutWay = (from: Place, to: Place): Proof[] => prove(world, spot(from, family), spot(to, family), "fails");
    return [
      ...[...pairs(everybody), ...leg].flatMap(([from, to]) => works(from, to)),
      ...guests.flatMap((g) => {
        if (g.net === open) return [...works(g, outside), ...works(outside, g)];
        // IPv4 is translated; IPv6 has public addresses for who shall be seen outside
        return [
          ...(family === 0 ? works(g, outside, "198.51.100.1") : withoutWay(g, outside)),
          ...withoutWay(outside, g),
        ];
      }),
    ];
  });
}

function mtuOf(world: World): number {
  return world.link("host-a", "tun1").mtu;
}

/** Whole packets: on one host, between two, to the router. */
function proveWholePackets(world: World): Proof[] {
  const named = new Map<string, Place>([...guests, router].map((p) => [p.name, p]));
  const ways = [
    ["app-a", "vm-a"],
    ["app-a", "vm-b"],
    ["app-b", "router"],
    ["vm-c", "app-a"],
  ] as const;
  return ways.flatMap(([a, b]) => {
    const [from, to] = [named.get(a), named.get(b)];
    if (from === undefined || to === undefined) return [];
    return families.flatMap((family) => proveWhole(world, spot(from, family), spot(to, family), mtuOf(world)));
  });
}

/** A place's name, of what a proof says of it. */
function nameIn(place: string): string {
  return place.replace(/ [^ ]*$/u, "");
}

/** Places by rows and columns: what held of a row's place talking to a column's, in both families, by ICMP and TCP. */
function table(proofs: readonly Proof[]): string[] {
  const names = [...new Set(proofs.flatMap((p) => [nameIn(p.from), nameIn(p.to)]))];
  const width = Math.max(...names.map((n) => n.length)) + 1;
  const cell = (row: string, column: string): string => {
    const between = proofs.filter((p) => nameIn(p.from) === row && nameIn(p.to) === column);
    if (between.length === 0) return "·";
    if (!between.every((p) => p.held)) return "✘";
    const works = between.filter((p) => p.expected === "works").length;
    return works === between.length ? "✔" : works === 0 ? "no way" : "✔ (v4)";
  };
  return [
    ["", ...names].map((n) => n.padEnd(width)).join(""),
    ...names.map((row) => [row, ...names.map((column) => cell(row, column))].map((n) => n.padEnd(width)).join("")),
  ].map((line) => line.trimEnd());
}

/** What is left of the attachments anywhere. */
function remains(world: World): Proof[] {
  const links = guests.map(({ namespace }) => {
    const left = listLinks(world.netlink(namespace)).filter((l) => l.name === "eth0" || l.name === "eth1");
    return proveNone(
      `${namespace}: links`,
      left.map((l) => l.name),
    );
  });
  const state = hosts.flatMap(({ namespace }) => [
    proveNone(`${namespace}: routes and neighbours of Berth's`, traces(world, namespace)),
    proveNone(
      `${namespace}: access links`,
      listLinks(world.netlink(namespace)).flatMap((l) => (l.name.startsWith("berth-") ? [l.name] : [])),
    ),
    proveNone(`${namespace}: records`, filesIn(`${stateOf(namespace, "/run/berth")}/attachments`)),
  ]);
  return [...links, ...state];
}

/** Plays the story; the exit status: 0 where every proof held. `pid` is this process's number outside. */
export async function tunnels(options: LabOptions, pid: string): Promise<number> {
  const kind = options.tunnel ?? "gretap";
  const say = (text: string): void => {
    if (!options.json) console.log(text);
  };
  using world = new World();
  build(world, kind);
  say(
    "Two hosts without a way to the internet of their own, each with a tunnel to a router. On the tunnels sit virtual",
  );
  say("machines (a namespace each, on a macvtap) and apps, with internal and with public addresses.\n");
  say(tunnelsPicture(kind, mtuOf(world)));

  say("\n1. Each is attached by a CNI call on its host, as this one on host-a:\n");
  say(
    JSON.stringify(JSON.parse(networkOf(guests[1] ?? guest("", "", internal, 0))), null, 2).replaceAll(/^/gmu, "    "),
  );
  const results: unknown[] = attachments.map((a) => JSON.parse(callPlugin({ verb: "ADD", ...a })));
  const state = Object.fromEntries(hosts.map(({ namespace }) => [namespace, traces(world, namespace)]));
  for (const [host, lines] of Object.entries(state)) {
    say(`\n  on ${host}, for its agent:`);
    for (const line of lines) say(`    ${line}`);
  }

  say("\n2. Who reaches whom, from the row to the column, by ICMP and TCP over IPv4 and IPv6:\n");
  const proofs = proveAll(world);
  for (const line of table(proofs)) say(`  ${line}`);
  const translated = proofs.find((p) => p.from.startsWith("app-a") && p.to.startsWith("outside") && p.by === "TCP");
  say(
    "\n  (v4): IPv4 only, translated; no way: as it should be, these addresses are not known outside; vm-a/lan: its second leg",
  );
  say("\n  For instance:\n");
  const examples = proofs.filter((p) => p === translated || (/^(agent-a|outside)/u.test(p.from) && /app/u.test(p.to)));
  const wrong = proofs.filter((p) => !p.held);
  if (!options.json) show([...examples.filter((p) => p.held && p.by === "TCP"), ...wrong]);

  say(
    `\n3. The tunnel's MTU of ${mtuOf(world)} bytes is the attachments'; whole packets pass, with "don't fragment" set:\n`,
  );
  const whole = proveWholePackets(world);
  if (!options.json) show(whole);
  for (const a of attachments) callPlugin({ verb: "CHECK", ...a });
  say("  ✔ CHECK: everything is as it was planned");

  if (options.keep) {
    const enter = `nsenter --target ${pid} --user --net --mount --pid --preserve-credentials`;
    say(`\nIt stands until you press Ctrl-C. Enter it from another terminal:\n\n    ${enter}\n`);
    if (options.json) console.log(JSON.stringify({ enter, results, state, proofs, whole }));
    await untilInterrupted();
  }

  say("\n4. Detached:\n");
  for (const a of attachments) callPlugin({ verb: "DEL", ...a });
  const left = remains(world);
  if (!options.json) show(left);
  const all = [...proofs, ...whole, ...left];
  const held = all.every((p) => p.held);
  if (options.json && !options.keep)
    console.log(JSON.stringify({ ok: held, tunnel: kind, results, state, proofs, whole, left }, null, 2));
  say(
    held
      ? `\nAll ${all.length} proofs held.`
      : `\n${all.filter((p) => !p.held).length} of ${all.length} proofs did not hold.`,
  );
  return held ? 0 : 1;
}
