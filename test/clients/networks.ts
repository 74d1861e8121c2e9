// The network files of the suites: the examples' own, with what a suite varies.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type Kind, RESERVATIONS } from "./host.ts";
import { installRecorder } from "./record.ts";

const root = new URL("../..", import.meta.url).pathname;

/** A plugin's configuration in a list. */
export type Plugin = Record<string, unknown>;

/** Installs the plugins as the documentation says; the standard ones beside them in a directory of their own. */
export function installPlugins(): void {
  const r = Bun.spawnSync(["berth", "install", "--bin-dir", "/opt/cni/bin"]);
  if (r.exitCode !== 0) throw new Error(`berth install: ${r.stderr.toString()}`);
  installRecorder("/opt/cni/bin");
}

/** An example's configuration list as JSON. */
function example(file: string): { readonly plugins: readonly Plugin[] } & Record<string, unknown> {
  return JSON.parse(readFileSync(`${root}examples/${file}`, "utf8")) as ReturnType<typeof example>;
}

/** How a suite's network differs from the example. */
interface Variation {
  readonly kind: Kind;
  /** Addresses of one family only: no waiting for duplicate address detection. */
  readonly ipv4Only?: boolean;
  /** Other addresses than the example's, for a second network of the same LAN; implies IPv4 only. */
  readonly range?: { readonly rangeStart: string; readonly rangeEnd: string };
  /** Keys of the plugin, instead of the example's. */
  readonly plugin?: Plugin;
}

/** Options of {@link writeNetwork}. */
export interface Network extends Variation {
  readonly name: string;
  readonly cniVersion?: string;
  /** Plugins that are chained after it. */
  readonly chained?: readonly Plugin[];
}

/** The plugin of examples/host-access-auto.conflist, varied. */
export function pluginOf({ kind, ipv4Only, range, plugin }: Variation): Plugin {
  const [own = {}] = example("host-access-auto.conflist").plugins;
  const ipam = own["ipam"] as Record<string, unknown>;
  const all = ipam["ranges"] as object[][];
  const ranges = ipv4Only === true || range !== undefined ? [[{ ...all[0]?.[0], ...range }]] : all;
  const routes = (ipam["routes"] as unknown[]).slice(0, ranges.length);
  return { ...own, type: kind, ipam: { ...ipam, ranges, routes }, ...plugin };
}

/** A network's next address is the first of its range again. */
export function forgetReservations(network: string): void {
  rmSync(`${RESERVATIONS}/${network}`, { recursive: true, force: true });
}

/** Writes examples/host-access-auto.conflist, varied, to where runtimes look for networks, as a new network; its path. */
export function writeNetwork({ name, cniVersion, chained = [], ...variation }: Network): string {
  forgetReservations(name);
  const list = example("host-access-auto.conflist");
  const plugins = [pluginOf(variation), ...chained];
  const path = `/etc/cni/net.d/${name}.conflist`;
  mkdirSync("/etc/cni/net.d", { recursive: true });
  writeFileSync(path, JSON.stringify({ ...list, ...(cniVersion === undefined ? {} : { cniVersion }), name, plugins }));
  return path;
}
