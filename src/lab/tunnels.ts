// The story of hosts without a way to the internet of their own: tunnels to a router, virtual machines and apps as
// neighbours on them, and a host's agent that reaches its own.
import { listLinks } from "../kernel/links.ts";
import { QEMU } from "./guest.ts";
import { berthOn, Machine, type Machinery, machinery } from "./machines.ts";
import { tunnelsPicture } from "./picture.ts";
import { callPlugin, stateOf } from "./plugin.ts";
import { filesIn, type Proof, prove, proveNone, proveWhole, show, traces } from "./proofs.ts";
import { type LabOptions, untilInterrupted } from "./session.ts";
import type { Speakers, Spot } from "./talk.ts";
import {
  attachments,
  build,
  families,
  type FamilyIndex,
  hosts,
  machinePlans,
  onLan,
  open,
  outside,
  type Place,
  residents,
  router,
  secondLeg,
} from "./tunnels-places.ts";
import { World } from "./world.ts";

function spot({ name, namespace, ips }: Place, family: FamilyIndex): Spot {
  return { name, namespace, ip: ips[family] };
}

/** All ordered pairs of these places. */
function pairs(places: readonly Place[]): (readonly [Place, Place])[] {
  return places.flatMap((a) => places.filter((b) => b !== a).map((b) => [a, b] as const));
}

/** Who shall reach whom. */
async function proveAll(speakers: Speakers): Promise<Proof[]> {
  const everybody: readonly Place[] = [...hosts, ...residents, router];
  const leg = [...hosts, onLan].flatMap((other) => [[secondLeg, other] as const, [other, secondLeg] as const]);
  const proofs: Proof[] = [];
  for (const family of families) {
    // a machine's programs leave the choice among its addresses to its kernel
    const own = (place: Place): readonly Place[] =>
      speakers.guests.has(place.namespace)
        ? [...everybody, secondLeg].filter((p) => p.namespace === place.namespace)
        : [place];
    const works = async (from: Place, to: Place, translated?: string): Promise<void> => {
      const seenAs = translated === undefined ? own(from).map((p) => p.ips[family]) : [translated];
      proofs.push(...(await prove(speakers, spot(from, family), spot(to, family), "works", seenAs)));
    };
    const withoutWay = async (from: Place, to: Place): Promise<void> => {
      proofs.push(...(await prove(speakers, spot(from, family), spot(to, family), "fails")));
    };
    for (const [from, to] of [...pairs(everybody), ...leg]) await works(from, to);
    for (const r of residents) {
      if (r.net === open) {
        await works(r, outside);
        await works(outside, r);
        continue;
      }
      // IPv4 is translated; IPv6 has public addresses for who shall be seen outside
      if (family === 0) await works(r, outside, "198.51.100.1");
      else await withoutWay(r, outside);
      await withoutWay(outside, r);
    }
  }
  return proofs;
}

function mtuOf(world: World): number {
  return world.link("host-a", "tun1").mtu;
}

/** Whole packets: on one host, between two, to the router. */
async function proveWholePackets(speakers: Speakers): Promise<Proof[]> {
  const named = new Map<string, Place>([...residents, router].map((p) => [p.name, p]));
  const ways = [
    ["app-a", "vm-a"],
    ["app-a", "vm-b"],
    ["app-b", "router"],
    ["vm-c", "app-a"],
  ] as const;
  const proofs: Proof[] = [];
  for (const [a, b] of ways) {
    const [from, to] = [named.get(a), named.get(b)];
    if (from === undefined || to === undefined) continue;
    for (const family of families)
      proofs.push(...(await proveWhole(speakers, spot(from, family), spot(to, family), mtuOf(speakers.world))));
  }
  return proofs;
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
function remains(world: World, inNamespaces: readonly string[]): Proof[] {
  const links = inNamespaces.map((namespace) => {
    const left = listLinks(world.netlink(namespace)).filter((l) => l.name === "eth0" || l.name === "eth1");
    return proveNone(
      `${namespace}: links`,
      left.map((l) => l.name),
    );
  });
  const state = hosts.flatMap(({ namespace }) => [
    proveNone(`${namespace}: routes and neighbours of Berth's`, traces(world, namespace)),
    proveNone(
      `${namespace}: access links and macvtaps`,
      listLinks(world.netlink(namespace)).flatMap((l) => (/^(berth|tap)-/u.test(l.name) ? [l.name] : [])),
    ),
    proveNone(`${namespace}: records and device nodes`, [
      ...filesIn(`${stateOf(namespace, "/run/berth")}/attachments`),
      ...filesIn(`${stateOf(namespace, "/run/berth")}/taps`, /./u),
    ]),
  ]);
  return [...links, ...state];
}

/** Runs the virtual machines, all at once; they end with the stack. Throws `Failure`. */
async function run(machines: Machinery, stack: AsyncDisposableStack): Promise<Machine[]> {
  const started = machinePlans.map((plan) => stack.use(new Machine(plan, machines)));
  for (const machine of started) await machine.ready();
  return started;
}

function inIndent(text: string): string {
  return text.replaceAll(/^(?=.)/gmu, "    ");
}

/** Plays the story; the exit status: 0 where every proof held. `pid` is this process's number outside. */
export async function tunnels(options: LabOptions, pid: string): Promise<number> {
  const kind = options.tunnel ?? "gretap";
  const say = (text: string): void => {
    if (!options.json) console.log(text);
  };
  const qemu = options.vm === undefined ? undefined : await machinery(options.vm);
  const isMachine = (name: string): boolean => qemu !== undefined && machinePlans.some((m) => m.name === name);
  const inNamespaces = residents.map((r) => r.namespace).filter((name) => !isMachine(name));
  const called = attachments.filter((a) => !isMachine(a.container));
  using world = new World();
  await using stack = new AsyncDisposableStack();
  build(world, kind, inNamespaces);
  say(
    "Two hosts without a way to the internet of their own, each with a tunnel to a router. On the tunnels sit virtual",
  );
  say(
    `machines (${qemu === undefined ? "a namespace each" : "QEMU's"}, on a macvtap) and apps, with internal and with public addresses.\n`,
  );
  say(tunnelsPicture(kind, mtuOf(world)));

  say(
    `\n1. Each ${qemu === undefined ? "" : "app "}is attached by a CNI call on its host, as ${called[0]?.container} on ${called[0]?.host}:\n`,
  );
  say(inIndent(JSON.stringify(JSON.parse(called[0]?.configuration ?? "{}"), null, 2)));
  const results: unknown[] = called.map((a) => JSON.parse(callPlugin({ verb: "ADD", ...a })));
  if (qemu !== undefined) {
    say(`\n  Each virtual machine (${qemu.description}) is run on its host, with such networks, by\n`);
    say(`    berth vm run --config FILE … --name NAME -- ${QEMU} … -netdev tap,id=n0,fd={fd}`);
    say("\n  and is given the addresses and the way to its host that are its own matter, by the commands of\n");
    say("    berth vm guest --name NAME");
  }
  const machines = qemu === undefined ? [] : await run(qemu, stack);
  const speakers: Speakers = { world, guests: new Map(machines.map((m) => [m.name, m.guest])) };
  const state = Object.fromEntries(hosts.map(({ namespace }) => [namespace, traces(world, namespace)]));
  for (const [host, lines] of Object.entries(state)) {
    say(`\n  on ${host}, for its agent:`);
    for (const line of lines) say(`    ${line}`);
  }

  say("\n2. Who reaches whom, from the row to the column, by ICMP and TCP over IPv4 and IPv6:\n");
  const proofs = await proveAll(speakers);
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
  const whole = await proveWholePackets(speakers);
  if (!options.json) show(whole);
  for (const a of called) callPlugin({ verb: "CHECK", ...a });
  if (qemu !== undefined) for (const { namespace } of hosts) berthOn(namespace, "check");
  say("  ✔ CHECK: everything is as it was planned");

  if (options.keep) {
    const user = qemu === undefined ? "--user " : "";
    const enter = `nsenter --target ${pid} ${user}--net --mount --pid --preserve-credentials`;
    say(`\nIt stands until you press Ctrl-C. Enter it from another terminal:\n\n    ${enter}\n`);
    if (options.json) console.log(JSON.stringify({ enter, results, state, proofs, whole }));
    await untilInterrupted();
  }

  say(`\n4. Detached${qemu === undefined ? "" : "; the virtual machines ended"}:\n`);
  for (const a of called) callPlugin({ verb: "DEL", ...a });
  for (const machine of machines) await machine.end();
  const left = remains(world, inNamespaces);
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
