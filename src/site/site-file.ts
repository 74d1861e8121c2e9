// A site file: the networks and attachments that a host shall have, as YAML.
import * as v from "valibot";
import type { NetworkConfig } from "../attachment/config.ts";
import { readConfig } from "../attachment/config-issues.ts";
import { isIpOrCidr, isMac } from "../attachment/config-texts.ts";
import { checkKey, describeKey, type Key, keyFileName } from "../attachment/key.ts";
import type { Kind } from "../attachment/kinds.ts";
import { kindOf } from "../attachment/sub-interface.ts";
import { parseMac } from "../address/mac.ts";
import { namedNamespacePath, processNamespacePath } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";

const address = v.pipe(v.string(), v.check(isIpOrCidr, "an IP address, with or without a prefix length"));
const name = v.pipe(v.string(), v.regex(/^[a-zA-Z0-9][\w.-]*$/u, "a name: letters, digits, dots, dashes, underscores"));

const attachment = v.strictObject({
  /** One of the file's networks. */
  network: v.string(),
  /** The namespace: a name (ip netns), or a path. */
  netns: v.exactOptional(v.pipe(v.string(), v.nonEmpty())),
  /** Makes the namespace that is named where it is missing; `berth down` deletes it. */
  create: v.exactOptional(v.boolean()),
  /** A process in the namespace, instead of netns. */
  pid: v.exactOptional(v.pipe(v.number(), v.integer(), v.minValue(1))),
  /** The interface's name there; absent: eth0. */
  interface: v.exactOptional(v.string()),
  /** The container id; absent: the namespace's name, or pid-N. */
  id: v.exactOptional(v.string()),
  ip: v.exactOptional(v.union([address, v.array(address)])),
  mac: v.exactOptional(v.pipe(v.string(), v.check(isMac, "a MAC address: six pairs of hexadecimal digits"))),
});

const siteFile = v.strictObject({
  /** By name: a configuration without `name` (and `type`, where `kind` is there), or the path of a file that holds it. */
  networks: v.record(name, v.union([v.string(), v.looseObject({})])),
  attachments: v.array(attachment),
});

/** An attachment as a site file wants it. */
export interface Wanted {
  readonly key: Key;
  readonly kind: Kind;
  /** Path of its namespace. */
  readonly netns: string;
  /** The namespace's name where it is to be made if it is missing. */
  readonly create: string | undefined;
  readonly config: NetworkConfig;
  /** The configuration as JSON text. */
  readonly text: string;
  readonly ips: readonly string[];
  readonly mac: string | undefined;
}

/** A network's configuration in a file: as JSON. Throws `Failure`. */
export type ReadNetwork = (path: string, name: string) => Readonly<Record<string, unknown>>;

interface Network {
  readonly config: NetworkConfig;
  readonly text: string;
}

function describe(issue: v.BaseIssue<unknown>): string {
  const where = v.getDotPath(issue) ?? "the file";
  const value = issue.input === undefined ? "is missing" : `is ${JSON.stringify(issue.input)}`;
  return `${where} ${value}: it must be ${issue.type === "check" || issue.type === "regex" ? issue.message : (issue.expected ?? issue.message)}`;
}

function parse(path: string, text: string): v.InferOutput<typeof siteFile> {
  let yaml: unknown;
  try {
    yaml = Bun.YAML.parse(text);
  } catch (e) {
    throw new Failure("decode", `read ${path}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
  const result = v.safeParse(siteFile, yaml);
  if (result.success) return result.output;
  throw new Failure("config", `read ${path}: ${result.issues.map(describe).join("; ")}`, {
    advice: "docs/site.md shows such a file.",
  });
}

/**
 * The attachments of a site file, in its order. Throws `Failure` (`decode`, `config`, `request`, and what `readNetwork` throws).
 * @param path the file, for errors
 * @param readNetwork reads a network that the file refers to by path
 */
export function readSite(path: string, text: string, readNetwork: ReadNetwork): Wanted[] {
  const file = parse(path, text);
  const networks = new Map<string, Network>();
  for (const [network, given] of Object.entries(file.networks)) {
    const json = typeof given === "string" ? readNetwork(given, network) : { type: "berth", ...given, name: network };
    networks.set(network, { config: readConfig(json), text: JSON.stringify(json) });
  }
  const seen = new Map<string, number>();
  return file.attachments.map((entry, index) => {
    const where = `${path}: attachments.${index}`;
    const network = networks.get(entry.network);
    if (network === undefined) {
      throw new Failure("config", `read ${where}: there is no network ${entry.network}`, {
        advice: `The file's networks are ${[...networks.keys()].join(", ") || "none"}.`,
      });
    }
    const wanted = wantedOf(entry, network, where);
    const id = keyFileName(wanted.key);
    const other = seen.get(id);
    if (other !== undefined) {
      throw new Failure("config", `read ${where}: it is ${describeKey(wanted.key)}, as attachments.${other} is`, {
        advice: 'Give one of them another "interface".',
      });
    }
    seen.set(id, index);
    return wanted;
  });
}

function wantedOf(entry: v.InferOutput<typeof attachment>, { config, text }: Network, where: string): Wanted {
  const { netns, pid, create = false } = entry;
  if ((netns === undefined) === (pid === undefined)) {
    throw new Failure("config", `read ${where}: it must have either netns or pid`);
  }
  const named = netns !== undefined && !netns.includes("/");
  if (create && !named) {
    throw new Failure("config", `read ${where}: create is for a namespace with a name`, {
      advice: "Give netns a name instead of a path, or leave create out.",
    });
  }
  const place = pid === undefined ? (netns ?? "") : `pid-${pid}`;
  const key = checkKey({
    network: config.name,
    containerId: entry.id ?? place.slice(place.lastIndexOf("/") + 1),
    ifName: entry.interface ?? "eth0",
  });
  return {
    key,
    kind: kindOf(config, ""),
    netns: pid === undefined ? (named ? namedNamespacePath(netns) : (netns ?? "")) : processNamespacePath(pid),
    create: create ? netns : undefined,
    config,
    text,
    ips: typeof entry.ip === "string" ? [entry.ip] : (entry.ip ?? []),
    mac: entry.mac === undefined ? undefined : parseMac(entry.mac),
  };
}
