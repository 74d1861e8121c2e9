// Proofs: what must work, or must not, between two places of a lab, by ICMP and by TCP.
import { readdirSync } from "node:fs";
import { ipFamily } from "../address/ip.ts";
import { ping } from "../kernel/icmp.ts";
import { findLinkByIndex, listLinks } from "../kernel/links.ts";
import { listNeighbours } from "../kernel/neighbours.ts";
import { RTPROT_BERTH } from "../kernel/protocol.ts";
import { describeRoute, listRoutes } from "../kernel/routes.ts";
import { exchange } from "../kernel/tcp.ts";
import type { World } from "./world.ts";

/** A place in the lab. */
export interface Spot {
  /** As the story calls it. */
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
}

/** A proof and what came of it. */
export interface Proof {
  readonly from: string;
  readonly to: string;
  readonly by: "ICMP" | "TCP" | "state";
  /** What should be. */
  readonly expected: "works" | "fails";
  /** Whether it was so. */
  readonly held: boolean;
  readonly detail: string;
}

/**
 * Pings, and where it should work exchanges bytes by TCP and looks at the source address that the other side saw.
 * @param seenAs the address that it should see; absent: the place's own
 */
export function prove(
  world: World,
  from: Spot,
  to: Spot,
  expected: Proof["expected"],
  seenAs: string = from.ip,
): Proof[] {
  const [a, b] = [world.at(from.namespace), world.at(to.namespace)];
  const names = { from: `${from.name} ${from.ip}`, to: `${to.name} ${to.ip}`, expected };
  const by = { source: from.ip, timeoutMs: expected === "works" ? 2000 : 700 };
  const icmp = ping(a, to.ip, by);
  const first: Proof = {
    ...names,
    by: "ICMP",
    held: icmp.ok === (expected === "works"),
    detail: icmp.ok ? `reply in ${icmp.milliseconds.toFixed(2)} ms` : icmp.why,
  };
  const tcp = exchange(a, b, to.ip, 7000, by);
  const seen = tcp.ok && tcp.peer === seenAs;
  const second: Proof = {
    ...names,
    by: "TCP",
    held: expected === "works" ? seen : !tcp.ok,
    detail: tcp.ok ? `both ways in ${tcp.milliseconds.toFixed(2)} ms, seen as coming from ${tcp.peer}` : tcp.why,
  };
  return [first, second];
}

/** Pings with the largest packet that a link's MTU allows, in one piece, and with one byte more, which must not pass. */
export function proveWhole(world: World, from: Spot, to: Spot, mtu: number): Proof[] {
  const headers = ipFamily(to.ip) === 4 ? 28 : 48; // IP's and ICMP's
  const names = { from: `${from.name} ${from.ip}`, to: `${to.name} ${to.ip}`, by: "ICMP" } as const;
  return [mtu, mtu + 1].map((size) => {
    const expected = size === mtu ? "works" : "fails";
    const whole = { source: from.ip, size: size - headers, dontFragment: true, timeoutMs: 2000 };
    const answer = ping(world.at(from.namespace), to.ip, whole);
    const came = answer.ok ? `reply in ${answer.milliseconds.toFixed(2)} ms` : answer.why;
    return { ...names, expected, held: answer.ok === (expected === "works"), detail: `${size} bytes whole: ${came}` };
  });
}

/** A state that should be: a list that should be empty. */
export function proveNone(what: string, left: readonly string[]): Proof {
  return {
    from: what,
    to: "",
    by: "state",
    expected: "works",
    held: left.length === 0,
    detail: left.length === 0 ? "nothing left" : left.join("; "),
  };
}

/** Prints proofs, a line each. */
export function show(proofs: readonly Proof[]): void {
  for (const p of proofs) {
    const mark = p.held ? "✔" : "✘ NOT AS EXPECTED:";
    if (p.by === "state") console.log(`  ${mark} ${p.from}: ${p.detail}`);
    else console.log(`  ${mark} ${p.from} → ${p.to}  ${p.by.padEnd(4)}  ${p.detail}`);
  }
}

/** Berth's routes and neighbours in a namespace, in words. */
export function traces(world: World, namespace: string): string[] {
  const nl = world.netlink(namespace);
  const routes = listRoutes(nl, { family: 4, protocol: RTPROT_BERTH }).map((r) => {
    const link = findLinkByIndex(nl, r.linkIndex ?? 0)?.name ?? "?";
    return `route      ${describeRoute({ dst: r.dst, table: r.table }, link)}${r.source === undefined ? "" : ` src ${r.source}`}`;
  });
  const entries = listLinks(nl).flatMap((l) =>
    listNeighbours(nl, l.index)
      .filter((n) => n.protocol === RTPROT_BERTH)
      .map((n) => `neighbour  ${n.ip} dev ${l.name} lladdr ${n.mac ?? "?"} permanent`),
  );
  return [...routes, ...entries];
}

/** The reservations or records in a directory. */
export function filesIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter((f) => /^[\da-f.:]+$|\.json$/u.test(f) && f !== ".berth");
  } catch {
    return []; // it was never made
  }
}
