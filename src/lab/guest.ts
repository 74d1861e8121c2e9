// A small virtual machine in QEMU: its command line, for whoever starts it, and the line to its agent.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { Agent } from "./agent.ts";

/** QEMU's program. */
export const QEMU = "qemu-system-x86_64";

/** What the kernel is told. */
const KERNEL_ARGUMENTS = [
  "console=ttyS0 quiet panic=-1 oops=panic",
  // what costs seconds under emulation, and protects nothing here
  "tsc=reliable no_timer_check mitigations=off init_on_alloc=0 nokaslr cryptomgr.notests random.trust_cpu=on",
].join(" ");

/** QEMU's arguments for a machine with nothing but what is added to it. */
export function bareMachine(
  image: GuestImage,
  { memoryMb, processors, consoleFile }: { memoryMb: number; processors: number; consoleFile: string },
): string[] {
  return [
    ["-M", "q35", "-m", `${memoryMb}`, "-smp", `${processors}`],
    ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ["-kernel", image.kernel, "-initrd", image.initramfs, "-append", KERNEL_ARGUMENTS],
    ["-serial", `file:${consoleFile}`],
  ].flat();
}

/** Software emulation. ("max": programs of Debian run on qemu64, but the JavaScript runtime ends by SIGILL.) */
export const EMULATION: readonly string[] = ["-accel", "tcg,thread=multi", "-cpu", "max"];

/** Hardware virtualization, where the kernel and the processor have it. */
export const KVM: readonly string[] = ["-accel", "kvm", "-cpu", "host"];

/** What a guest starts from: paths. */
export interface GuestImage {
  readonly kernel: string;
  readonly initramfs: string;
}

const MEMORY_MB = 128;

/** One guest: its files, and its agent. Disposing of it ends no QEMU. */
export class Guest implements Disposable {
  readonly directory = mkdtempSync(`${tmpdir()}/berth-guest-`);
  readonly agent = new Agent(`${this.directory}/agent`, () => this.console);
  readonly #image: GuestImage;
  readonly #accelerator: readonly string[];

  /** QEMU is not started: see {@link command}. */
  constructor(image: GuestImage, accelerator: readonly string[] = EMULATION) {
    this.#image = image;
    this.#accelerator = accelerator;
  }

  /**
   * QEMU's command line. `more` goes to its end.
   * @param legs so many NICs, with the placeholders of `berth vm run`
   */
  command(legs: number, ...more: string[]): string[] {
    const nics = Array.from({ length: legs }, (_, i) => {
      const end = i === 0 ? "" : `${i + 1}`;
      const device = `virtio-net-pci,netdev=n${i},mac={mac${end}},host_mtu={mtu${end}},romfile=`;
      return ["-netdev", `tap,id=n${i},fd={fd${end}}`, "-device", device];
    });
    const machine = { memoryMb: MEMORY_MB, processors: 1, consoleFile: `${this.directory}/console` };
    return [
      QEMU,
      ...this.#accelerator,
      ...bareMachine(this.#image, machine),
      ...this.agent.qemu,
      ...nics.flat(),
      ...more,
    ];
  }

  /** What the guest's kernel said, the end of it. */
  get console(): string {
    try {
      return readFileSync(`${this.directory}/console`, "utf8").slice(-2000);
    } catch {
      return ""; // QEMU was not started
    }
  }

  /** Forgets the guest; ending QEMU is for who started it. */
  [Symbol.dispose](): void {
    this.agent[Symbol.dispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
