// Proofs: what must work, or must not, between two places of a lab, by ICMP and by TCP.
import { readdirSync } from "node:fs";
import { ipFamily } from "../address/ip.ts";
import { findLinkByIndex, listLinks } from "../kernel/links.ts";
import { listNeighbours } from "../kernel/neighbours.ts";
import { RTPROT_BERTH } from "../kernel/protocol.ts";
import { describeRoute, listRoutes } from "../kernel/routes.ts";
import { connectBetween, pingFrom, type Speakers, type Spot } from "./talk.ts";
import type { World } from "./world.ts";

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
 * @param seenAs the addresses of which it should see one; absent: the place's own
 */
export async function prove(
  speakers: Speakers,
  from: Spot,
  to: Spot,
  expected: Proof["expected"],
  seenAs: readonly string[] = [from.ip],
): Promise<Proof[]> {
  const names = { from: `${from.name} ${from.ip}`, to: `${to.name} ${to.ip}`, expected };
  const by = { source: from.ip, timeoutMs: expected === "works" ? 2000 : 700 };
  const icmp = await pingFrom(speakers, from, to.ip, by);
  const first: Proof = {
    ...names,
    by: "ICMP",
    held: icmp.ok === (expected === "works"),
    detail: icmp.ok ? `reply in ${icmp.milliseconds.toFixed(2)} ms` : icmp.why,
  };
  const tcp = await connectBetween(speakers, from, to, by);
  const seen = tcp.ok && seenAs.includes(tcp.peer);
  const second: Proof = {
    ...names,
    by: "TCP",
    held: expected === "works" ? seen : !tcp.ok,
    detail: tcp.ok ? `both ways in ${tcp.milliseconds.toFixed(2)} ms, seen as coming from ${tcp.peer}` : tcp.why,
  };
  return [first, second];
}

/** Pings with the largest packet that a link's MTU allows, in one piece, and with one byte more, which must not pass. */
export async function proveWhole(speakers: Speakers, from: Spot, to: Spot, mtu: number): Promise<Proof[]> {
  const headers = ipFamily(to.ip) === 4 ? 28 : 48; // IP's and ICMP's
  const names = { from: `${from.name} ${from.ip}`, to: `${to.name} ${to.ip}`, by: "ICMP" } as const;
  const proofs: Proof[] = [];
  for (const size of [mtu, mtu + 1]) {
    const expected = size === mtu ? "works" : "fails";
    const whole = { source: from.ip, size: size - headers, dontFragment: true, timeoutMs: 2000 };
    const answer = await pingFrom(speakers, from, to.ip, whole);
    const came = answer.ok ? `reply in ${answer.milliseconds.toFixed(2)} ms` : answer.why;
    const held = answer.ok === (expected === "works");
    proofs.push({ ...names, expected, held, detail: `${size} bytes whole: ${came}` });
  }
  return proofs;
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

/** The files in a directory whose names are like this: by default reservations, and records. */
export function filesIn(directory: string, like = /^[\da-f.:]+$|\.json$/u): string[] {
  try {
    return readdirSync(directory).filter((f) => like.test(f) && f !== ".berth");
  } catch {
    return []; // it was never made
  }
}
