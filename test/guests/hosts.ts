// Hosts that a virtual machine moves between: each a network namespace with a mount namespace of its own, and so with
// records and reservations of its own.
import { namedNamespacePath } from "../../src/kernel/namespaces.ts";

const main = `${import.meta.dir}/../../src/main.ts`;
/** What two hosts do not share. */
const OWN = ["/run/berth", "/var/lib/cni"];

/** A host in a namespace of the test's world. Make it after the containers, whose namespaces it then knows by name. */
export class SmallHost implements AsyncDisposable {
  readonly name: string;
  readonly #holder: Bun.Subprocess<"ignore", "pipe", "inherit">;

  private constructor(name: string, holder: Bun.Subprocess<"ignore", "pipe", "inherit">) {
    this.name = name;
    this.#holder = holder;
  }

  /** Makes the host's mount namespace in the network namespace of that name. */
  static async in(name: string): Promise<SmallHost> {
    const mounts = OWN.map((path) => `mkdir -p ${path} && mount -t tmpfs tmpfs ${path}`).join(" && ");
    const holder = Bun.spawn(
      [
        "nsenter",
        `--net=${namedNamespacePath(name)}`,
        "unshare",
        "--mount",
        "sh",
        "-c",
        `${mounts} && echo up && exec sleep 3600`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    await holder.stdout.getReader().read();
    return new SmallHost(name, holder);
  }

  /** A command line, made one on the host. */
  command(...argv: string[]): string[] {
    return ["nsenter", `--target=${this.#holder.pid}`, "--net", "--mount", "--", ...argv];
  }

  /** The command line of `berth ARGS` on the host. */
  berthCommand(...args: string[]): string[] {
    return this.command("sh", "-c", 'exec "$0" "$@"', process.execPath, main, ...args);
  }

  /** What a program prints on the host. Throws where it fails. */
  run(...argv: string[]): string {
    const r = Bun.spawnSync(this.command(...argv));
    if (r.exitCode === 0) return r.stdout.toString();
    throw new Error(`${argv.join(" ")}: exit ${r.exitCode}: ${r.stderr.toString()}${r.stdout.toString()}`);
  }

  /** What `berth ARGS` prints on the host. Throws where it fails. */
  berth(...args: string[]): string {
    return this.run(process.execPath, main, ...args);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.kill("SIGKILL");
    await this.#holder.exited;
  }
}
