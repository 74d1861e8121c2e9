// Programs that run beside a suite: each with a file for what it says, each waited for. They end with the suite's own
// process namespace, whatever becomes of the suite.
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";

/** How long a service may take until it is ready, milliseconds. */
const PATIENCE_MS = 120_000;

/** A cloud's services, by name. */
export class Services {
  /** Where configurations, sockets, databases and logs are. Its path must be short: a socket's has 107 bytes at most. */
  readonly directory: string;
  readonly #running = new Map<string, Bun.Subprocess>();

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(`${directory}/log`, { recursive: true });
  }

  /** Starts a program. */
  start(name: string, argv: readonly string[], env: Record<string, string> = {}): void {
    const log = openSync(`${this.directory}/log/${name}`, "a");
    const child = Bun.spawn([...argv], {
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", HOME: this.directory, ...env },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.#running.set(name, child);
  }

  /** Whether a program was started and not stopped. */
  runs(name: string): boolean {
    return this.#running.has(name);
  }

  /** Ends a program, and waits until it has. */
  async stop(name: string): Promise<void> {
    const child = this.#running.get(name);
    child?.kill();
    await child?.exited;
    this.#running.delete(name);
  }

  /** Runs a program to its end; what it printed. Throws with it where it fails. */
  run(argv: readonly string[], env: Record<string, string> = {}): string {
    const r = Bun.spawnSync([...argv], {
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", HOME: this.directory, ...env },
    });
    if (r.exitCode === 0) return r.stdout.toString();
    throw new Error(`${argv.join(" ")}: exit ${r.exitCode}: ${r.stdout.toString()}${r.stderr.toString()}`.slice(-4000));
  }

  /** Waits until a program that was started is ready. Throws with its last words where it ends, or is not in time. */
  async ready(name: string, probe: () => boolean | Promise<boolean>): Promise<void> {
    for (const end = performance.now() + PATIENCE_MS; ;) {
      if (await attempt(probe)) return;
      const code = this.#running.get(name)?.exitCode;
      if (typeof code === "number" || performance.now() > end) {
        const said = readFileSync(`${this.directory}/log/${name}`, "utf8").slice(-3000);
        throw new Error(`${name} ${typeof code === "number" ? `ended with ${code}` : "is not ready"}: ${said}`);
      }
      await Bun.sleep(200);
    }
  }
}

async function attempt(probe: () => boolean | Promise<boolean>): Promise<boolean> {
  try {
    return await probe();
  } catch {
    return false;
  }
}
