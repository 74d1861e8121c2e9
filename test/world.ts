// Worlds for tests: the `ip` program of iproute2 as a second opinion on Berth's own netlink, and whole states to compare.
import { Attributes } from "../src/kernel/attributes.ts";
import { ping } from "../src/kernel/icmp.ts";
import { findLink, newVethPair } from "../src/kernel/links.ts";
import { namedNamespacePath, temporaryNamespace } from "../src/kernel/namespaces.ts";
import type { Netlink } from "../src/kernel/netlink.ts";
import { HOST, World } from "../src/lab/world.ts";

export { HOST } from "../src/lab/world.ts";

/** A value of parsed JSON. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A namespace's network state without what changes by itself: comparable with toEqual. */
export interface Snapshot {
  readonly links: Json[];
  readonly addresses: Json[];
  readonly routes4: Json[];
  readonly routes6: Json[];
  readonly rules4: Json[];
  readonly rules6: Json[];
  /** Every setting for all links and for new ones, and of forwarding, as `path:value`. */
  readonly sysctls: string[];
  /** The settings of each link, as `link family number:value`; their numbers are in linux/ip.h (from 1) and linux/ipv6.h. */
  readonly settings: string[];
  readonly neighbours: Json[];
}

/** A shell's script that prints a namespace's state: eight answers of `ip` as JSON, a line each, and then the sysctls for all links that govern addresses, ARP, neighbour discovery and forwarding. */
const STATE = `
  printf '%s\\n' 'link show' 'address show' | ip -j -d -batch -
  for family in -4 -6; do
    printf '%s\\n' 'route show table all' 'rule show' 'neighbour show nud permanent' | ip $family -j -d -batch -
  done
  cd /proc/sys/net
  grep -r --exclude=stable_secret . ipv4/conf/all ipv4/conf/default ipv6/conf/all ipv6/conf/default ipv4/ip_forward
`;

/** What the kernel changes by itself, or numbers differently for the same thing made twice. */
const volatile =
  /^(ifindex|link_index|link_netnsid|stats|stats64|operstate|expires|used|refcnt|probes|confirmed|updated)$|_life_time$|_timer$/u;
/** Link flags that follow the other end of the cable, and an address's flag while it is being checked. */
const volatileFlags = new Set(["LOWER_UP", "NO-CARRIER", "M-DOWN"]);

function normalise(value: Json): Json {
  if (Array.isArray(value)) return value.filter((v) => typeof v !== "string" || !volatileFlags.has(v)).map(normalise);
  if (value === null || typeof value !== "object") return value;
  const kept = Object.entries(value).filter(([key]) => !volatile.test(key));
  return Object.fromEntries(kept.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, normalise(v)]));
}

function sorted(list: Json[] = []): Json[] {
  return list
    .map((v) => normalise(v))
    .map((v) => [JSON.stringify(v), v] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, v]) => v);
}

const RTM_GETLINK = 18;
const IFINFOMSG = 16;
const IFLA_IFNAME = 3;
const IFLA_AF_SPEC = 26;
const AF_INET = 2;
/** Family, and the attribute with its settings (IFLA_INET_CONF, IFLA_INET6_CONF). */
const families = [
  ["IPv4", AF_INET, 1],
  ["IPv6", 10, 2],
] as const;

/** What /proc/sys/net has of each link, in one answer of the kernel: there are some ninety files a link, which take long to read one by one. */
function settings(nl: Netlink): string[] {
  const links = nl.dump({ what: "list settings", type: RTM_GETLINK, flags: 0, body: new Uint8Array(IFINFOMSG) });
  return links
    .flatMap((payload) => {
      const link = new Attributes(payload, IFINFOMSG);
      const spec = link.nested(IFLA_AF_SPEC);
      return families.flatMap(([name, family, attribute]) => {
        const bytes = spec.nested(family).bytes(attribute) ?? new Uint8Array();
        const first = family === AF_INET ? 1 : 0;
        return [...new Int32Array(bytes.slice().buffer)].map(
          (value, i) => `${link.string(IFLA_IFNAME)} ${name} ${i + first}:${value}`,
        );
      });
    })
    .toSorted();
}

function environment(env: Record<string, string>): Record<string, string> {
  const all: Record<string, string> = {};
  for (const [k, v] of Object.entries({ ...process.env, ...env })) if (v !== undefined) all[k] = v;
  return all;
}

/** Waits until something holds; it is asked every 20 ms. Throws where it does not come to hold in time. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds());) {
    if (performance.now() > end) throw new Error(`waited ${limitMs / 1000} s in vain: ${what}`);
    await Bun.sleep(20);
  }
}

/**
 * Waits until the kernel has taken apart all namespaces that have ended by now, which it does some time after: until then a
 * link in one of them keeps its parent promiscuous. It takes them apart in the order of their ends, so that it is done when one
 * more has gone: the other end of a cable into that goes with it.
 */
function clearedAway(): void {
  using near = temporaryNamespace();
  using nl = near.netlink();
  {
    using far = temporaryNamespace();
    nl.do(newVethPair("near", "far", far.fd));
  }
  for (const end = performance.now() + 20_000; findLink(nl, "near") !== undefined; Bun.sleepSync(2)) {
    if (performance.now() > end) throw new Error("waited 20 s in vain: the kernel takes a namespace apart");
  }
}

/** A world whose states can be looked at with `ip`. */
export class TestWorld extends World {
  /** Pings once, by Berth's own ICMP as a minimal Debian has no program for it. Throws with the reason where nobody answers for 2 s. */
  ping(from: string, to: string): void {
    const answer = ping(this.at(from), to, { timeoutMs: 2000 });
    if (!answer.ok) throw new Error(`ping ${to} from ${from === HOST ? "the host" : from}: ${answer.why}`);
  }

  /** What `ip ARGS` prints of a namespace. Throws with its error text. */
  ip(namespace: string, args: string): string {
    const where = namespace === HOST ? [] : ["-n", namespace];
    return this.run(["ip", ...where, ...args.split(" ").filter((a) => a !== "")]);
  }

  /** What `ip -j -d ARGS` prints, parsed: a list of objects. */
  ipJson(namespace: string, args: string): Record<string, Json>[] {
    const text = this.ip(namespace, `-j -d ${args}`).trim();
    return text === "" ? [] : (JSON.parse(text) as Record<string, Json>[]).filter((o) => Object.keys(o).length > 0);
  }

  /** Runs a program, on the host where no namespace is named; its output. Throws with its error text where it fails. */
  run(argv: readonly string[]): string;
  run(namespace: string, argv: readonly string[], env?: Record<string, string>, stdin?: string): string;
  run(
    first: string | readonly string[],
    second: readonly string[] = [],
    env: Record<string, string> = {},
    stdin = "",
  ): string {
    const [namespace, argv] = typeof first === "string" ? [first, second] : [HOST, first];
    // by nsenter: this thread must not start processes while it is in another namespace
    const enter = namespace === HOST ? [] : ["nsenter", `--net=${namedNamespacePath(namespace)}`, "--"];
    const r = Bun.spawnSync([...enter, ...argv], { env: environment(env), stdin: Buffer.from(stdin) });
    if (r.exitCode === 0) return r.stdout.toString();
    throw new Error(`${argv.join(" ")}: exit ${r.exitCode}: ${r.stderr.toString()}${r.stdout.toString()}`);
  }

  /**
   * The state of a namespace: links, addresses, the routes of all tables, rules, sysctls, permanent neighbours. Without lifetimes,
   * statistics, indexes, carrier and dynamic neighbours, and sorted. Waits until what has ended is gone, and up to 20 s until no address
   * is tentative and the state stands still.
   */
  snapshot(namespace: string): Snapshot {
    clearedAway();
    let before = "";
    for (const end = performance.now() + 20_000; ;) {
      const state = this.#read(namespace);
      const text = JSON.stringify(state);
      const still = text === before && !text.includes('"tentative":true');
      if (still || performance.now() > end) return state;
      before = text;
      Bun.sleepSync(100); // what the kernel does later than it was told to takes some time on a busy machine
    }
  }

  // by one process, as a machine that is emulated takes long to start one
  #read(namespace: string): Snapshot {
    const lines = this.run(namespace, ["sh", "-e", "-c", STATE]).trim().split("\n");
    const [links, addresses, routes4, rules4, neighbours4, routes6, rules6, neighbours6] = lines
      .slice(0, 8)
      .map((line) => (JSON.parse(line) as Json[]).filter((o) => Object.keys(o ?? {}).length > 0));
    return {
      links: sorted(links),
      addresses: sorted(addresses),
      routes4: sorted(routes4),
      routes6: sorted(routes6),
      rules4: sorted(rules4),
      rules6: sorted(rules6),
      sysctls: lines.slice(8).toSorted(),
      settings: settings(this.netlink(namespace)),
      neighbours: [...sorted(neighbours4), ...sorted(neighbours6)],
    };
  }
}
