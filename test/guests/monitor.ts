// A QEMU monitor's socket that says what a test has it say. (The real one is in npm run test:guests.)
import type { Socket } from "bun";

/** Serves one connection at a time, as QEMU does. */
export class Monitor implements Disposable {
  readonly path: string;
  readonly #listener: { stop: (closeActive?: boolean) => void };
  #socket: Socket | undefined;
  /** What the machine's state is. */
  running = false;
  /** Commands that were asked for, in their order. */
  readonly asked: string[] = [];

  constructor(path: string) {
    this.path = path;
    this.#listener = Bun.listen({
      unix: path,
      socket: {
        open: (socket) => {
          this.#socket = socket;
          this.say({ QMP: { version: {}, capabilities: [] } });
        },
        data: (_, bytes) => {
          for (const line of Buffer.from(bytes).toString().trim().split("\n")) this.#answer(line);
        },
      },
    });
  }

  #answer(line: string): void {
    const { execute } = JSON.parse(line) as { execute: string };
    this.asked.push(execute);
    if (execute === "query-status") this.say({ return: { running: this.running, status: "?" } });
    else if (execute === "refused") this.say({ error: { class: "GenericError", desc: "it does not want to" } });
    else this.say({ return: {} });
  }

  /** Sends bytes as they are. */
  send(bytes: string | Uint8Array): void {
    this.#socket?.write(bytes);
    this.#socket?.flush();
  }

  /** Sends a message. */
  say(message: object): void {
    this.send(`${JSON.stringify(message)}\r\n`);
  }

  /** Sends an event. */
  event(event: string, data: object = {}): void {
    this.say({ timestamp: { seconds: 1, microseconds: 2 }, event, data });
  }

  /** Ends, as QEMU does. */
  [Symbol.dispose](): void {
    this.#socket?.end();
    this.#listener.stop(true);
  }
}
