// A virtual machine for tests: Debian's kernel and programs in QEMU, commands run in it over a virtio-serial port.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import type { Socket } from "bun";
import { type System, systemImages } from "./images.ts";
import { needPrograms } from "./packages.ts";
import { accelerator } from "./accelerator.ts";

/** One NIC of the guest, by default with the driver virtio_net: eth0 is the first. */
type Nic = { readonly mac: string } & (
  | {
      /** The name of an existing tap, in the namespace that QEMU runs in. */
      readonly tap: string;
    }
  | {
      /** The path of a macvtap's character device. The guest's MAC must be the macvtap's own. */
      readonly device: string;
    }
  | {
      /** A cable to another guest's NIC: the path of a socket, which the guest that listens makes and so must be booted first. */
      readonly wire: string;
      readonly listens: boolean;
    }
);

/** A disk of the guest beside the system's. */
interface Disk {
  /** An image with a squashfs, as `images.ts` makes them. It is not written to. */
  readonly image: string;
  /** Where the guest mounts it; what is written there is kept in the guest's memory. */
  readonly at: string;
}

/** What kind of guest. */
export interface VmOptions {
  /** MiB; 512 where not said. */
  readonly memoryMb?: number;
  readonly processors?: number;
  readonly disks?: readonly Disk[];
  readonly nics?: readonly Nic[];
  /** Kernel modules that are loaded at once. Without them a module is loaded when something asks the kernel for it. */
  readonly modules?: readonly string[];
  /** The namespace that QEMU runs in, by path, for taps that are not in this process's own. */
  readonly namespace?: string;
  /** More arguments for QEMU. */
  readonly qemu?: readonly string[];
  /** The guest is ended this many seconds after its start. */
  readonly lifetimeS?: number;
}

/** What a command in a guest came to. */
export interface Outcome {
  readonly exitCode: number;
  /** Standard output and error, in their order. */
  readonly output: string;
}

/** How one command is run. */
export interface RunOptions {
  /** Milliseconds; then the call fails, and the guest is ended, as nothing more can be run in it. 120000 where not said. */
  readonly timeoutMs?: number;
  /** Is given the output as it comes. */
  readonly onOutput?: (text: string) => void;
}

const BOOT_LIMIT_S = 90;
const QEMU = "qemu-system-x86_64";
const COMMAND_LINE = [
  "console=ttyS0 quiet panic=-1 oops=panic",
  // what costs seconds under emulation, and protects nothing here
  "tsc=reliable no_timer_check mitigations=off init_on_alloc=0 nokaslr cryptomgr.notests random.trust_cpu=on",
].join(" ");

/** A guest that runs. Disposing of it ends it at once: nothing in it is kept. */
export class Vm implements AsyncDisposable {
  readonly #process: Bun.Subprocess;
  readonly #directory: string;
  readonly #listener: { stop: (closeActive?: boolean) => void };
  #port: Socket | undefined;
  #received: Buffer[] = [];
  #wake: () => void = () => {};
  #commands = 0;
  #ended = false;
  #busy = false;

  /** See {@link bootVm}. */
  constructor(options: VmOptions, system: System, accel: readonly string[]) {
    this.#directory = mkdtempSync(`${tmpdir()}/berth-vm-`);
    const socket = `${this.#directory}/agent`;
    this.#listener = Bun.listen({
      unix: socket,
      socket: {
        open: (s) => {
          this.#port = s;
        },
        data: (_, bytes) => {
          this.#received.push(Buffer.from(bytes));
          this.#wake();
        },
      },
    });
    const descriptors = (options.nics ?? []).map((n) => ("device" in n ? openSync(n.device, "r+") : undefined));
    const passed = descriptors.filter((d) => d !== undefined);
    const enter = options.namespace === undefined ? [] : ["nsenter", `--net=${options.namespace}`, "--"];
    const argv = [
      ...enter,
      // QEMU shall not outlive a run that is killed
      "setpriv",
      "--pdeathsig",
      "KILL",
      QEMU,
      ...accel,
      "-M",
      "q35",
      "-m",
      `${options.memoryMb ?? 512}`,
      "-smp",
      `${options.processors ?? 1}`,
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-no-reboot",
      "-kernel",
      system.kernel,
      "-initrd",
      system.initramfs,
      "-append",
      COMMAND_LINE,
      "-serial",
      `file:${this.#directory}/console`,
      "-device",
      "virtio-serial-pci",
      "-chardev",
      `socket,id=agent,path=${socket}`,
      "-device",
      "virtserialport,chardev=agent,name=agent",
      ...[system.disk, ...(options.disks ?? []).map((d) => d.image)].flatMap((file, i) => [
        "-drive",
        `if=none,id=disk${i},file=${file},format=raw,readonly=on,file.locking=off`,
        "-device",
        `virtio-blk-pci,drive=disk${i}`,
      ]),
      ...(options.nics ?? []).flatMap((nic, i) => nicArguments(nic, i, 3 + passed.indexOf(descriptors[i] ?? -1))),
      ...(options.qemu ?? []),
    ];
    try {
      this.#process = Bun.spawn(argv, {
        stdio: ["ignore", "ignore", Bun.file(`${this.#directory}/qemu`), ...passed],
        onExit: () => {
          this.#ended = true;
          this.#wake();
        },
      });
    } finally {
      for (const d of passed) closeSync(d);
    }
    if (options.lifetimeS !== undefined) {
      const timer = setTimeout(() => this.#process.kill("SIGKILL"), options.lifetimeS * 1000);
      timer.unref();
    }
  }

  /** QEMU's process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** What the guest's kernel and QEMU had to say, the end of it. */
  get console(): string {
    const text = ["console", "qemu"].map((f) => {
      try {
        return readFileSync(`${this.#directory}/${f}`, "utf8");
      } catch {
        return "";
      }
    });
    return text.join("\n").trim().split("\n").slice(-30).join("\n");
  }

  /** Waits until bytes have come that end with `end`; all that came, without it. Throws where the guest ends before. */
  async #until(
    end: (text: Buffer) => number,
    what: string,
    limitMs: number,
    onOutput?: (t: string) => void,
  ): Promise<Buffer> {
    const decoder = new TextDecoder();
    const deadline = performance.now() + limitMs;
    let all = Buffer.alloc(0);
    for (;;) {
      const news = Buffer.concat(this.#received);
      this.#received = [];
      all = Buffer.concat([all, news]);
      const length = end(all);
      onOutput?.(
        decoder.decode(length < 0 ? news : news.subarray(0, Math.max(0, news.length - (all.length - length))), {
          stream: true,
        }),
      );
      if (length >= 0) return all;
      if (this.#ended)
        throw new Error(`the guest ended during: ${what}\n${all.toString().slice(-2000)}\n${this.console}`);
      const left = deadline - performance.now();
      if (left <= 0) {
        this.#process.kill("SIGKILL");
        throw new Error(`no end after ${limitMs / 1000} s: ${what}\n${all.toString().slice(-2000)}\n${this.console}`);
      }
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

  /** Waits until the guest's agent answers. Throws where it does not, with the console's end. */
  async ready(): Promise<void> {
    await this.#until((b) => (b.includes("ready\n") ? b.length : -1), "boot", BOOT_LIMIT_S * 1000);
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
      if (port === undefined || this.#ended) throw new Error(`the guest does not run\n${this.console}`);
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
      const all = await this.#until(end, script, options.timeoutMs ?? 120_000, options.onOutput);
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

  /** Ends the guest. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    this.#port?.end();
    this.#listener.stop(true);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function nicArguments(nic: Nic, i: number, descriptor: number): string[] {
  const device = ["-device", `virtio-net-pci,netdev=n${i},mac=${nic.mac},romfile=`];
  if ("tap" in nic) return ["-netdev", `tap,id=n${i},ifname=${nic.tap},script=no,downscript=no,vhost=off`, ...device];
  if ("device" in nic) return ["-netdev", `tap,id=n${i},fd=${descriptor},vhost=off`, ...device];
  const server = nic.listens ? "on" : "off";
  return ["-netdev", `stream,id=n${i},server=${server},addr.type=unix,addr.path=${nic.wire}`, ...device];
}

/** A guest with the accelerator that is asked for; see {@link bootVm}. */
async function bootWith(accel: readonly string[], options: VmOptions): Promise<Vm> {
  needPrograms({ [QEMU]: "qemu-system-x86", setpriv: "util-linux", nsenter: "util-linux" });
  const vm = new Vm(options, await systemImages(), accel);
  try {
    await vm.ready();
    const mounts = (options.disks ?? []).map((d, i) => mountScript(`/dev/vd${String.fromCodePoint(98 + i)}`, d.at));
    const modules = options.modules ?? [];
    const script = [...mounts, ...(modules.length > 0 ? [`modprobe -a ${modules.join(" ")}`] : [])];
    if (script.length > 0) await vm.must(`set -e\n${script.join("\n")}`);
    return vm;
  } catch (e) {
    await vm[Symbol.asyncDispose]();
    throw e;
  }
}

function mountScript(device: string, at: string): string {
  const own = `/run/disks${device}`;
  return [
    `mkdir -p ${own}/image ${own}/written ${at}`,
    `mount -t squashfs -o ro ${device} ${own}/image`,
    `mount -t tmpfs tmpfs ${own}/written`,
    `mkdir ${own}/written/upper ${own}/written/work`,
    `mount -t overlay -o lowerdir=${own}/image,upperdir=${own}/written/upper,workdir=${own}/written/work overlay ${at}`,
  ].join("\n");
}

/**
 * Boots a guest; it answers when this returns. What it needs is installed (as root) and built where it was not before.
 * Throws `Unavailable` where virtual machines cannot be started here, and else an `Error` with the console's end.
 */
export async function bootVm(options: VmOptions = {}): Promise<Vm> {
  const accel = await accelerator(async (kvm) => {
    await using vm = await bootWith(kvm, { lifetimeS: 20 });
    return (await vm.run("seq 100000 | sha256sum >/dev/null", { timeoutMs: 10_000 })).exitCode === 0;
  });
  return await bootWith(accel, options);
}
