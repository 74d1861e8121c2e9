// Talking between places of a lab: namespaces, in which this process opens sockets, and virtual machines, whose programs do.
import { parseIp } from "../address/ip.ts";
import { type Answer, ping, type PingOptions } from "../kernel/icmp.ts";
import { answering, ask, type ConnectOptions, type Exchange, exchange } from "../kernel/tcp.ts";
import type { Guest } from "./guest.ts";
import type { World } from "./world.ts";

/** Where servers of proofs listen. */
export const PORT = 7000;

/** A place in the lab. */
export interface Spot {
  /** As the story calls it. */
  readonly name: string;
  /** Where it is; of a virtual machine that is one, its name. */
  readonly namespace: string;
  readonly ip: string;
}

/** The places of a lab, as far as they talk. */
export interface Speakers {
  readonly world: World;
  /** Virtual machines by the name of the namespace that would stand for them. */
  readonly guests: ReadonlyMap<string, Guest>;
}

function seconds({ timeoutMs = 1000 }: { readonly timeoutMs?: number }): number {
  return Math.ceil(timeoutMs / 1000);
}

/** One echo request from a place, as `ping` of the kernel's floor. */
export async function pingFrom(
  { world, guests }: Speakers,
  from: Spot,
  to: string,
  options: PingOptions,
): Promise<Answer> {
  const guest = guests.get(from.namespace);
  if (guest === undefined) return ping(world.at(from.namespace), to, options);
  const { source, size = 56, dontFragment = false } = options;
  const flags = [
    `-n -c 1 -W ${seconds(options)} -s ${size}`,
    ...(source === undefined ? [] : [`-I ${source}`]),
    ...(dontFragment ? ["-M do"] : []),
  ];
  const { exitCode, output } = await guest.agent.run(`ping ${flags.join(" ")} ${to}`);
  const time = /time=([\d.]+) ms/u.exec(output)?.[1];
  if (exitCode === 0 && time !== undefined) return { ok: true, milliseconds: Number(time) };
  const why = output.split("\n").find((l) => /rror|nreachable|too long/u.test(l));
  return { ok: false, why: why?.trim() ?? `no reply within ${seconds(options)} s` };
}

/** Asks from a guest; the kernel there chooses the source address. */
async function askFromGuest(guest: Guest, to: string, options: ConnectOptions): Promise<Exchange> {
  const start = performance.now();
  const { output } = await guest.agent.run(`echo question | nc -w ${seconds(options)} ${to} ${PORT} 2>&1`);
  const said = output.trim().split("\n").at(-1) ?? "";
  const peer = parseIp(said);
  if (peer === undefined) return { ok: false, why: said === "" ? "no answer" : said };
  return { ok: true, milliseconds: performance.now() - start, peer };
}

/** A TCP connection between two places, and the address that the server saw. */
export async function connectBetween(
  { world, guests }: Speakers,
  from: Spot,
  to: Spot,
  options: ConnectOptions,
): Promise<Exchange> {
  const [client, server] = [guests.get(from.namespace), guests.get(to.namespace)];
  if (client === undefined && server === undefined)
    return exchange(world.at(from.namespace), world.at(to.namespace), to.ip, PORT, options);
  if (client === undefined) return ask(world.at(from.namespace), to.ip, PORT, options);
  if (server !== undefined) return await askFromGuest(client, to.ip, options);
  return await answering(world.at(to.namespace), to.ip, PORT, async () => await askFromGuest(client, to.ip, options));
}
