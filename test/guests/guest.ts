// A small guest in QEMU, started by whoever is given its command line; here it is talked to.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import type { Socket } from "bun";

const APPEND = [
  "console=ttyS0 quiet panic=-1 oops=panic",
  // what costs seconds under emulation, and protects nothing here
  "tsc=reliable no_timer_check mitigations=off init_on_alloc=0 nokaslr cryptomgr.notests random.trust_cpu=on",
].join(" ");
/** Emulation on a busy machine takes its time. */
const PATIENCE_MS = 60_000;

/** The sockets and files of one QEMU. */
export class Guest implements AsyncDisposable {
  readonly directory = mkdtempSync(`${tmpdir()}/berth-guest-`);
  /** QEMU's monitor for Berth, and the one for the test. */
  readonly qmp = `${this.directory}/qmp`;
  readonly control = `${this.directory}/control`;
  readonly #agent = `${this.directory}/agent`;
  #socket: Socket | undefined;
  #received = "";
  #commands = 0;

  /** QEMU's command line, with the placeholders of `berth vm run`. `more` goes to its end. */
  command(...more: string[]): string[] {
    const image = process.env["GUEST_IMAGE"];
    if (image === undefined) throw new Error("GUEST_IMAGE is not set: run it by npm run test:guests");
    return [
      "qemu-system-x86_64 -accel tcg -cpu max -M q35 -m 128 -smp 1",
      "-nodefaults -no-user-config -display none -no-reboot",
      `-kernel ${image}/kernel -initrd ${image}/initramfs -append`,
      APPEND,
      `-serial file:${this.directory}/console -device virtio-serial-pci`,
      // what nobody hears is lost
      `-chardev socket,id=agent,path=${this.#agent},server=on,wait=on`,
      "-device virtserialport,chardev=agent,name=agent",
      `-qmp unix:${this.qmp},server=on,wait=off -qmp unix:${this.control},server=on,wait=off`,
      "-netdev tap,id=n0,fd={fd} -device virtio-net-pci,netdev=n0,mac={mac},host_mtu={mtu},romfile=",
    ]
      .flatMap((words) => (words === APPEND ? [words] : words.split(" ")))
      .concat(more);
  }

  /** What the guest's kernel said. */
  get console(): string {
    return existsSync(`${this.directory}/console`)
      ? readFileSync(`${this.directory}/console`, "utf8").slice(-2000)
      : "";
  }

  /** Waits until something holds of what has come; throws where it does not in time. */
  async #until<T>(what: string, find: (text: string) => T | undefined): Promise<T> {
    for (const end = performance.now() + PATIENCE_MS; ; await Bun.sleep(10)) {
      const found = find(this.#received);
      if (found !== undefined) return found;
      if (performance.now() > end) {
        throw new Error(`the guest did not come to: ${what}\n${this.#received.slice(-1000)}\n${this.console}`);
      }
    }
  }

  /** Opens the line to the guest's agent, for which QEMU waits. */
  async connect(): Promise<void> {
    for (const end = performance.now() + PATIENCE_MS; ; await Bun.sleep(20)) {
      try {
        this.#socket = await Bun.connect({
          unix: this.#agent,
          socket: {
            data: (_, bytes) => {
              this.#received += Buffer.from(bytes).toString("latin1");
            },
          },
        });
        return;
      } catch (e) {
        if (performance.now() > end) throw e;
      }
    }
  }

  /** Waits until the guest takes commands. */
  async ready(): Promise<void> {
    if (this.#socket === undefined) await this.connect();
    await this.#until("ready", (text) => (text.includes("ready\n") ? true : undefined));
  }

  /** Runs a script in the guest; its output. Throws where it fails. */
  async run(script: string): Promise<string> {
    const id = `${++this.#commands}`;
    this.#received = "";
    this.#socket?.write(`${id} ${Buffer.from(script).toString("base64")}\n`);
    const mark = `\0${id} `;
    const [all, status] = await this.#until(script, (text) => {
      const at = text.indexOf(mark);
      return at < 0 || !text.includes("\n", at) ? undefined : [text.slice(0, at), text.slice(at + mark.length).trim()];
    });
    if (status === "0") return all;
    throw new Error(`exit ${status} of: ${script}\n${all}`);
  }

  /** Forgets the guest; ending QEMU is for who started it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket?.end();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
