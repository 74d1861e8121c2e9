// Networks by name or file: CNI's configuration files as container runtimes keep them.
import { readdirSync, readFileSync } from "node:fs";
import type { NetworkConfig } from "../attachment/config.ts";
import { readConfig } from "../attachment/config-issues.ts";
import { HOST_DEVICE, kinds } from "../attachment/kinds.ts";
import { parseJson } from "../ipam/json.ts";
import { Failure } from "../report/failure.ts";

/** Where container runtimes keep network configurations. */
export const CONFIG_DIRECTORY = "/etc/cni/net.d";

/** A plugin's configuration as a runtime would pass it on stdin, and where it stands. */
export interface NetworkFile {
  readonly file: string;
  readonly name: string;
  /** In a list: which of its plugins. */
  readonly index: number | undefined;
  /** The configuration, with the list's name and version filled in. */
  readonly json: Readonly<Record<string, unknown>>;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** True for a plugin's configuration that Berth serves. */
export function isOurs(json: Readonly<Record<string, unknown>>): boolean {
  return json["type"] === "berth" || json["type"] === HOST_DEVICE || kinds.some((k) => k === json["type"]);
}

/** The plugins of a configuration file or list. Throws `Failure` (`io`, `decode`). */
export function readNetworkFile(file: string): NetworkFile[] {
  let text;
  try {
    text = readFileSync(file, "utf8");
  } catch (e) {
    throw new Failure("io", `read ${file}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
  const json = parseJson(text, `read ${file}`);
  if (!isObject(json)) throw new Failure("decode", `read ${file}: it is no JSON object`);
  const name = typeof json["name"] === "string" ? json["name"] : "";
  const { plugins } = json;
  if (!Array.isArray(plugins)) return [{ file, name, index: undefined, json }];
  const shared = { ...("cniVersion" in json ? { cniVersion: json["cniVersion"] } : {}), name: json["name"] };
  return plugins.filter(isObject).map((plugin, index) => ({ file, name, index, json: { ...shared, ...plugin } }));
}

/** The networks of a directory that Berth serves; `unreadable` gets the failure of each file that cannot be read. */
export function listNetworks(directory: string, unreadable: (failure: Failure) => void): NetworkFile[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  const found: NetworkFile[] = [];
  for (const name of names.filter((n) => /\.(conf|conflist|json)$/u.test(n)).toSorted()) {
    try {
      found.push(...readNetworkFile(`${directory}/${name}`).filter((n) => isOurs(n.json)));
    } catch (e) {
      if (!(e instanceof Failure)) throw e;
      unreadable(e);
    }
  }
  return found;
}

/** How a command names a network. */
export interface NetworkFlags {
  readonly network?: string;
  readonly config?: string;
  readonly confDir: string;
}

/** The network that a command's flags name. Throws `Failure` (`request`, `io`, `decode`, `config`). */
export function findNetwork(flags: NetworkFlags): { config: NetworkConfig; text: string } {
  const file = flags.config === undefined ? byName(flags) : byFile(flags.config, flags.network);
  return { config: readConfig(file.json), text: JSON.stringify(file.json) };
}

function byFile(path: string, name: string | undefined): NetworkFile {
  const found = readNetworkFile(path).find((n) => isOurs(n.json) && (name === undefined || n.name === name));
  if (found !== undefined) return found;
  throw new Failure(
    "request",
    `use ${path}: it holds no configuration of Berth's${name === undefined ? "" : ` for network ${name}`}`,
    {
      advice: `Its "type" must be berth or one of ${kinds.join(", ")}.`,
    },
  );
}

function byName({ network, confDir }: NetworkFlags): NetworkFile {
  if (network === undefined) {
    throw new Failure("request", "choose a network: neither --network nor --config is given", {
      advice: '"berth network ls" lists the networks.',
    });
  }
  const all = listNetworks(confDir, () => {});
  const found = all.find((n) => n.name === network);
  if (found !== undefined) return found;
  const known = [...new Set(all.map((n) => n.name))].join(", ");
  throw new Failure("request", `find network ${network} in ${confDir}: there is none of that name`, {
    advice: known === "" ? `No file in ${confDir} configures Berth; use --config FILE.` : `There are ${known}.`,
  });
}
