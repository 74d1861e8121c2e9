// A CNI call as it came: environment and stdin.
import { parseMac } from "../address/mac.ts";
import type { NetworkConfig } from "../attachment/config.ts";
import { checkKey, type Key } from "../attachment/key.ts";
import type { Kind } from "../attachment/kinds.ts";
import { readConfigQuickly } from "../attachment/quick-config.ts";
import { kindOf } from "../attachment/sub-interface.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import { parseJson as parse } from "../ipam/json.ts";
import { Failure } from "../report/failure.ts";
import { type Verb, type VerbName, verbs } from "./verbs.ts";
import { type CniVersion, isAtLeast, versionOf } from "./version.ts";

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A call that may be served. */
export interface Call {
  readonly verb: VerbName;
  readonly version: CniVersion;
  readonly config: NetworkConfig;
  readonly kind: Kind;
  /** Of an attachment's commands; empty strings for GC and STATUS. */
  readonly key: Key;
  readonly netns: string;
  readonly mac: string | undefined;
  readonly ips: readonly string[];
  readonly prevResult: unknown;
  readonly delegate: DelegateCall;
}

/** All of standard input. Throws `Failure` (`io`). */
export function readStdin(read: () => string): string {
  try {
    return read();
  } catch (e) {
    throw new Failure("io", `read the network configuration: ${e instanceof Error ? e.message : String(e)}`, {
      advice: "CNI passes the network configuration as JSON on stdin; 16 MiB are read at most.",
      cause: e,
    });
  }
}

/** Text as JSON; `Failure` (`decode`) with the parser's sentence. */
export function parseJson(text: string): unknown {
  if (text.trim() === "") {
    throw new Failure("decode", "read the network configuration from stdin: it is empty", {
      advice: "CNI passes the network configuration as JSON on stdin.",
    });
  }
  return parse(text, "read the network configuration from stdin");
}

/** CNI_ARGS: `KEY=VALUE;KEY=VALUE`. Keys that Berth does not know are somebody else's. Throws `Failure` (`request`). */
function parseArgs(text: string | undefined): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  for (const pair of (text ?? "").split(";")) {
    if (pair === "") continue;
    const at = pair.indexOf("=");
    if (at < 1) {
      throw new Failure("request", `read CNI_ARGS: ${JSON.stringify(pair)} is no KEY=VALUE`, {
        advice: "CNI_ARGS is a list of KEY=VALUE separated by semicolons.",
      });
    }
    args.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return args;
}

function requireEnvironment(name: VerbName, verb: Verb, env: Environment): void {
  const missing: string[] = [];
  for (const variable of verb.requires) if ((env[variable] ?? "") === "") missing.push(variable);
  if (missing.length === 0) return;
  throw new Failure("request", `serve ${name}: ${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not set`, {
    advice: `${name} requires ${verb.requires.join(", ")}.`,
  });
}

/** The MAC that was asked for: the runtime's word before CNI_ARGS', that before args.cni's. */
function macOf(config: NetworkConfig, args: ReadonlyMap<string, string>, task: MesosTask): string | undefined {
  const where = args.has("MAC") ? "CNI_ARGS" : "the label berth.mac";
  const asked = config.runtimeConfig?.mac ?? args.get("MAC") ?? task.mac ?? config.args?.cni?.mac;
  if (asked === undefined || asked === "") return undefined;
  const mac = parseMac(asked);
  if (mac !== undefined) return mac;
  throw new Failure(
    "request",
    `use the MAC ${JSON.stringify(asked)} of ${where}: it is not six pairs of hexadecimal digits`,
  );
}

/** What a Mesos task asks for. */
interface MesosTask {
  readonly ips: readonly string[];
  readonly mac: string | undefined;
}

/** The wishes in the NetworkInfo that a Mesos agent adds to the configuration. Its `protocol` is no wish: it is always printed. */
function mesosTask(config: NetworkConfig): MesosTask {
  const info = config.args?.["org.apache.mesos"]?.network_info;
  if (info === undefined) return { ips: [], mac: undefined };
  const labels = (info.labels?.labels ?? []).filter(({ value = "" }) => value !== "");
  const named = (key: string): string[] => labels.flatMap((label) => (label.key === key ? [label.value ?? ""] : []));
  const addresses = (info.ip_addresses ?? []).flatMap(({ ip_address: ip = "" }) => (ip === "" ? [] : [ip]));
  return { ips: [...addresses, ...named("berth.ip")], mac: named("berth.mac").at(-1) };
}

/** The addresses that were asked for. A Mesos task's replace those that its configuration file asks for. */
function ipsOf(config: NetworkConfig, args: ReadonlyMap<string, string>, task: MesosTask): string[] {
  const inFile = config.args?.cni?.ips ?? [];
  const wanted = [
    args.get("IP") ?? "",
    ...(task.ips.length > 0 ? task.ips : inFile),
    ...(config.runtimeConfig?.ips ?? []),
  ];
  if (wanted.length === 1 && wanted[0] === "") return []; // the usual case
  const texts = wanted.flatMap((text) => text.split(",")).map((text) => text.trim());
  return [...new Set(texts.filter((text) => text !== ""))];
}

/** Reads a call, its requirements checked: at once, unless its configuration has to be explained. Throws `Failure`. */
export function readCall(name: VerbName, env: Environment, stdin: string, calledAs: string): Call | Promise<Call> {
  const verb: Verb = verbs[name];
  const json = parseJson(stdin);
  const stated = typeof json === "object" && json !== null && "cniVersion" in json ? json.cniVersion : undefined;
  const version = versionOf(stated);
  requireEnvironment(name, verb, env);
  if (!isAtLeast(version, verb.since)) {
    throw new Failure(
      "version",
      `serve ${name} for a configuration of version ${version}: it came with ${verb.since}`,
      {
        advice: `Set "cniVersion" to ${verb.since} or newer.`,
      },
    );
  }
  const words = { name, env, stdin, calledAs, version };
  const config = readConfigQuickly(json);
  return config instanceof Promise ? config.then((c) => callOf(c, words)) : callOf(config, words);
}

/** What a call says beside its configuration. */
interface Words {
  readonly name: VerbName;
  readonly version: CniVersion;
  readonly env: Environment;
  readonly stdin: string;
  readonly calledAs: string;
}

function callOf(config: NetworkConfig, { name, version, env, stdin, calledAs }: Words): Call {
  const args = parseArgs(env["CNI_ARGS"]);
  const key = {
    network: config.name,
    containerId: env["CNI_CONTAINERID"] ?? "",
    ifName: env["CNI_IFNAME"] ?? "",
  };
  if (verbs[name].requires.length > 0) checkKey(key);
  const task = mesosTask(config);
  const netns = env["CNI_NETNS"] ?? "";
  // it stands in records, in what `berth ls` prints, and in the commands that explain a plan
  if (/\p{Cc}/u.test(netns)) {
    throw new Failure("request", `use ${JSON.stringify(netns)} as CNI_NETNS: a control character is in it`, {
      advice: "It is the path of the container's network namespace.",
    });
  }
  return {
    verb: name,
    version,
    config,
    kind: kindOf(config, calledAs),
    key,
    netns,
    mac: macOf(config, args, task),
    ips: ipsOf(config, args, task),
    prevResult: "prevResult" in config ? config["prevResult"] : undefined,
    delegate: { stdin, cniVersion: version, env },
  };
}

/** The attachments that GC shall spare (`cni.dev/valid-attachments`); undefined where the key is absent. */
export function validAttachments(config: NetworkConfig): Key[] | undefined {
  const list = config["cni.dev/valid-attachments"];
  if (list === undefined) return undefined;
  if (!Array.isArray(list)) throw new Failure("config", "read cni.dev/valid-attachments: it is no list");
  return list.map((entry: unknown, i) => {
    const { containerID: containerId, ifname: ifName } = (entry ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof containerId === "string" && typeof ifName === "string")
      return { network: config.name, containerId, ifName };
    throw new Failure("config", `read cni.dev/valid-attachments[${i}]: it has no containerID and ifname`);
  });
}
