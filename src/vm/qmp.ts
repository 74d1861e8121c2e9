// QEMU's monitor protocol (docs/interop/qmp-spec.rst of QEMU): JSON objects, one a line, over a unix socket.
import { Failure } from "../report/failure.ts";

/** What QEMU tells unasked. */
export interface QmpEvent {
  /** As `STOP`, `RESUME`, `MIGRATION`. */
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** How long QEMU may take for an answer, milliseconds. */
const PATIENCE_MS = 10_000;
/** A monitor's line is seldom longer than a few thousand characters; a peer that never ends one is no monitor. */
const MAX_LINE = 16 * 1024 * 1024;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

interface Waiting {
  readonly command: string;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (failure: Failure) => void;
  readonly timer: Timer;
}

/** A connection to a monitor. QEMU serves one at a time on each of its sockets. */
export class Qmp implements Disposable {
  readonly #path: string;
  readonly #onEvent: (event: QmpEvent) => void;
  readonly #waiting: Waiting[] = [];
  readonly #decoder = new TextDecoder();
  #socket: { write(text: string): number; end(): void } | undefined;
  #text = "";
  #end: () => void = () => {};
  /** Fulfilled when QEMU has ended, or closed the connection. */
  readonly ended: Promise<void>;

  private constructor(path: string, onEvent: (event: QmpEvent) => void) {
    this.#path = path;
    this.#onEvent = onEvent;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Connects, and asks for the events of migration too. Throws `Failure` (`unavailable`) where nobody serves the path. */
  static async connect(path: string, onEvent: (event: QmpEvent) => void): Promise<Qmp> {
    const qmp = new Qmp(path, onEvent);
    try {
      qmp.#socket = await Bun.connect({
        unix: path,
        socket: {
          data: (_, bytes) => qmp.#receive(bytes),
          close: () => qmp.#closed(),
          error: () => qmp.#closed(),
        },
      });
    } catch (e) {
      throw new Failure(
        "unavailable",
        `connect to the monitor ${path}: ${e instanceof Error ? e.message : String(e)}`,
        {
          advice: 'Start QEMU with "-qmp unix:PATH,server=on,wait=off", a monitor for Berth alone.',
          cause: e,
        },
      );
    }
    try {
      await qmp.execute("qmp_capabilities");
      await qmp.execute("migrate-set-capabilities", { capabilities: [{ capability: "events", state: true }] });
      return qmp;
    } catch (e) {
      qmp[Symbol.dispose]();
      throw e;
    }
  }

  /** Has QEMU carry out a command; what it returns. Throws `Failure` (`delegate`) where it refuses or does not answer. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#fail(`no answer within ${PATIENCE_MS / 1000} s; another program may hold the monitor`),
        PATIENCE_MS,
      );
      this.#waiting.push({ command, resolve, reject, timer });
      this.#socket?.write(
        `${JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }) })}\n`,
      );
    });
  }

  #receive(bytes: Uint8Array): void {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    for (let at = this.#text.indexOf("\n"); at >= 0; at = this.#text.indexOf("\n")) {
      const line = this.#text.slice(0, at).trim();
      this.#text = this.#text.slice(at + 1);
      if (line !== "") this.#line(line);
    }
    if (this.#text.length > MAX_LINE) this.#fail("what it says is no line of JSON");
  }

  #line(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      this.#fail(`it says ${JSON.stringify(line.slice(0, 80))}, which is no JSON`);
      return;
    }
    if (!isObject(message) || "QMP" in message) return; // the greeting
    if (typeof message["event"] === "string") {
      this.#onEvent({ event: message["event"], data: isObject(message["data"]) ? message["data"] : {} });
      return;
    }
    const first = this.#waiting.shift();
    if (first === undefined) return;
    clearTimeout(first.timer);
    const { error } = message;
    if (error === undefined) first.resolve(message["return"]);
    else first.reject(this.#failure(first.command, isObject(error) ? String(error["desc"]) : JSON.stringify(error)));
  }

  #failure(command: string, why: string): Failure {
    return new Failure("delegate", `have QEMU carry out ${command} by ${this.#path}: ${why}`);
  }

  #fail(why: string): void {
    for (const { command, reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(this.#failure(command, why));
    }
    this[Symbol.dispose]();
  }

  #closed(): void {
    this.#socket = undefined;
    this.#fail("the connection was closed");
    this.#end();
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.#socket?.end();
    this.#socket = undefined;
    this.#end();
  }
}
