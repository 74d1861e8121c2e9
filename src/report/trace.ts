// Where a call's time goes (BERTH_TRACE=1): moments that the code names, each with what ended there.

/** What took from the moment before to this one. */
interface Moment {
  readonly what: string;
  /** Milliseconds since the program began to run JavaScript. */
  readonly at: number;
}

const moments: Moment[] | undefined = process.env["BERTH_TRACE"] === "1" ? [] : undefined;

/** Names what has just ended. Without BERTH_TRACE=1 nothing is done. */
export function mark(what: string): void {
  moments?.push({ what, at: performance.now() });
}

/** The moments as lines of text: milliseconds taken, milliseconds since the start, and what; empty without BERTH_TRACE=1. */
export function traced(): string[] {
  if (moments === undefined) return [];
  return moments.map(({ what, at }, i, all) => `${column(at - (all[i - 1]?.at ?? 0))}${column(at)}  ${what}`);
}

function column(milliseconds: number): string {
  return milliseconds.toFixed(3).padStart(9);
}
