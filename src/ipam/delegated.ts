// Any other IPAM plugin, executed from CNI_PATH (CNI spec 1.1.0, section 4 "Plugin Delegation").
import { withoutPrefix } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { isExecutable, statusOf } from "../kernel/files.ts";
import { Failure } from "../report/failure.ts";
import { log, traceparent } from "../report/log.ts";
import { readResult } from "./ipam-result.ts";
import { isObject, type Json, stringsOf } from "./json.ts";
import type { Allocation, Holder, IpamProvider } from "./provider.ts";

/** The CNI call as it came: what a delegated plugin is given. */
export interface DelegateCall {
  /** The whole network configuration as JSON. */
  readonly stdin: string;
  readonly cniVersion: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

type Verb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";

/** What a plugin's process came to. */
interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number | null;
  readonly signal: string | null;
}

const VALID_ATTACHMENTS = "cni.dev/valid-attachments";
/** Bytes. A plugin that writes more, to either of its outputs, is ended. */
const MAX_OUTPUT = 16 << 20;
/** Characters of a plugin's output that an error quotes. */
const QUOTED = 2000;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** True for a CNI version that is the wanted one or newer. */
function isAtLeast(version: string, wanted: readonly [major: number, minor: number]): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > wanted[0] || (major === wanted[0] && minor >= wanted[1]);
}

function bare(text: string): string {
  const ip = withoutPrefix(text).trim();
  return parseIp(ip) ?? ip;
}

/** The provider of one call. */
export class Delegated implements IpamProvider {
  readonly type: string;
  readonly #call: DelegateCall;

  /**
   * Throws `Failure` (`config`).
   * @param type the plugin's file name
   */
  constructor(type: string, call: DelegateCall) {
    if (type === "" || type === "." || type === ".." || /[/\0]/u.test(type)) {
      throw new Failure("config", `use ${JSON.stringify(type)} as ipam.type: it is no file name`, {
        advice: "ipam.type is the name of a plugin in CNI_PATH, without a directory.",
      });
    }
    this.type = type;
    this.#call = call;
  }

  /** The plugin's path. Throws `Failure` (`delegate`) naming the directories that were searched. */
  #find(): string {
    const directories = (this.#call.env["CNI_PATH"] ?? "").split(":").filter((d) => d !== "");
    for (const directory of directories) {
      const path = `${directory}/${this.type}`;
      if (statusOf(path)?.kind === "file" && isExecutable(path)) return path; // else the next directory may have one
    }
    const where =
      directories.length === 0
        ? "CNI_PATH is empty"
        : `there is no such executable in ${directories.join(", ")} (CNI_PATH)`;
    throw new Failure("delegate", `run the IPAM plugin ${this.type}: ${where}`, {
      advice: 'Install it there, or correct "ipam.type" (host-local and static need no other program).',
    });
  }

  /** The configuration as it came, with keys added. */
  #stdinWith(keys: Json): string {
    const config = parse(this.#call.stdin);
    return JSON.stringify({ ...(isObject(config) ? config : {}), ...keys });
  }

  /** Runs the plugin; its standard output. Its own error object becomes a `Failure` (`delegate`) with its code. */
  async #run(verb: Verb, holder?: Holder, stdin = this.#call.stdin): Promise<string> {
    const path = this.#find();
    // the protocol's parameters, and PATH for the programs that plugins run; the rest of the environment is not theirs
    const env: Record<string, string | undefined> = {};
    const trace = traceparent();
    if (trace !== undefined) env["TRACEPARENT"] = trace;
    for (const [name, value] of Object.entries(this.#call.env)) {
      if (name.startsWith("CNI_") || name === "PATH") env[name] = value;
    }
    env["CNI_COMMAND"] = verb;
    if (holder !== undefined) {
      env["CNI_CONTAINERID"] = holder.containerId;
      env["CNI_IFNAME"] = holder.ifName;
    }
    const start = performance.now();
    const ended = await execute(path, env, stdin);
    log("debug", "ran", () => ({
      program: path,
      verb,
      status: ended.exitCode,
      signal: ended.signal,
      ms: Math.round(performance.now() - start),
    }));
    // "ensure that the delegated plugin's stderr is output to the calling plugin's stderr"
    if (ended.stderr.trim() !== "") console.error(ended.stderr.trimEnd());
    if (ended.exitCode === 0) return ended.stdout;
    throw failureOf(`${path} ${verb}`, ended);
  }

  /** Runs ADD; after a failure DEL, as the spec wants it, whose own failure says nothing new. */
  async allocate(holder: Holder, ips: readonly string[]): Promise<Allocation> {
    this.#find();
    try {
      const stdout = await this.#run("ADD", holder, this.#asking(ips));
      const json = parse(stdout);
      if (!isObject(json)) {
        const text = stdout.trim() === "" ? "it is empty" : `it is no JSON object: ${stdout.trim().slice(0, QUOTED)}`;
        throw new Failure("delegate", `read the answer of the IPAM plugin ${this.type} to ADD: ${text}`);
      }
      const allocation = readResult(json);
      const given = allocation.ips.map((lease) => bare(lease.address));
      const missing = ips.find((ip) => !given.includes(bare(ip)));
      if (missing === undefined) return allocation;
      throw new Failure("address", `give the address ${missing}: ${this.type} gave ${given.join(", ")} instead`, {
        advice: "Ask for none, or use an IPAM plugin that can be asked for one.",
      });
    } catch (e) {
      await this.#run("DEL", holder).catch(() => "");
      throw e;
    }
  }

  /**
   * Stdin for ADD. A plugin sees for itself what CNI_ARGS and the configuration ask for; what a person asked for otherwise
   * is put where the conventions have it (CONVENTIONS.md of CNI: `args.cni.ips`, and the capability `ips`).
   */
  #asking(ips: readonly string[]): string {
    if (ips.length === 0) return this.#call.stdin;
    const config = parse(this.#call.stdin);
    const json = isObject(config) ? config : {};
    const args = isObject(json["args"]) ? json["args"] : {};
    const cni = isObject(args["cni"]) ? args["cni"] : {};
    const runtimeConfig = isObject(json["runtimeConfig"]) ? json["runtimeConfig"] : {};
    const fromArgs = (this.#call.env["CNI_ARGS"] ?? "").split(";").flatMap((pair) => {
      const [key, value = ""] = pair.split("=", 2);
      return key === "IP" ? value.split(",") : [];
    });
    const seen = new Set([...fromArgs, ...stringsOf(cni["ips"]), ...stringsOf(runtimeConfig["ips"])].map(bare));
    if (ips.every((ip) => seen.has(bare(ip)))) return this.#call.stdin;
    return this.#stdinWith({
      args: { ...args, cni: { ...cni, ips } },
      runtimeConfig: { ...runtimeConfig, ips },
    });
  }

  async preview(): Promise<Allocation> {
    throw new Failure(
      "delegate",
      `ask ${this.type} for an address without reserving it: a delegated IPAM plugin cannot do that`,
      { advice: "A dry run works with ipam types host-local and static, and without ipam." },
    );
  }

  /** Runs DEL, which says nothing about what it released. */
  async release(holder: Holder): Promise<readonly string[]> {
    await this.#run("DEL", holder);
    return [];
  }

  /** Runs CHECK; configurations before 0.4.0 know none. */
  async quarantine(): Promise<boolean> {
    return false; // CNI has no word for it
  }

  async check(holder: Holder): Promise<void> {
    if (isAtLeast(this.#call.cniVersion, [0, 4])) await this.#run("CHECK", holder);
  }

  /** Runs GC with `valid` as the attachments to spare; configurations before 1.1.0 know none. */
  async collect(_network: string, valid: readonly Holder[]): Promise<readonly string[]> {
    if (!isAtLeast(this.#call.cniVersion, [1, 1])) return [];
    const attachments = valid.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }));
    await this.#run("GC", undefined, this.#stdinWith({ [VALID_ATTACHMENTS]: attachments }));
    return [];
  }

  /** Runs STATUS; before 1.1.0 there is none, and the plugin need only be there. */
  async status(): Promise<void> {
    if (isAtLeast(this.#call.cniVersion, [1, 1])) await this.#run("STATUS");
    else this.#find();
  }
}

/**
 * Runs a program to its end. Bun.spawn, Bun.spawnSync and node:child_process take the same time (1.4 ms for a shell
 * script, 0.6 ms for /bin/true); this one does not block a daemon. Throws `Failure` (`delegate`) where it does not start.
 */
async function execute(path: string, env: Record<string, string | undefined>, stdin: string): Promise<Ended> {
  try {
    const child = Bun.spawn([path], {
      env,
      stdin: Buffer.from(stdin),
      stdout: "pipe",
      stderr: "pipe",
      maxBuffer: MAX_OUTPUT,
      killSignal: "SIGKILL",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return {
      stdout,
      stderr,
      exitCode: child.exitCode,
      signal: child.signalCode === null ? null : String(child.signalCode),
    };
  } catch (e) {
    throw new Failure("delegate", `run the IPAM plugin ${path}: ${e instanceof Error ? e.message : String(e)}`, {
      cause: e,
    });
  }
}

function failureOf(doing: string, { stdout, stderr, exitCode, signal }: Ended): Failure {
  const error = parse(stdout);
  if (signal === null && isObject(error) && typeof error["code"] === "number" && typeof error["msg"] === "string") {
    const { code, msg, details } = error;
    return new Failure("delegate", `run the IPAM plugin ${doing}: ${msg}`, {
      code,
      ...(typeof details === "string" && details !== "" ? { advice: details } : {}),
    });
  }
  const wordy = Math.max(stdout.length, stderr.length) >= MAX_OUTPUT;
  const end = wordy
    ? `it wrote more than ${MAX_OUTPUT >> 20} MiB`
    : signal === null
      ? `it ended with status ${exitCode ?? "?"}`
      : `it was ended by ${signal}`;
  const said = [stderr.trim(), stdout.trim()].filter((text) => text !== "").join("; ");
  const quoted = said === "" ? " and said nothing" : `: ${said.slice(0, QUOTED)}`;
  return new Failure("delegate", `run the IPAM plugin ${doing}: ${end}${quoted}`, {
    advice: "Its own log or documentation may say why.",
  });
}
