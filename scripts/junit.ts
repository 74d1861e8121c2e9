// What a JUnit report of `bun test` counts.
import { readFileSync } from "node:fs";

/** Tests of one file. */
export interface Counts {
  readonly tests: number;
  readonly failed: number;
  readonly skipped: number;
}

/** What a report counts; undefined where there is none (the process died, or called process.exit). */
export function countsOf(report: string): Counts | undefined {
  let xml;
  try {
    xml = readFileSync(report, "utf8");
  } catch {
    return undefined;
  }
  const head = /<testsuites [^>]*>/u.exec(xml)?.[0] ?? "";
  const n = (a: string): number => Number(new RegExp(` ${a}="(\\d+)"`, "u").exec(head)?.[1] ?? 0);
  return { tests: n("tests"), failed: n("failures") + n("errors"), skipped: n("skipped") };
}
