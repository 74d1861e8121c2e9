// The table that a run prints.
import type { Row } from "./series.ts";
import { ratios, type Summary, summarize } from "./statistics.ts";

const WIDTH = 8;

function cells(summary: Summary | undefined, digits: number): string {
  const values = summary === undefined ? [] : [summary.min, summary.median, summary.max];
  return [0, 1, 2].map((i) => (values[i]?.toFixed(digits) ?? "–").padStart(WIDTH)).join("");
}

/** A row's target, and whether it was met. */
export function targetOf({ target, limit, unit, berth }: Row, ratio: Summary | undefined): string {
  const own = summarize(berth);
  if (limit !== undefined)
    return `≤ ${limit} ${unit}${own === undefined ? "" : own.median <= limit ? " met" : " missed"}`;
  if (target === undefined) return "";
  const verdict = ratio === undefined ? "" : ratio.median <= target ? " met" : " missed";
  return `≤ ${target.toFixed(2)}${verdict}`;
}

/** A title over the three columns of a summary. */
function group(title: string): string {
  return title.padStart(3 * WIDTH);
}

/**
 * The rows as a table of text: minimum, median and maximum of each side and of the paired ratios.
 * @param targets whether the rows' targets are shown; they are for the standard plugins as the peer
 */
export function table(rows: readonly Row[], targets: boolean): string {
  const width = Math.max(...rows.map((row) => row.name.length + row.unit.length + 2));
  const three = ["min", "median", "max"].map((word) => word.padStart(WIDTH)).join("");
  const lines = rows.map((row) => {
    const digits = row.unit === "MiB" ? 1 : 2;
    const ratio = summarize(row.peer.length === 0 ? [] : ratios(row.berth, row.peer));
    const name = `${row.name}, ${row.unit}`.padEnd(width);
    const [berth, peer] = [summarize(row.berth), summarize(row.peer)].map((s) => cells(s, digits));
    return `${name}${berth}  ${peer}  ${cells(ratio, 2)}  ${targets ? targetOf(row, ratio) : ""}`.trimEnd();
  });
  return [
    `${" ".repeat(width)}${["Berth", "peer", "Berth / peer"].map(group).join("  ")}${targets ? "  target of the" : ""}`,
    `${" ".repeat(width)}${three}  ${three}  ${three}${targets ? "  median ratio" : ""}`,
    ...lines,
  ].join("\n");
}
