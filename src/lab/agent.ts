// The line to what carries out commands in a virtual machine (agent.sh): a unix socket that QEMU connects a virtio-serial
// port to.
import type { Socket } from "bun";

/** What a script in a guest came to. */
export interface Outcome {
  readonly exitCode: number;
  /** Standard output and error, in their order. */
  readonly output: string;
}

/** How one script is run. */
export interface RunOptions {
  /** Milliseconds; 120000 where not said. */
  readonly timeoutMs?: number;
  /** Is given the output as it comes. */
  readonly onOutput?: (text: string) => void;
}

/** How long QEMU's start and the guest's boot may take, milliseconds: under emulation, on a busy machine. */
const BOOT_MS = 120_000;

/** A guest's agent. Make it before QEMU is started, which finds the socket there. */
export class Agent implements Disposable {
  readonly #listener: { stop: (closeActive?: boolean) => void };
  readonly #path: string;
  readonly #console: () => string;
  #port: Socket | undefined;
  #received: Buffer[] = [];
  #wake: () => void = () => {};
  #commands = 0;
  #ended = false;
  #busy = false;

  /**
   * @param path of the socket, which is made
   * @param console what the guest's kernel and QEMU had to say, for who has to know why it does not answer
   */
  constructor(path: string, console: () => string) {
    this.#path = path;
    this.#console = console;
    this.#listener = Bun.listen({
      unix: path,
      socket: {
        open: (s) => {
          this.#port = s;
          this.#wake();
        },
        data: (_, bytes) => {
          this.#received.push(Buffer.from(bytes));
          this.#wake();
        },
      },
    });
  }

  /** QEMU's arguments that connect it. */
  get qemu(): string[] {
    return [
      ["-device", "virtio-serial-pci"],
      ["-chardev", `socket,id=agent,path=${this.#path}`],
      ["-device", "virtserialport,chardev=agent,name=agent"],
    ].flat();
  }

  /** QEMU has ended: who waits for an answer waits no longer. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Waits for what `find` finds. Throws where the guest ends before, or the time is over. */
  async #until<T>(what: string, limitMs: number, find: () => T | undefined, heard: () => string): Promise<T> {
    for (const deadline = performance.now() + limitMs; ;) {
      const found = find();
      if (found !== undefined) return found;
      const left = deadline - performance.now();
      const why = this.#ended ? "the guest ended during" : left <= 0 ? `no end after ${limitMs / 1000} s` : undefined;
      if (why !== undefined) throw new Error(`${why}: ${what}\n${heard().slice(-2000)}\n${this.#console()}`);
      await new Promise<void>((done) => {
        const timer = setTimeout(done, left);
        this.#wake = () => {
          clearTimeout(timer);
          done();
        };
        if (this.#received.length > 0 || this.#ended) this.#wake();
      });
    }
  }

  /** Waits until bytes have come of which `end` says where they end; all that came. */
  async #hear(
    what: string,
    limitMs: number,
    end: (text: Buffer) => number,
    onOutput?: (t: string) => void,
  ): Promise<Buffer> {
    const decoder = new TextDecoder();
    let all = Buffer.alloc(0);
    const find = (): Buffer | undefined => {
      const news = Buffer.concat(this.#received);
      this.#received = [];
      all = Buffer.concat([all, news]);
      const length = end(all);
      const own = length < 0 ? news : news.subarray(0, Math.max(0, news.length - (all.length - length)));
      onOutput?.(decoder.decode(own, { stream: true }));
      return length < 0 ? undefined : all;
    };
    return await this.#until(what, limitMs, find, () => all.toString());
  }

  /** Waits until QEMU has connected itself. */
  async connected(): Promise<void> {
    await this.#until(
      "QEMU's start",
      BOOT_MS,
      () => this.#port,
      () => "",
    );
  }

  /** Waits until the guest takes commands. Throws where it does not, with the console's end; after 120 s where not said otherwise. */
  async ready(limitMs = BOOT_MS): Promise<void> {
    await this.#hear("boot", limitMs, (b) => (b.includes("ready\n") ? b.length : -1));
  }

  /**
   * Runs a shell script in the guest. One at a time; what a script leaves in the background goes on running. Throws where
   * the guest ends or the time is over; a status other than 0 is an outcome.
   */
  async run(script: string, options: RunOptions = {}): Promise<Outcome> {
    if (this.#busy) throw new Error("a guest runs one command at a time");
    this.#busy = true;
    try {
      const id = `${++this.#commands}`;
      const port = this.#port;
      if (port === undefined || this.#ended) throw new Error(`the guest does not run\n${this.#console()}`);
      port.write(`${id} ${Buffer.from(script).toString("base64")}\n`);
      const mark = Buffer.from(`\0${id} `);
      let status = "";
      const end = (b: Buffer): number => {
        const at = b.lastIndexOf(mark);
        if (at < 0 || !b.includes("\n", at)) return -1;
        status = b
          .subarray(at + mark.length)
          .toString()
          .trim();
        return at;
      };
      const all = await this.#hear(script, options.timeoutMs ?? 120_000, end, options.onOutput);
      return { exitCode: Number(status), output: all.subarray(0, all.lastIndexOf(mark)).toString() };
    } finally {
      this.#busy = false;
    }
  }

  /** Runs a script whose status must be 0; its output. */
  async must(script: string, options: RunOptions = {}): Promise<string> {
    const { exitCode, output } = await this.run(script, options);
    if (exitCode !== 0) throw new Error(`exit ${exitCode} of: ${script}\n${output}`);
    return output;
  }

  /** Closes the line; ending QEMU is for who started it. */
  [Symbol.dispose](): void {
    this.#port?.end();
    this.#listener.stop(true);
  }
}
