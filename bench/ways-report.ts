// What is said of the ways between host and task: a report for machines, a table of text, a page of docs/.
import { describeMachine, type Machine } from "./host.ts";
import { ratios, type Summary, summarize } from "./statistics.ts";
import { type Extent, type Metric, metrics, type WayFigures } from "./ways-measure.ts";

/** The ways that the access link is compared with. */
const peers = ["veth", "bridge"] as const;
type Peer = (typeof peers)[number];

/** One way in one metric. */
interface Line {
  readonly way: string;
  readonly summary: Summary;
  /** Of this way's values to the peer's, round by round; absent for a peer itself. */
  readonly ratio?: Readonly<Record<Peer, Summary>>;
}

/** All that was measured, and what follows from it. */
export interface Report {
  readonly machine: Machine;
  readonly extent: Extent;
  readonly metrics: readonly (Metric & { readonly lines: readonly Line[] })[];
  readonly ways: readonly WayFigures[];
}

/** The summary of values, of which there must be some. */
function sure(values: readonly number[]): Summary {
  const summary = summarize(values);
  if (summary === undefined) throw new RangeError("there are no values to summarize");
  return summary;
}

/** Summarizes what was measured; metrics that were not measured are left out. Throws where a way is missing. */
export function reportOf(machine: Machine, extent: Extent, ways: readonly WayFigures[]): Report {
  const valuesOf = (id: Peer, metric: Metric["id"]): number[] => {
    const way = ways.find((w) => w.id === id);
    if (way === undefined) throw new Error(`the ${id} was not measured`);
    return way.values[metric];
  };
  const lineOf = ({ id, name, values }: WayFigures, metric: Metric["id"]): Line => {
    const to = (peer: Peer): Summary => sure(ratios(values[metric], valuesOf(peer, metric)));
    const isPeer = id === "veth" || id === "bridge";
    return {
      way: name,
      summary: sure(values[metric]),
      ...(isPeer ? {} : { ratio: { veth: to("veth"), bridge: to("bridge") } }),
    };
  };
  const measured = metrics.filter((m) => valuesOf("veth", m.id).length > 0);
  return {
    machine,
    extent,
    metrics: measured.map((m) => ({ ...m, lines: ways.map((way) => lineOf(way, m.id)) })),
    ways,
  };
}

const COLUMN = 9;
const cells = (texts: readonly string[]): string => texts.map((t) => t.padStart(COLUMN)).join("");
const group = (title: string): string => title.padStart(3 * COLUMN);
const span = ({ min, median, max }: Summary): string =>
  `**${median.toFixed(2)}** (${min.toFixed(2)}–${max.toFixed(2)})`;
const three = ({ min, median, max }: Summary): string[] => [min, median, max].map((v) => v.toFixed(2));

/** The report as a table of text. */
export function waysText({ machine, extent, metrics: all, ways }: Report): string {
  const width = Math.max(...ways.map((w) => w.name.length)) + 4;
  const line = ({ way, summary, ratio }: Line): string =>
    `  ${way.padEnd(width)}${cells(three(summary))}${peers.map((p) => `  ${cells(ratio === undefined ? [] : three(ratio[p]))}`).join("")}`.trimEnd();
  const head = cells(["min", "median", "max"]);
  return [
    describeMachine(machine),
    `${extent.rounds} rounds after ${extent.warmUp} to warm up; every way once in each round, who goes first changes. Figures depend on what else`,
    "the machine does; the ratios are of values of one round, and are what counts.",
    "",
    `${" ".repeat(width + 2)}${group("measured")}  ${group("ratio to the veth pair")}  ${group("ratio to the bridge")}`,
    `${" ".repeat(width + 2)}${head}  ${head}  ${head}`,
    ...all.flatMap((m) => [`${m.name}, ${m.unit}`, ...m.lines.map(line)]),
    ...ways.flatMap(({ name, bytesPerFrame, onTheLan }) =>
      bytesPerFrame === undefined || onTheLan === undefined
        ? []
        : [`${name}: ${bytesPerFrame.toFixed(0)} bytes a frame; the NIC sent ${onTheLan.toFixed(5)} frames for each`],
    ),
  ].join("\n");
}

/** The one element that is meant; throws where it is missing. */
function find<T>(list: readonly T[], is: (one: T) => boolean): T {
  const found = list.find(is);
  if (found === undefined) throw new Error("a part of the page was not measured");
  return found;
}

/** A table of Markdown; the first row is its head. */
function markdown(rows: readonly (readonly string[])[]): string[] {
  const [head = [], ...rest] = rows.map((row) => `| ${row.join(" | ")} |`);
  return [head, `|${"---|".repeat(rows[0]?.length ?? 0)}`, ...rest].map(String);
}

/** The report as the page of docs/. Throws where streams were not measured. */
export function waysPage({ machine, extent, metrics: all, ways }: Report): string {
  const access = ways.filter((w) => w.id === "macvlan" || w.id === "macvtap");
  const head = access.flatMap((w) => [`task by ${w.id} / veth pair`, `task by ${w.id} / bridge`]);
  const ratioRows = all.map((m) => [
    m.name,
    ...m.lines.flatMap(({ ratio }) => (ratio === undefined ? [] : peers.map((p) => span(ratio[p])))),
  ]);
  const medianRows = all.map((m) => [`${m.name}, ${m.unit}`, ...m.lines.map((l) => l.summary.median.toFixed(1))]);
  const frame = (id: WayFigures["id"]): string => find(ways, (w) => w.id === id).bytesPerFrame?.toFixed(0) ?? "?";
  const onTheLan = Math.max(...access.map((w) => w.onTheLan ?? Number.NaN)).toFixed(4);
  const cut = (id: WayFigures["id"]): string => {
    const { values } = find(ways, (w) => w.id === id);
    return sure(ratios(values.cut, values.out)).median.toFixed(2);
  };
  return [
    "# How fast host access is",
    "",
    "Host and task by Berth's access link, beside a veth pair between them and beside the usual bridge of container runtimes (the",
    "host's address on the bridge, the task's veth pair a port of it), all on one host in one run, MTU 1500. Written by",
    "`npm run bench:ways -- --docs`.",
    "",
    "## Ratios",
    "",
    "Median, and in brackets the smallest and the largest, of the ratios of each round. For streams more than 1 means that the",
    "access link carries more; for round trips less than 1 means that it is quicker.",
    "",
    ...markdown([["", ...head], ...ratioRows]),
    "",
    "## Why",
    "",
    "What the host sends by the access link is looked up by its MAC under the parent and handed to the task's sub-interface in",
    "memory, as between the ends of a veth pair; a bridge looks it up too, and hands it over twice. It comes neither to the",
    `parent's queue nor to the cable: during the streams the parent sent ${onTheLan} frames for each that crossed the access link.`,
    "So nobody need cut it into segments of the MTU, and nobody does: a frame of the streams held",
    `${frame("macvlan")} bytes by macvlan, ${frame("macvtap")} by macvtap, ${frame("veth")} by the veth pair and ${frame("bridge")} by the bridge. A macvlan takes such frames`,
    "whatever its parent's driver can do (`ALWAYS_ON_OFFLOADS` in the kernel's `drivers/net/macvlan.c`).",
    "",
    "That this is what makes them fast is seen where it is taken away: with one segment a frame (`ip link set dev LINK",
    `gso_max_segs 1\`) the median stream is ${cut("macvlan")} of the whole one by macvlan, ${cut("macvtap")} by macvtap, ${cut("veth")} by the veth pair and`,
    `${cut("bridge")} by the bridge.`,
    "",
    "## Medians of this run",
    "",
    `Linux ${/^\d+\.\d+/u.exec(machine.kernel)?.[0] ?? "?"}, ${machine.processors} processors, shared with other work and so noisy: of another run or machine only the ratios`,
    "compare.",
    "",
    ...markdown([["", ...ways.map((w) => w.name)], ...medianRows]),
    "",
    `${extent.rounds} rounds, in each every way once, directly after one another and in changing order. A stream is one of iperf3, of`,
    `${extent.seconds} second. A question and its answer are one byte each on an open connection, ${extent.questions} in a round, both ends held by one`,
    `thread, so that no scheduler comes between; pings are ${extent.echoes} in a round.`,
    "",
  ].join("\n");
}
