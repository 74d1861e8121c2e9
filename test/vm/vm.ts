// A virtual machine for tests: Debian's kernel and programs in QEMU, commands run in it over a virtio-serial port.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { Agent, type Outcome, type RunOptions } from "../../src/lab/agent.ts";
import { bareMachine, QEMU } from "../../src/lab/guest.ts";
import { accelerator } from "./accelerator.ts";
import { type System, systemImages } from "./images.ts";
import { needPrograms } from "./packages.ts";

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
      /** The number of a descriptor that whoever starts QEMU leaves open for it, or what {@link VmOptions.through} fills in. */
      readonly descriptor: string;
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
  /** Makes QEMU's command line that of the program that starts it. */
  readonly through?: (qemu: readonly string[]) => readonly string[];
  /** More arguments for QEMU. */
  readonly qemu?: readonly string[];
  /** The guest is ended this many seconds after its start. */
  readonly lifetimeS?: number;
}

/** A guest that runs. Disposing of it ends it at once: nothing in it is kept. */
export class Vm implements AsyncDisposable {
  readonly #process: Bun.Subprocess;
  readonly #directory = mkdtempSync(`${tmpdir()}/berth-vm-`);
  readonly #agent = new Agent(`${this.#directory}/agent`, () => this.console);

  /** See {@link bootVm}. */
  constructor(options: VmOptions, { system, accel }: VmImages) {
    const descriptors = (options.nics ?? []).map((n) => ("device" in n ? openSync(n.device, "r+") : undefined));
    const passed = descriptors.filter((d) => d !== undefined);
    const enter = options.namespace === undefined ? [] : ["nsenter", `--net=${options.namespace}`, "--"];
    const { memoryMb = 512, processors = 1, through = (qemu: readonly string[]) => qemu } = options;
    const qemu = [
      QEMU,
      ...accel,
      ...bareMachine(system, { memoryMb, processors, consoleFile: `${this.#directory}/console` }),
      ...this.#agent.qemu,
      ...[system.disk, ...(options.disks ?? []).map((d) => d.image)].flatMap((file, i) => [
        "-drive",
        `if=none,id=disk${i},file=${file},format=raw,readonly=on,file.locking=off`,
        "-device",
        `virtio-blk-pci,drive=disk${i}`,
      ]),
      ...(options.nics ?? []).flatMap((nic, i) => nicArguments(nic, i, 3 + passed.indexOf(descriptors[i] ?? -1))),
      ...(options.qemu ?? []),
    ];
    // QEMU shall not outlive what started it
    const argv = [...enter, ...through(["setpriv", "--pdeathsig", "KILL", ...qemu])];
    try {
      this.#process = Bun.spawn(argv, {
        stdio: ["ignore", "ignore", Bun.file(`${this.#directory}/qemu`), ...passed],
        onExit: () => this.#agent.end(),
      });
    } finally {
      for (const d of passed) closeSync(d);
    }
    if (options.lifetimeS !== undefined) {
      const timer = setTimeout(() => this.#process.kill("SIGKILL"), options.lifetimeS * 1000);
      timer.unref();
    }
  }

  /** The process id of what was started: QEMU's, or that of the program which starts it. */
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

  /** Waits until the guest's agent answers. Throws where it does not, with the console's end. */
  async ready(): Promise<void> {
    await this.#agent.ready();
  }

  /** Runs a shell script in the guest; see `Agent.run`. A guest in which one does not end is ended itself. */
  async run(script: string, options: RunOptions = {}): Promise<Outcome> {
    try {
      return await this.#agent.run(script, options);
    } catch (e) {
      this.#process.kill("SIGKILL");
      throw e;
    }
  }

  /** Runs a script whose status must be 0; its output. */
  async must(script: string, options: RunOptions = {}): Promise<string> {
    return await this.#agent.must(script, options);
  }

  /** Asks it to end, as a service manager would; its exit status. */
  async end(): Promise<number> {
    this.#process.kill("SIGTERM");
    return await this.#process.exited;
  }

  /** Ends the guest. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    this.#agent[Symbol.dispose]();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function nicArguments(nic: Nic, i: number, descriptor: number): string[] {
  const device = ["-device", `virtio-net-pci,netdev=n${i},mac=${nic.mac},romfile=`];
  if ("tap" in nic) return ["-netdev", `tap,id=n${i},ifname=${nic.tap},script=no,downscript=no,vhost=off`, ...device];
  if ("device" in nic) return ["-netdev", `tap,id=n${i},fd=${descriptor},vhost=off`, ...device];
  if ("descriptor" in nic) return ["-netdev", `tap,id=n${i},fd=${nic.descriptor},vhost=off`, ...device];
  const server = nic.listens ? "on" : "off";
  return ["-netdev", `stream,id=n${i},server=${server},addr.type=unix,addr.path=${nic.wire}`, ...device];
}

/** What every guest starts from. */
export interface VmImages {
  readonly system: System;
  /** QEMU's arguments for the fastest way to run one here. */
  readonly accel: readonly string[];
}

/** Boots a guest; it answers when this returns. Throws an `Error` with the console's end. */
export async function bootVm(images: VmImages, options: VmOptions = {}): Promise<Vm> {
  const vm = new Vm(options, images);
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
 * What guests start from. What it needs is installed (as root) and built where it was not before. Throws `Unavailable`
 * where virtual machines cannot be started here.
 */
export async function vmImages(): Promise<VmImages> {
  needPrograms({ [QEMU]: "qemu-system-x86", setpriv: "util-linux", nsenter: "util-linux" });
  const system = await systemImages();
  const accel = await accelerator(async (kvm) => {
    await using vm = await bootVm({ system, accel: kvm }, { lifetimeS: 20 });
    return (await vm.run("seq 100000 | sha256sum >/dev/null", { timeoutMs: 10_000 })).exitCode === 0;
  });
  return { system, accel };
}
