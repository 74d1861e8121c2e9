// Proofs: what must work, or must not, between two places of a lab, by ICMP and by TCP.
import { ping } from "../kernel/icmp.ts";
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

/** Pings, and where it should work exchanges bytes by TCP and looks at the source address that the other side saw. */
export function prove(world: World, from: Spot, to: Spot, expected: Proof["expected"]): Proof[] {
  const [a, b] = [world.at(from.namespace), world.at(to.namespace)];
  const names = { from: `${from.name} ${from.ip}`, to: `${to.name} ${to.ip}`, expected };
  const icmp = ping(a, to.ip, { timeoutMs: expected === "works" ? 2000 : 700 });
  const first: Proof = {
    ...names,
    by: "ICMP",
    held: icmp.ok === (expected === "works"),
    detail: icmp.ok ? `reply in ${icmp.milliseconds.toFixed(2)} ms` : icmp.why,
  };
  const tcp = exchange(a, b, to.ip, 7000, { timeoutMs: expected === "works" ? 2000 : 700 });
  const seen = tcp.ok && tcp.peer === from.ip;
  const second: Proof = {
    ...names,
    by: "TCP",
    held: expected === "works" ? seen : !tcp.ok,
    detail: tcp.ok ? `both ways in ${tcp.milliseconds.toFixed(2)} ms, seen as coming from ${tcp.peer}` : tcp.why,
  };
  return [first, second];
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
