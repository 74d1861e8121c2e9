// What the command prints. console.log and console.error only: touching process.stdout costs 12 ms of start-up.
import { codeOf, errorJson } from "../cni/error.ts";
import { keepError } from "../attachment/last-errors.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { log } from "../report/log.ts";

/** Prints a value for machines. */
export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, null, 2));
}

/** Prints rows as columns under headings; each column is as wide as its widest cell. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = headings.map((h, i) => Math.max(h.length, ...rows.map((r) => (r[i] ?? "").length)));
  for (const row of [headings, ...rows]) {
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  }
}

/** A failure for people: what was attempted and what came of it, then what to do. */
export function describeFailure(failure: Failure): string {
  return failure.advice === undefined
    ? failure.message
    : `${failure.message}\n  ${failure.advice.replaceAll("\n", "\n  ")}`;
}

/** A failure for machines: CNI's error object. */
export function failureJson(failure: Failure): unknown {
  return JSON.parse(errorJson(failure, "1.1.0"));
}

/** The command's own words, without its arguments. */
function words(): string {
  const first = process.argv.slice(2).findIndex((word) => !/^[a-z]+$/u.test(word));
  return process.argv.slice(2, first < 0 ? undefined : 2 + first).join(" ");
}

/** Runs a command's work; a failure is printed and becomes exit status 1. */
export async function reporting(json: boolean, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    const failure = asFailure(thrown, "berth");
    log("error", "failed", () => ({ command: words(), message: failure.message, advice: failure.advice }));
    keepError(`berth ${words()}`, failure);
    if (json) printJson({ error: failureJson(failure) });
    else console.error(`berth: ${describeFailure(failure)} [code ${codeOf(failure)}]`);
    process.exitCode = 1;
  }
}
