// docs/performance.md: what one run measured, and why what misses its target does.
import { targetOf } from "./table.ts";
import type { Row } from "./series.ts";
import type { Trace } from "./series/trace.ts";
import { ratios, type Summary, summarize } from "./statistics.ts";

/** All that a run brought. */
export interface Run {
  /** The machine, in a line. */
  readonly where: string;
  readonly pairs: number;
  readonly rows: readonly Row[];
  readonly trace: Trace | undefined;
}

const figure = (value: number | undefined, digits = 2): string => value?.toFixed(digits) ?? "–";

function medianOf(rows: readonly Row[], name: string, side: "berth" | "peer"): number {
  const row = rows.find((r) => r.name.startsWith(name));
  return summarize(row?.[side] ?? [])?.median ?? Number.NaN;
}

/** The median ratio of a row. */
function ratioOf(rows: readonly Row[], start: string): string {
  const row = rows.find((r) => r.name.startsWith(start));
  return figure(row === undefined ? undefined : summarize(ratios(row.berth, row.peer))?.median);
}

/** By how much more than the kernel's part an ADD grew, milliseconds. */
function excess(rows: readonly Row[], name: string, size: string): number {
  const grown = (of: string): number => medianOf(rows, of, "berth") - medianOf(rows, of, "peer");
  return grown(name) - grown(`the kernel's part with ${size}`);
}

function ratioText(ratio: Summary | undefined): string {
  return ratio === undefined ? "" : `**${figure(ratio.median)}** (${figure(ratio.min)}–${figure(ratio.max)})`;
}

function line(row: Row): string {
  const ratio = summarize(row.peer.length === 0 ? [] : ratios(row.berth, row.peer));
  const digits = row.unit === "MiB" ? 1 : 2;
  const [berth, peer] = [row.berth, row.peer].map((values) => figure(summarize(values)?.median, digits));
  return `| ${row.name}, ${row.unit} | ${berth} | ${peer} | ${ratioText(ratio)} | ${targetOf(row, ratio)} |`;
}

/** True for a row of the data path: it is not of Berth's own making. */
function isOfPath({ unit }: Row): boolean {
  return unit !== "ms" && unit !== "MiB";
}

function pathLine(row: Row): string {
  const ratio = summarize(row.peer.length === 0 ? [] : ratios(row.berth, row.peer));
  const [own, other] = [row.berth, row.peer].map((values) => figure(summarize(values)?.median));
  return `| ${row.name}, ${row.unit} | ${own} | ${other} | ${ratioText(ratio)} |`;
}

/** A row that has no peer, and whose quickest met its limit: other work is what the others took, and cannot be told apart. */
function withoutPeer(rows: readonly Row[], start: string): [string, string][] {
  const row = rows.find((r) => r.name.startsWith(start));
  const quickest = summarize(row?.berth ?? [])?.min;
  if (row?.limit === undefined || quickest === undefined || quickest > row.limit) return [];
  return [
    [
      start,
      `the quickest of ${row.berth.length} took ${figure(quickest)} ms. The others met what else the machine does, and there is no peer beside it by which that could be told apart`,
    ],
  ];
}

/** What of a call is not Berth's own: the process and the kernel's part. */
function shareOf(rows: readonly Row[], name: string, kernel: string): string {
  const [process, part, peer] = [
    medianOf(rows, "empty process (VERSION)", "berth"),
    kernel === "" ? 0 : medianOf(rows, kernel, "berth"),
    medianOf(rows, name, "peer"),
  ];
  return `a process that answers VERSION takes ${figure(process)} ms and the kernel's part ${figure(part)} ms, together ${figure((process + part) / peer)} of the peer's; the rest is Berth's own`;
}

/** Why rows miss their targets, with this run's figures; and the names of those of which nothing here knows why. */
function reasons(rows: readonly Row[]): { lines: string[]; unexplained: string[] } {
  const last = rows.findLast((row) => /^Berth's ADD with \d+ attachments/u.test(row.name))?.name ?? "";
  const size = /\d+/u.exec(last)?.[0] ?? "";
  const grown = (name: string): string => figure(medianOf(rows, name, "berth") - medianOf(rows, name, "peer"));
  const because: [start: string, why: string][] = [
    ["ADD", shareOf(rows, "ADD", "bound: the kernel's part of an ADD")],
    ["CHECK", shareOf(rows, "CHECK", "")],
    ["DEL", shareOf(rows, "DEL", "bound: the kernel's part of a DEL")],
    [
      "ADD with host access",
      `${shareOf(rows, "ADD with host", "bound: the kernel's part of an ADD")}: the host's addresses, routes, neighbours on both sides`,
    ],
    [
      `${rows.find((r) => r.name.includes("ADDs at once"))?.name.split(" ")[0] ?? ""} ADDs at once`,
      "with two processors it is the processor time that counts, and that is the ADD's",
    ],
    [
      `Berth's ADD with ${size}`,
      `an ADD with none takes ${figure(medianOf(rows, last, "peer"))} ms, and the kernel's own part grows by ${grown(`the kernel's part with ${size}`)} ms (the rows below): if nothing else grew, the ratio would be ${ratioOf(rows, `bound: Berth's ADD with ${size} `)}, as the target leaves ${figure(medianOf(rows, last, "peer") * 0.3)} ms for the kernel and all else. What Berth adds is ${figure(excess(rows, last, size))} ms. The kernel announces a new link's address to its neighbours, and hands that to each of the parent's macvlans, whose namespace looks for a route (arp_process); and it goes through all links of the parent for each new one. The less an ADD takes by itself, the more that is beside it; the peer asks the same of the kernel`,
    ],
    [
      "berth up",
      `what the kernel does for each takes ${figure(medianOf(rows, "…, the kernel's part of each", "berth"))} ms of the ${figure(medianOf(rows, "berth up", "berth"))}, and grows with the number of links on one parent as above`,
    ],
    [
      "memory",
      `${figure(medianOf(rows, "…, without pages of files", "berth"), 1)} MiB are the process's own; the others are pages of the executable, which all calls share`,
    ],
    ...withoutPeer(rows, "Docker"),
    ["berth down", "the kernel takes links apart one after the other under one lock, though it waits for many at once"],
    [
      "ADD with Neutron",
      "beyond a plain ADD it is the start of the process that carries requests to the cloud (some 5 ms until the first answer, of which 2 pass while the engine works), and code of the client that runs for the first time; the questions that do not need one another's answers are asked at once",
    ],
  ];
  const missed = rows.filter((row) => {
    const ratio = summarize(row.peer.length === 0 ? [] : ratios(row.berth, row.peer));
    return targetOf(row, ratio).endsWith("missed");
  });
  const unexplained: string[] = [];
  const lines = missed.map((row) => {
    const found = because.filter(([start]) => row.name.startsWith(start)).toSorted((a, b) => b[0].length - a[0].length);
    const why = found[0]?.[1];
    if (why === undefined) unexplained.push(row.name);
    return `- **${row.name}**: ${why ?? "nobody has said yet why"}.`;
  });
  return { lines, unexplained };
}

function traceTable(trace: Trace | undefined): string {
  if (trace === undefined) return "";
  const inside = trace.stretches.reduce((sum, s) => sum + s.took, 0);
  const lines = trace.stretches.map((s) => `| ${s.what} | ${figure(s.took, 3)} |`);
  return `## Where the quickest ADD's time went

\`BERTH_TRACE=1\` prints this for any call, on standard error.

| until | ms |
|---|---|
${lines.join("\n")}
| before and after: the process itself | ${figure(trace.wall - inside, 3)} |

`;
}

/** The page; and the rows that miss their targets without a reason that the page could give. */
export function pageOf({ where, pairs, rows, trace }: Run): { text: string; unexplained: readonly string[] } {
  const { lines: why, unexplained } = reasons(rows);
  const text = `# Performance

Berth beside the standard plugins \`macvlan\` and \`host-local\`, with the same configuration, on one host in one run. Written by
\`npm run bench -- --docs\`.

${where}. ${pairs} pairs, fewer where a row takes long; who goes first alternates. The machine is shared with other work: of
another run or machine only the ratios compare. A ratio is the median of the pairs' ratios, with the smallest and the largest;
below 1 Berth takes less.

| | Berth, median | peer, median | ratio | target |
|---|---|---|---|---|
${rows
  .filter((row) => !isOfPath(row))
  .map(line)
  .join("\n")}

In the rows "with … / with none" both columns are of the one that the row names: its ADD in a full world, beside its ADD in an
empty one.

![Median time of an ADD by the number of attachments on the host](performance.svg)

${why.length === 0 ? "All targets were met." : `## What misses its target, and why\n\n${why.join("\n")}`}

${traceTable(trace)}## The data path

A task and a neighbour on the LAN, by each kind, beside a veth pair on a bridge that has a NIC on that LAN. Host and task:
[How fast host access is](host-access-speed.md).

| | median | beside it, median | ratio |
|---|---|---|---|
${rows.filter(isOfPath).map(pathLine).join("\n")}

Berth leaves the link's settings as the kernel makes them, unless a network asks for another (\`bcqueuelen\`): a macvlan has no
queue of its own, so that \`txqueuelen\` changes nothing; frames of many segments (GSO) are what makes it fast, on its own host
and as far as the parent's driver takes them; and no burst of one sender filled the broadcast queue.

## After a boot

The executable holds the engine, which carries CNI calls, and the runtime behind it, 116 MB together. A CNI call reads some 3 of
them, so that the first one after a boot waits little for the disk. \`packaging/berth-warm.service\` reads the whole file once
before any runtime starts.

## Repeat it

    npm ci && npm run build
    npm run bench              # under ten minutes; --quick: under one
    npm run bench -- --docs    # writes this page
    npm run bench:ways         # the data path: docs/host-access-speed.md

\`--json FILE\` writes every value, \`--peer PATH\` puts another build of Berth in the peer's place.
`;
  return { text, unexplained };
}
