// Any other IPAM plugin, executed from CNI_PATH (CNI spec 1.1.0, section 4 "Plugin Delegation").
import { accessSync, constants } from "node:fs";
import { formatCidr, parseCidr } from "../address/cidr.ts";
import { ipFamily, parseIp } from "../address/ip.ts";
import { Failure } from "../report/failure.ts";
import type { Allocation, Dns, Holder, IpamProvider, Lease, RouteSpec } from "./provider.ts";

/** The CNI call as it came: what a delegated plugin is given. */
export interface DelegateCall {
  /** The whole network configuration as JSON. */
  readonly stdin: string;
  readonly cniVersion: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

type Verb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";

/** The variables that the spec grants to a plugin, and PATH, which plugins need to find programs. */
const granted = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH", "PATH"] as const;
const withoutCheck: ReadonlySet<string> = new Set(["0.1.0", "0.2.0", "0.3.0", "0.3.1"]);

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function listOf(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** The provider of one call. */
export class Delegated implements IpamProvider {
  readonly type: string;
  readonly #call: DelegateCall;

  /** @param type the plugin's file name */
  constructor(type: string, call: DelegateCall) {
    if (type === "" || type === "." || type === ".." || /[/\0]/u.test(type)) {
      throw new Failure("config", `use ${JSON.stringify(type)} as ipam.type: it is no file name`, {
        advice: "ipam.type is the name of a plugin in CNI_PATH, without a directory.",
      });
    }
    this.type = type;
    this.#call = call;
  }

  #find(): string {
    const directories = (this.#call.env["CNI_PATH"] ?? "").split(":").filter((d) => d !== "");
    for (const directory of directories) {
      const path = `${directory}/${this.type}`;
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // the next directory may have it
      }
    }
    const where = directories.length === 0 ? "CNI_PATH is empty" : `it is not in ${directories.join(", ")} (CNI_PATH)`;
    throw new Failure("delegate", `run the IPAM plugin ${this.type}: ${where}`, {
      advice: `Install it there, or correct "ipam.type" (host-local and static need no other program).`,
    });
  }

  /** Runs the plugin; its standard output. Its own error object becomes a `Failure` with its code. */
  async #run(verb: Verb): Promise<string> {
    const path = this.#find();
    const env: Record<string, string> = { CNI_COMMAND: verb };
    for (const name of granted) {
      const value = this.#call.env[name];
      if (value !== undefined) env[name] = value;
    }
    let child;
    try {
      child = Bun.spawn([path], { env, stdin: new Blob([this.#call.stdin]), stdout: "pipe", stderr: "pipe" });
    } catch (e) {
      throw new Failure("delegate", `run ${path}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
    }
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (child.exitCode === 0) return stdout;
    throw this.#failed(
      `${path} ${verb}`,
      stdout,
      stderr,
      child.exitCode,
      child.signalCode === null ? null : `signal ${child.signalCode}`,
    );
  }

  #failed(doing: string, stdout: string, stderr: string, exitCode: number | null, signal: string | null): Failure {
    let error: unknown;
    try {
      error = JSON.parse(stdout);
    } catch {
      error = undefined;
    }
    if (isObject(error) && typeof error["code"] === "number" && typeof error["msg"] === "string") {
      const details = typeof error["details"] === "string" && error["details"] !== "" ? ` (${error["details"]})` : "";
      return new Failure("delegate", `run ${doing}: ${error["msg"]}${details}`, { code: error["code"] });
    }
    const end = signal === null ? `exit status ${exitCode ?? "?"}` : `ended by ${signal}`;
    const said = [stderr.trim(), stdout.trim()].filter((t) => t !== "").join("; ");
    return new Failure("delegate", `run ${doing}: ${end}${said === "" ? "" : `: ${said.slice(0, 2000)}`}`);
  }

  async allocate(): Promise<Allocation> {
    const answer = await this.#run("ADD");
    let json: unknown;
    try {
      json = JSON.parse(answer);
    } catch {
      json = undefined;
    }
    if (isObject(json)) return readResult(json);
    await this.#run("DEL");
    throw new Failure(
      "delegate",
      `read the answer of ${this.type} ADD: it is no JSON object: ${JSON.stringify(answer.slice(0, 200))}`,
    );
  }

  async preview(): Promise<Allocation> {
    throw new Failure(
      "delegate",
      `ask ${this.type} for an address without reserving it: a delegated IPAM plugin cannot do that`,
      {
        advice: "A dry run works with ipam types host-local and static, and without ipam.",
      },
    );
  }

  async release(): Promise<readonly string[]> {
    await this.#run("DEL");
    return [];
  }

  async check(): Promise<void> {
    if (!withoutCheck.has(this.#call.cniVersion)) await this.#run("CHECK");
  }

  async collect(_network: string, _valid: readonly Holder[]): Promise<readonly string[]> {
    if (this.#call.cniVersion === "1.1.0") await this.#run("GC");
    return [];
  }

  async status(): Promise<void> {
    if (this.#call.cniVersion === "1.1.0") await this.#run("STATUS");
    else this.#find();
  }
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** An IPAM result of any version, 0.1.0 to 1.1.0. Throws `Failure` (`delegate`) for an address that is none. */
export function readResult(json: Json): Allocation {
  const families = [json["ip4"], json["ip6"]].filter(isObject);
  const ips: Lease[] = [
    ...listOf(json["ips"]).map((entry) => lease(entry["address"], entry["gateway"])),
    ...families.map((entry) => lease(entry["ip"], entry["gateway"])),
  ];
  const routes = [...listOf(json["routes"]), ...families.flatMap((entry) => listOf(entry["routes"]))].map(readRoute);
  return { ips, routes, dns: readDns(json["dns"]) };
}

function lease(address: unknown, gateway: unknown): Lease {
  const cidr = parseCidr(text(address) ?? "");
  if (cidr === undefined) {
    throw new Failure(
      "delegate",
      `use ${JSON.stringify(address)} of the IPAM plugin's answer: it is no address with a prefix length`,
    );
  }
  const via = parseIp(text(gateway) ?? "");
  return { address: formatCidr(cidr), ...(via === undefined ? {} : { gateway: via }) };
}

function readRoute(entry: Json): RouteSpec {
  const dst = parseCidr(text(entry["dst"]) ?? "");
  if (dst === undefined) {
    throw new Failure(
      "delegate",
      `use the route to ${JSON.stringify(entry["dst"])} of the IPAM plugin's answer: it is no address with a prefix length`,
    );
  }
  const gw = parseIp(text(entry["gw"]) ?? "");
  const numbers = Object.fromEntries(
    ["mtu", "advmss", "priority", "table", "scope"].flatMap((k) =>
      typeof entry[k] === "number" ? [[k, entry[k]]] : [],
    ),
  ) as Omit<RouteSpec, "dst" | "gw">;
  return { dst: formatCidr(dst), ...(gw === undefined || ipFamily(gw) !== ipFamily(dst.ip) ? {} : { gw }), ...numbers };
}

function readDns(value: unknown): Dns {
  if (!isObject(value)) return {};
  const strings = (key: string): string[] =>
    Array.isArray(value[key]) ? value[key].filter((v) => typeof v === "string") : [];
  const domain = text(value["domain"]);
  return {
    ...(Array.isArray(value["nameservers"]) ? { nameservers: strings("nameservers") } : {}),
    ...(domain === undefined ? {} : { domain }),
    ...(Array.isArray(value["search"]) ? { search: strings("search") } : {}),
    ...(Array.isArray(value["options"]) ? { options: strings("options") } : {}),
  };
}
