// Virtual machines of a lab, in QEMU: "berth vm run" runs each on one of the lab's hosts.
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Failure } from "../report/failure.ts";
import { EMULATION, Guest, type GuestImage, KVM, QEMU } from "./guest.ts";
import { findPrograms, guestInitramfs } from "./guest-image.ts";
import { modulesOf, releaseOf } from "./guest-kernel.ts";
import { commandOn } from "./plugin.ts";
import { PORT } from "./talk.ts";

const DIRECTORY = "/run/lab/guests";
/** A guest on KVM is ready within a second or two; where it is not by then it never will be. */
const KVM_MS = 20_000;

/** The kernel that a guest is started with: the one that is named, or the one that runs here. Throws `Failure` (`unavailable`). */
function kernelOf(named: string): string {
  const release = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  const path = named === "" ? `/boot/vmlinuz-${release}` : resolve(named);
  if (existsSync(path)) return path;
  throw new Failure("unavailable", `start virtual machines: there is no kernel ${path}`, {
    advice: "Give the path of one, a bzImage with its modules in ../lib/modules: --vm /boot/vmlinuz-RELEASE",
  });
}

/** What the guests of a lab start from. */
export interface Machinery {
  readonly image: GuestImage;
  readonly accelerator: readonly string[];
  /** In words. */
  readonly description: string;
}

/**
 * Makes what virtual machines start from, out of a kernel and of this machine's programs, and finds out whether KVM runs
 * them. Throws `Failure` (`unavailable`) that names what is missing.
 * @param kernel path of a bzImage; empty for that of the running kernel
 */
export async function machinery(kernel: string): Promise<Machinery> {
  if (process.arch !== "x64") {
    throw new Failure("unavailable", `start virtual machines on ${process.arch}: the lab knows x86-64 alone`, {
      advice: "Without --vm a namespace stands for each.",
    });
  }
  const path = kernelOf(kernel);
  const release = releaseOf(path);
  findPrograms({ [QEMU]: "qemu-system-x86" }, "start virtual machines");
  mkdirSync(DIRECTORY, { recursive: true });
  const image = { kernel: path, initramfs: `${DIRECTORY}/initramfs` };
  writeFileSync(image.initramfs, guestInitramfs(release, modulesOf(path, release)));
  const accelerated = await runsOnKvm(image);
  return {
    image,
    accelerator: accelerated ? KVM : EMULATION,
    description: `Linux ${release}, ${accelerated ? "on KVM" : "in software emulation, which takes its time"}`,
  };
}

/** Whether KVM runs such a guest. That /dev/kvm is there says little: some clouds' takes only guests of a special kernel. */
async function runsOnKvm(image: GuestImage): Promise<boolean> {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return false;
  }
  using guest = new Guest(image, KVM);
  const qemu = Bun.spawn(guest.command(0), { stdio: ["ignore", "ignore", "ignore"], onExit: () => guest.agent.end() });
  try {
    await guest.agent.ready(KVM_MS);
    return true;
  } catch {
    return false; // whatever it was: emulation it is
  } finally {
    qemu.kill("SIGKILL");
    await qemu.exited;
  }
}

/** A virtual machine that is to be run. */
export interface MachinePlan {
  readonly name: string;
  /** The lab's host. */
  readonly host: string;
  /** Its networks' configurations, one for each of its NICs. */
  readonly networks: readonly string[];
}

/** A virtual machine that runs. */
export class Machine implements AsyncDisposable {
  readonly guest: Guest;
  readonly #plan: MachinePlan;
  readonly #process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #said: Promise<string>;

  /** Starts `berth vm run` on its host; see {@link ready}. */
  constructor(plan: MachinePlan, { image, accelerator }: Machinery) {
    this.#plan = plan;
    this.guest = new Guest(image, accelerator);
    const files = plan.networks.map((text, i) => {
      const file = `${DIRECTORY}/${plan.name}-${i + 1}.conf`;
      writeFileSync(file, text);
      return file;
    });
    const flags = [...files.flatMap((f) => ["--config", f]), "--name", plan.name];
    const qemu = this.guest.command(files.length);
    this.#process = Bun.spawn(commandOn(plan.host, ["vm", "run", ...flags, "--", ...qemu]), {
      stdio: ["ignore", "ignore", "pipe"],
      onExit: () => this.guest.agent.end(),
    });
    this.#said = this.#process.stderr.text();
  }

  /** As its host calls it. */
  get name(): string {
    return this.#plan.name;
  }

  /**
   * Waits until the guest has booted, has done what `berth vm guest` says, and answers on the proofs' port. Throws
   * `Failure` (`delegate`) with what Berth, QEMU and the guest had to say where it does not come so far.
   */
  async ready(): Promise<void> {
    const { name, host, networks } = this.#plan;
    try {
      await this.guest.agent.ready();
      for (const [i, text] of networks.entries()) {
        const { name: network } = JSON.parse(text) as { name: string };
        const commands = berthOn(host, "vm", "guest", "--name", name, "--network", network);
        // what is said of a NIC calls it eth0
        await this.guest.agent.must(commands.replaceAll(/\beth0\b/gu, `eth${i}`));
      }
      await this.guest.agent.must(`server ${PORT}`);
    } catch (e) {
      this.#process.kill("SIGTERM");
      const [why = "", ...lines] = `${e instanceof Error ? e.message : String(e)}\n${await this.#said}`.split("\n");
      throw new Failure("delegate", `run the virtual machine ${name} on ${host}: ${why}`, { advice: lines, cause: e });
    }
  }

  /** Ends it as a service manager would, and waits until Berth has taken its network back. Throws `Failure` (`delegate`) where that fails. */
  async end(): Promise<void> {
    await this[Symbol.asyncDispose]();
    const code = await this.#process.exited;
    if (code === 0) return;
    throw new Failure("delegate", `end the virtual machine ${this.name}: exit ${code}: ${await this.#said}`);
  }

  /** As {@link end}, whatever comes of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.exited;
    this.guest[Symbol.dispose]();
  }
}

/** What `berth ARGS` prints on a host of the lab. Throws `Failure` (`delegate`) with what it said where it fails. */
export function berthOn(host: string, ...args: string[]): string {
  const r = Bun.spawnSync(commandOn(host, args));
  if (r.exitCode === 0) return r.stdout.toString();
  throw new Failure("delegate", `berth ${args.join(" ")} on ${host}: ${r.stdout.toString()}${r.stderr.toString()}`);
}
