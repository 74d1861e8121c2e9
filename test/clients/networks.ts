// The network files of the suites: the examples' own, with what a suite varies.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { Kind } from "./host.ts";

const root = new URL("../..", import.meta.url).pathname;

/** A plugin's configuration in a list. */
export type Plugin = Record<string, unknown>;

/** Installs the plugins as the documentation says; the standard ones beside them in a directory of their own. */
export function installPlugins(): void {
  const r = Bun.spawnSync(["berth", "install", "--bin-dir", "/opt/cni/bin"]);
  if (r.exitCode !== 0) throw new Error(`berth install: ${r.stderr.toString()}`);
}

/** An example's configuration list as JSON. */
function example(file: string): { readonly plugins: readonly Plugin[] } & Record<string, unknown> {
  return JSON.parse(readFileSync(`${root}examples/${file}`, "utf8")) as ReturnType<typeof example>;
}

/** Options of {@link writeNetwork}. */
export interface Network {
  readonly name: string;
  readonly kind: Kind;
  readonly cniVersion?: string;
  /** Addresses of one family only: no waiting for duplicate address detection. */
  readonly ipv4Only?: boolean;
  /** Other addresses than the example's, for a second network of the same LAN; implies IPv4 only. */
  readonly range?: { readonly rangeStart: string; readonly rangeEnd: string };
  /** Keys of the plugin, instead of the example's. */
  readonly plugin?: Plugin;
  /** Plugins that are chained after it. */
  readonly chained?: readonly Plugin[];
}

/** Writes examples/host-access-auto.conflist, varied, to where runtimes look for networks; its path. */
export function writeNetwork({ name, kind, cniVersion, ipv4Only, range, plugin = {}, chained = [] }: Network): string {
  const list = example("host-access-auto.conflist");
  const [own = {}] = list.plugins;
  const ipam = own["ipam"] as Record<string, unknown>;
  const all = ipam["ranges"] as object[][];
  const ranges = ipv4Only === true || range !== undefined ? [[{ ...all[0]?.[0], ...range }]] : all;
  const routes = (ipam["routes"] as unknown[]).slice(0, ranges.length);
  const plugins = [{ ...own, type: kind, ipam: { ...ipam, ranges, routes }, ...plugin }, ...chained];
  const path = `/etc/cni/net.d/${name}.conflist`;
  mkdirSync("/etc/cni/net.d", { recursive: true });
  writeFileSync(path, JSON.stringify({ ...list, ...(cniVersion === undefined ? {} : { cniVersion }), name, plugins }));
  return path;
}
