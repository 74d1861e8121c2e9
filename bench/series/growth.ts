// Whether an ADD takes longer where there is much already: attachments on the host, or reservations in the range.
import { mkdirSync, writeFileSync } from "node:fs";
import { addNamedNamespace, deleteNamedNamespace } from "../../src/kernel/namespaces.ts";
import { Attachment } from "../calls.ts";
import { networkConfig, type Plugin } from "../plugins.ts";
import { inPairs } from "../pairs.ts";
import { kernelParts } from "./bounds.ts";
import { type Bench, prepare, type Row, type Series, targetAt } from "../series.ts";
import { summarize } from "../statistics.ts";

/** So many processes make attachments at a time. */
const PARALLEL = 4;
const MAX_PAIRS = 30;
/** A size's pairs take no longer, seconds. */
const LIMIT_S = 15;

const median = (values: readonly number[]): number => summarize(values)?.median ?? Number.NaN;

function nameOf({ side }: Plugin): "Berth's" | "peer's" {
  return side === "berth" ? "Berth's" : "peer's";
}

/** Makes attachments, a namespace each, until there are so many; the sides take turns. */
async function fill(bench: Bench, from: number, to: number, names: string[]): Promise<void> {
  const waiting: (() => Promise<unknown>)[] = [];
  for (let n = from; n < to; n++) {
    const containerId = `growth-${n}`;
    const netns = addNamedNamespace(containerId);
    names.push(containerId);
    const plugin = bench.plugins[n % bench.plugins.length];
    if (plugin === undefined) continue;
    const config = networkConfig(plugin.side, "growth", bench.parent);
    waiting.push(() => new Attachment(plugin, { containerId, netns }, config).add());
  }
  const workers = Array.from({ length: PARALLEL }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await next();
  });
  await Promise.all(workers);
}

/** ADDs in pairs, each undone at once. */
async function adds(bench: Bench, label: string, pairs: number): Promise<Map<Plugin, number[]>> {
  const at = prepare(bench, label, 1);
  const { add } = await inPairs(
    bench.plugins,
    { pairs, warmUp: 0, limitS: LIMIT_S },
    {
      add: async (plugin) => {
        const { wall } = await at(plugin, 0).add();
        await at(plugin, 0).del();
        return wall;
      },
    },
  );
  return new Map(bench.plugins.map((plugin) => [plugin, add[plugin.side]]));
}

/** A row of one side: its ADDs in a large world beside its ADDs in a small one. */
function growthRow(
  name: string,
  beside: string,
  end: readonly number[],
  start: readonly number[],
  target?: number,
): Row {
  const pairs = Math.min(end.length, start.length); // a large world has fewer where the machine is slow
  const [berth, peer] = [end.slice(0, pairs), start.slice(0, pairs)];
  return { name, unit: "ms", beside, berth, peer, ...(target === undefined ? {} : { target }) };
}

async function attachments(bench: Bench): Promise<Row[]> {
  const pairs = Math.min(MAX_PAIRS, bench.count.pairs);
  const names: string[] = [];
  const rows: Row[] = [];
  const start = await adds(bench, "start", pairs);
  const kernelStart = kernelParts(bench, "kernel-none", pairs).add;
  let present = 0;
  for (const size of bench.sizes.host) {
    await fill(bench, present, size, names);
    present = size;
    const now = await adds(bench, `with-${size}`, pairs);
    for (const plugin of bench.plugins) {
      const who = nameOf(plugin);
      const [values, first] = [now.get(plugin) ?? [], start.get(plugin) ?? []];
      const { target } = plugin.side === "berth" ? targetAt(size, "host", 1.3) : {};
      rows.push(growthRow(`${who} ADD with ${size} attachments / with none`, "with none", values, first, target));
    }
    const kernel = kernelParts(bench, `kernel-${size}`, pairs).add;
    rows.push(growthRow(`the kernel's part with ${size} attachments / with none`, "with none", kernel, kernelStart));
    const grown = median(kernel) - median(kernelStart);
    for (const plugin of size === bench.sizes.host.at(-1) ? bench.plugins : []) {
      const first = start.get(plugin) ?? [];
      const least = first.map((ms) => ms + grown);
      const name = `bound: ${nameOf(plugin)} ADD with ${size} attachments, if only the kernel's part grew / with none`;
      rows.push(growthRow(name, "with none", least, first));
    }
  }
  // the links go with their namespaces, and nobody waits for each
  for (const name of names) deleteNamedNamespace(name);
  return rows;
}

/** A network's reservations as host-local keeps them: so many from the first address on, all but the last few. */
function reserve(side: Plugin["side"], network: string, count: number): void {
  const directory = `/var/lib/bench-${side}/${network}-${side}`;
  mkdirSync(directory, { recursive: true });
  const subnet = side === "berth" ? "10.91" : "10.92";
  let last = "";
  for (let n = 0; n < count; n++) {
    last = `${subnet}.${1 + (n >> 8)}.${n & 0xff}`;
    writeFileSync(`${directory}/${last}`, `other-${n}\r\neth0`);
  }
  writeFileSync(`${directory}/last_reserved_ip.0`, last);
}

async function reservations(bench: Bench): Promise<Row[]> {
  const pairs = Math.min(MAX_PAIRS, bench.count.pairs);
  const { reserved } = bench.sizes;
  const none = await adds(bench, "few", pairs);
  for (const plugin of bench.plugins) reserve(plugin.side, "full", reserved);
  const many = await adds(bench, "full", pairs);
  return bench.plugins.map((plugin) => {
    const who = nameOf(plugin);
    const { target } = plugin.side === "berth" ? targetAt(reserved, "reserved", 1.3) : {};
    const [values, first] = [many.get(plugin) ?? [], none.get(plugin) ?? []];
    return growthRow(`${who} ADD with ${reserved} reservations / with none`, "with none", values, first, target);
  });
}

/** How ADD grows. */
export const growth: readonly Series[] = [
  { name: "attachments on the host", run: attachments },
  { name: "reservations in the range", run: reservations },
];

/** The points of a growth curve: attachments on the host, and the median ADD, or the kernel's part of one, in ms. */
export function curveOf(
  rows: readonly Row[],
  who: "Berth's" | "peer's" | "the kernel's",
): { readonly size: number; readonly ms: number }[] {
  return rows.flatMap((row) => {
    const found = new RegExp(`^${who} (?:ADD|part) with (\\d+) attachments`, "u").exec(row.name);
    return found === null ? [] : [{ size: Number(found[1]), ms: median(row.berth) }];
  });
}
