// Calls of the plugin as a container runtime makes them, on one of a lab's hosts.
import { makeDirectory } from "../kernel/files.ts";
import { mountNamespace, namedNamespacePath } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";
import { self } from "./session.ts";
import { HOST } from "./world.ts";

/** One call. */
export interface PluginCall {
  readonly verb: "ADD" | "CHECK" | "DEL";
  /** The configuration as JSON text. */
  readonly configuration: string;
  /** The container's id; its namespace is that of the lab's place of this name. */
  readonly container: string;
  /** "task-1" of the namespace "task" is called so by its runtime; absent: as the namespace. */
  readonly containerId?: string;
  readonly ifName: string;
  /** The namespace that is the host; absent: the lab's own. */
  readonly host?: string;
}

/** What a host keeps, which is not the other host's: Berth's records, and reservations. */
const kept = ["/run/berth", "/var/lib/cni"] as const;

/** Where a host's own state is, by the path at which its programs find it. */
export function stateOf(host: string, path: (typeof kept)[number]): string {
  return host === HOST ? path : `/run/lab/${host}${path}`;
}

const mounts = new Map<string, number>();

/** A descriptor of a host's mount namespace, in which its own directories are in their places; kept while the lab stands. */
function mountsOf(host: string): number {
  let fd = mounts.get(host);
  if (fd !== undefined) return fd;
  for (const path of kept) for (const directory of [path, stateOf(host, path)]) makeDirectory(directory);
  fd = mountNamespace(kept.map((path) => [stateOf(host, path), path]));
  mounts.set(host, fd);
  return fd;
}

/** A command as it is run on a host of the lab. */
function onHost(host: string, command: readonly string[]): string[] {
  if (host === HOST) return [...command];
  const mount = `/proc/${process.pid}/fd/${mountsOf(host)}`;
  return ["nsenter", `--net=${namedNamespacePath(host)}`, `--mount=${mount}`, "--", ...command];
}

/** The command line of `berth ARGS` on a host of the lab. */
export function commandOn(host: string, args: readonly string[]): string[] {
  return onHost(host, [...self(), ...args]);
}

/** Calls the plugin: a process, its environment, stdin and stdout. Its answer; throws `Failure` (`delegate`) with what it said where it failed. */
export function callPlugin({ verb, configuration, container, containerId, ifName, host = HOST }: PluginCall): string {
  const { type } = JSON.parse(configuration) as { type: string };
  const env = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: containerId ?? container,
    CNI_NETNS: namedNamespacePath(container),
    CNI_IFNAME: ifName,
    CNI_PATH: "/opt/cni/bin",
    PATH: process.env["PATH"],
  };
  const [program = "", ...args] = onHost(host, self());
  const named = host === HOST ? { argv0: type } : {}; // nsenter starts it by its path: the configuration's type tells
  const child = Bun.spawnSync([program, ...args], { ...named, env, stdin: Buffer.from(configuration) });
  if (child.exitCode === 0) return child.stdout.toString().trim();
  throw new Failure("delegate", `call the plugin with ${verb}: ${child.stdout.toString()}${child.stderr.toString()}`);
}
