// dockerd as Debian ships it (20.10), and Berth's plugin beside it; both are started by hand, as a suite has no systemd.
import { existsSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { until } from "../world.ts";
import { run, start } from "./host.ts";
import { IMAGE, makeArchive } from "./image.ts";

const LOG = "/run/dockerd.log";
const PLUGIN_LOG = "/run/berth-docker.log";
const SOCKET = "/run/docker/plugins/berth.sock";
const CONTAINERD_PID = "/run/docker/containerd/containerd.pid";
/**
 * Neither Docker's own bridge nor its rules are wanted, and what a machine without systemd and with few rights asks for: the
 * rest is as it comes.
 */
const FLAGS = ["--bridge=none", "--iptables=false", "--exec-opt", "native.cgroupdriver=cgroupfs"];

/** A program that is running. */
interface Running {
  readonly process: Bun.Subprocess;
}

async function end(running: Running | undefined, signal: NodeJS.Signals): Promise<void> {
  running?.process.kill(signal);
  await running?.process.exited;
}

/** Where dockerd and the plugin run. */
export interface Where {
  /** Path of the network namespace; absent: this one. */
  readonly netns?: string;
  /** Of the plugin, beside this process's own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Whether a plugin answers on a socket; a file alone may be a killed one's. */
async function answers(socket: string): Promise<boolean> {
  try {
    return (await fetch("http://plugin/Plugin.Activate", { unix: socket, method: "POST" })).ok;
  } catch {
    return false;
  }
}

/** dockerd, its plugin, and its client. */
export class Docker implements AsyncDisposable {
  #daemon: Running | undefined;
  #plugin: Running | undefined;
  readonly #started: number[] = [];
  readonly #where: Where;

  private constructor(where: Where) {
    this.#where = where;
  }

  /** Starts the plugin, then dockerd, and loads {@link IMAGE}. */
  static async launch(where: Where = {}): Promise<Docker> {
    // a newer client that a machine may have would be found first
    if (!existsSync("/run/bin/docker")) symlinkSync("/usr/bin/docker", "/run/bin/docker");
    const docker = new Docker(where);
    await docker.startPlugin();
    await docker.startDaemon();
    makeArchive("/run/image.tar");
    docker.run("load", "-q", "-i", "/run/image.tar");
    return docker;
  }

  /** Starts dockerd; waits until it answers. */
  async startDaemon(...flags: readonly string[]): Promise<void> {
    rmSync("/run/docker.pid", { force: true });
    this.#daemon = this.#spawn(["dockerd", ...FLAGS, ...flags], `${LOG}.${this.#started.push(0)}`);
    const { process } = this.#daemon;
    await until(
      "dockerd answers",
      () => process.exitCode !== null || Bun.spawnSync(["docker", "version"]).exitCode === 0,
      60_000,
    );
    if (process.exitCode !== null) throw new Error(`dockerd ended: ${this.log()}`);
  }

  /** Stops dockerd; SIGTERM lets it stop its containers, unless it shall restore them. */
  async stopDaemon(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await end(this.#daemon, signal);
    this.#daemon = undefined;
    if (signal !== "SIGKILL") return;
    // its containerd dies with it; the next dockerd must not take another process of that number for it
    rmSync(CONTAINERD_PID, { force: true });
  }

  /** Starts the plugin; waits until it listens. */
  async startPlugin(): Promise<void> {
    this.#plugin = this.#spawn(["berth", "docker", "--look-every", "1"], PLUGIN_LOG);
    const { process } = this.#plugin;
    await until("the plugin answers", async () => process.exitCode !== null || (await answers(SOCKET)));
    if (process.exitCode !== null) throw new Error(`berth docker ended: ${readFileSync(PLUGIN_LOG, "utf8")}`);
  }

  /** Stops the plugin. */
  async stopPlugin(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await end(this.#plugin, signal);
    this.#plugin = undefined;
  }

  #spawn(argv: readonly string[], log: string): Running {
    const { netns, env } = this.#where;
    const enter = netns === undefined ? [] : ["nsenter", `--net=${netns}`, "--"];
    const fd = Bun.file(log);
    return { process: Bun.spawn([...enter, ...argv], { stdio: ["ignore", fd, fd], env: { ...process.env, ...env } }) };
  }

  /** What `docker ARGS` prints. Throws with all that it said. */
  run(...args: readonly string[]): string {
    return run(["docker", ...args]).trim();
  }

  /** `docker ARGS` beside others. */
  async start(...args: readonly string[]): ReturnType<typeof start> {
    return await start(["docker", ...args]);
  }

  /** Runs a container of {@link IMAGE} in the background. */
  container(name: string, ...args: readonly string[]): void {
    this.run("run", "-d", "--name", name, ...args, IMAGE);
  }

  /** After a test, whatever became of it: starts what is not running, and removes what is left in Docker. */
  async recover(): Promise<void> {
    if (this.#plugin === undefined) await this.startPlugin();
    if (this.#daemon === undefined) await this.startDaemon();
    this.clear();
  }

  /** Removes containers and networks of Docker's, whatever their state. */
  clear(): void {
    const containers = this.run("ps", "-aq").split("\n").filter(Boolean);
    if (containers.length > 0) this.run("rm", "-f", ...containers);
    const networks = this.run("network", "ls", "-q", "--filter", "driver=berth").split("\n").filter(Boolean);
    if (networks.length > 0) this.run("network", "rm", ...networks);
  }

  /** The last lines of what dockerd and the plugin said. */
  log(): string {
    const last = [`${LOG}.${this.#started.length}`, PLUGIN_LOG].map((f) =>
      existsSync(f) ? readFileSync(f, "utf8") : "",
    );
    return last.map((text) => text.split("\n").slice(-15).join("\n")).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopDaemon();
    await this.stopPlugin();
  }
}
