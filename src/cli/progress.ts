// A line on a terminal that says how far long work has come.
import { writeSync } from "node:fs";
import { isatty } from "node:tty";

const STDERR = 2;
/** Not more often than this, milliseconds. */
const INTERVAL_MS = 100;
const CLEAR_LINE = "\r\u001b[K";

/** A count on standard error, where that is a terminal; elsewhere nothing but the lines that are printed. */
export class Progress {
  readonly #total: number;
  readonly #shown: boolean;
  readonly #start = performance.now();
  #done = 0;
  #last = 0;

  /** Nothing is shown for work of few parts. */
  constructor(total: number) {
    this.#total = total;
    this.#shown = total > 10 && isatty(STDERR);
  }

  /** One more is done. */
  step(): void {
    this.#done++;
    const now = performance.now();
    if (!this.#shown || now - this.#last < INTERVAL_MS) return;
    this.#last = now;
    const left = ((now - this.#start) / this.#done) * (this.#total - this.#done);
    writeSync(STDERR, `${CLEAR_LINE}${this.#done} of ${this.#total}, about ${Math.ceil(left / 1000)} s left`);
  }

  /** Prints a line above the count. */
  print(line: string): void {
    if (this.#shown) writeSync(STDERR, CLEAR_LINE);
    console.log(line);
  }

  /** Takes the count away. */
  end(): void {
    if (this.#shown) writeSync(STDERR, CLEAR_LINE);
  }
}
