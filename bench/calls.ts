// One CNI call as a runtime makes it: a process with CNI_* in its environment, the configuration on stdin, the result on stdout.
import type { Config, Plugin } from "./plugins.ts";

/** The commands that are measured. */
export type Verb = "ADD" | "CHECK" | "DEL" | "VERSION";

/** What a call took. */
export interface Cost {
  /** From before the process is started until it has ended and its output was read, milliseconds. */
  readonly wall: number;
  /** User and system time of the process and of those it waited for, milliseconds. */
  readonly cpu: number;
}

/** A call's arguments. */
export interface Target {
  readonly containerId: string;
  /** Path of the container's namespace. */
  readonly netns: string;
}

/** The environment of a call, and nothing else. */
export function environment(plugin: Plugin, verb: Verb, target: Target, ifName = "eth0"): Record<string, string> {
  return {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    CNI_COMMAND: verb,
    CNI_CONTAINERID: target.containerId,
    CNI_NETNS: target.netns,
    CNI_IFNAME: ifName,
    CNI_PATH: plugin.cniPath,
  };
}

/** Calls a plugin once. Throws where it fails. */
export async function call(
  plugin: Plugin,
  verb: Verb,
  target: Target,
  config: Config,
  more: { readonly ifName?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<{ cost: Cost; stdout: string; stderr: string }> {
  const stdin = new TextEncoder().encode(JSON.stringify(config));
  const env = { ...environment(plugin, verb, target, more.ifName), ...plugin.env, ...more.env };
  const start = performance.now();
  const p = Bun.spawn([plugin.executable], { env, stdin, stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([p.stdout.text(), p.stderr.text(), p.exited]);
  const wall = performance.now() - start;
  if (exitCode !== 0) {
    const said = `${stdout}${stderr}`.trim();
    throw new Error(`${plugin.executable}, ${verb} of ${target.containerId}: exit status ${exitCode}: ${said}`);
  }
  return { cost: { wall, cpu: Number(p.resourceUsage()?.cpuTime.total ?? 0) / 1000 }, stdout, stderr };
}

/** One attachment of one plugin, from ADD to DEL; the runtime's part (it keeps the result) is done here. */
export class Attachment {
  readonly #plugin: Plugin;
  readonly #target: Target;
  #config: Config;

  constructor(plugin: Plugin, target: Target, config: Config) {
    this.#plugin = plugin;
    this.#target = target;
    this.#config = config;
  }

  /** ADD. Throws where it fails or its result holds no address. */
  async add(): Promise<Cost> {
    const { prevResult: _, ...config } = this.#config;
    const { cost, stdout } = await call(this.#plugin, "ADD", this.#target, config);
    this.#config = { ...config, prevResult: resultOf(this.#plugin, stdout) };
    return cost;
  }

  /** CHECK, with ADD's result. Throws where it fails. */
  async check(): Promise<Cost> {
    return (await call(this.#plugin, "CHECK", this.#target, this.#config)).cost;
  }

  /** DEL, with ADD's result. Throws where it fails. */
  async del(): Promise<Cost> {
    return (await call(this.#plugin, "DEL", this.#target, this.#config)).cost;
  }
}

/** An ADD's result, in which an address must be. Throws where there is none. */
export function resultOf(plugin: Plugin, stdout: string): unknown {
  const result: unknown = JSON.parse(stdout);
  if (typeof result === "object" && result !== null && "ips" in result && Array.isArray(result.ips)) {
    const [first] = result.ips as unknown[];
    if (typeof first === "object" && first !== null && "address" in first) return result;
  }
  throw new Error(`${plugin.executable}, ADD: there is no address in its result ${stdout}`);
}
