// One process for many: berth up and berth down, beside the peer's process for each.
import { writeFileSync } from "node:fs";
import { deleteLink, findLink } from "../../src/kernel/links.ts";
import {
  addNamedNamespace,
  deleteNamedNamespace,
  namedNamespacePath,
  openNamespace,
} from "../../src/kernel/namespaces.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { Attachment } from "../calls.ts";
import { type Config, networkConfig, type Plugin } from "../plugins.ts";
import { type Bench, prepare, type Row, type Series, targetAt } from "../series.ts";
import { kernelAdd } from "./bounds.ts";

const SITE = "/run/bench-site.yaml";
const TIMES = 3;
/** So many attachments have IPv6 too; the peer's take seconds each. */
const WITH_IPV6 = 400;
/** So many namespaces are open at a time, two descriptors each. */
const TOGETHER = 400;

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Of each family an address: the kernel looks for one to two seconds whether somebody else has the one of IPv6. */
function bothFamilies({ side }: Plugin): Config {
  const [four, six] = side === "berth" ? ["10.91", "fd91"] : ["10.92", "fd92"];
  return {
    type: "host-local",
    ranges: [[{ subnet: `${four}.0.0/16`, rangeStart: `${four}.1.0` }], [{ subnet: `${six}::/64` }]],
    dataDir: `/var/lib/bench-${side}`,
  };
}

/** Writes a site of a network in these namespaces. */
function writeSite(names: readonly string[], config: Config): void {
  const { name: _, ...network } = config;
  const attachments = names.map((netns) => ({ network: "site", netns }));
  writeFileSync(SITE, JSON.stringify({ networks: { site: network }, attachments })); // JSON is YAML
}

async function command(executable: string, verb: "up" | "down"): Promise<number> {
  const start = performance.now();
  const p = Bun.spawn([executable, verb, "--json", SITE], { argv0: "berth", stdout: "ignore", stderr: "pipe" });
  const [said, exitCode] = await Promise.all([p.stderr.text(), p.exited]);
  if (exitCode !== 0) throw new Error(`berth ${verb} ${SITE}: exit status ${exitCode}: ${said}`);
  return performance.now() - start;
}

/** What an ADD asks of the kernel, once in each of these namespaces: milliseconds each. The links are gone afterwards. */
function kernelOf(bench: Bench, names: readonly string[]): number {
  const host = bench.world.netlink("");
  const parent = findLink(host, bench.parent);
  if (parent === undefined) throw new Error(`there is no ${bench.parent}`);
  let spent = 0;
  for (const name of names) {
    using namespace = openNamespace(namedNamespacePath(name));
    using nl = namespace.netlink();
    const start = performance.now();
    kernelAdd(host, nl, namespace, parent);
    spent += performance.now() - start;
  }
  for (let at = 0; at < names.length; at += TOGETHER) {
    using stack = new DisposableStack();
    const requests = names.slice(at, at + TOGETHER).map((name) => {
      const nl = stack.use(stack.use(openNamespace(namedNamespacePath(name))).netlink());
      return { nl, request: deleteLink(findLink(nl, "eth0")?.index ?? 0, "eth0") };
    });
    Netlink.together(requests);
  }
  return spent / names.length;
}

async function upAndDown(bench: Bench): Promise<Row[]> {
  const berth = bench.plugins.find((p) => p.side === "berth");
  const peer = bench.plugins.find((p) => p.side === "peer");
  if (berth === undefined) return [];
  const { site: count } = bench.sizes;
  const names = Array.from({ length: count }, (_, n) => `site-${n}`);
  for (const name of names) addNamedNamespace(name);
  writeSite(names, networkConfig("berth", "site", bench.parent));
  const kernel = kernelOf(bench, names);
  const at = prepare(bench, "single", 1);
  const [up, down, add, del]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let i = 0; i < TIMES; i++) {
    // the peer's calls are measured where there are none and where there are all: on average it would meet half of them
    const calls: { add: number[]; del: number[] } = { add: [], del: [] };
    const some = async (): Promise<void> => {
      if (peer === undefined) return;
      for (let n = 0; n < 10; n++) {
        calls.add.push((await at(peer, 0).add()).wall);
        calls.del.push((await at(peer, 0).del()).wall);
      }
    };
    await some();
    up.push((await command(berth.executable, "up")) / count);
    await some();
    down.push((await command(berth.executable, "down")) / count);
    if (peer === undefined) continue;
    add.push(meanOf(calls.add));
    del.push(meanOf(calls.del));
  }
  for (const name of names) deleteNamedNamespace(name);
  return [
    {
      name: `berth up of ${count}: each / peer's ADD`,
      unit: "ms",
      ...targetAt(count, "site", 0.25),
      berth: up,
      peer: add,
    },
    { name: "…, the kernel's part of each / peer's ADD", unit: "ms", berth: up.map(() => kernel), peer: add },
    {
      name: `berth down of ${count}: each / peer's DEL`,
      unit: "ms",
      ...targetAt(count, "site", 0.1),
      berth: down,
      peer: del,
    },
  ];
}

async function upWithIpv6(bench: Bench): Promise<Row[]> {
  const berth = bench.plugins.find((p) => p.side === "berth");
  if (berth === undefined) return [];
  const count = Math.min(bench.sizes.site, WITH_IPV6);
  const names = Array.from({ length: count }, (_, n) => `both-${n}`);
  for (const name of names) addNamedNamespace(name);
  const configOf = (plugin: Plugin): Config =>
    networkConfig(plugin.side, "both", bench.parent, { ipam: bothFamilies(plugin) });
  writeSite(names, configOf(berth));
  const peer = bench.plugins.find((p) => p.side === "peer");
  const target = { containerId: "both-peer", netns: bench.world.namespace("both-peer") };
  const [up, add]: [number[], number[]] = [[], []];
  const times = Math.min(TIMES, Math.ceil(bench.count.pairs / 20)); // each takes seconds
  for (let i = 0; i < times; i++) {
    up.push((await command(berth.executable, "up")) / count);
    await command(berth.executable, "down");
    if (peer === undefined) continue;
    const single = new Attachment(peer, target, configOf(peer));
    add.push((await single.add()).wall);
    await single.del();
  }
  for (const name of names) deleteNamedNamespace(name);
  return [{ name: `berth up of ${count} with IPv6: each / peer's ADD`, unit: "ms", berth: up, peer: add }];
}

/** Many in one process. */
export const bulk: readonly Series[] = [
  { name: "up and down", run: upAndDown },
  { name: "up with IPv6", run: upWithIpv6 },
];
