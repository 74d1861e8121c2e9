// A double of the Mesos agent's isolator "network/cni": which files it takes, what it runs with which environment and standard
// input, what it keeps, and how it reads the answer. After apache/mesos (c1b42f79d157), cni.cpp and spec.cpp in
// src/slave/containerizer/mesos/isolators/network/cni/.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { run, start } from "./host.ts";

type Json = Record<string, unknown>;

/** A task's wish for a network (mesos.proto, NetworkInfo), as far as tests use it. */
export interface NetworkInfo {
  readonly name: string;
  readonly ip_addresses?: readonly { readonly protocol: "IPv4" | "IPv6"; readonly ip_address?: string }[];
  readonly labels?: { readonly labels: readonly { readonly key: string; readonly value?: string }[] };
  readonly port_mappings?: readonly { readonly host_port: number; readonly container_port: number }[];
}

/** What the agent reads from a plugin's answer (spec.proto, NetworkInfo): the shape of CNI 0.1 and 0.2. */
interface Answer {
  readonly ip4?: { readonly ip: string };
  readonly ip6?: { readonly ip: string };
  readonly dns?: { readonly nameservers?: readonly string[]; readonly search?: readonly string[] };
}

/** A container as the agent launched it. */
export interface Launched {
  readonly netns: string;
  /** Per network, in the order of the task's. */
  readonly answers: readonly Answer[];
  /** The lines that it writes for the container's name. */
  readonly hosts: string;
  readonly resolvConf: string;
}

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** protobuf's JSON reader as the agent uses it: unknown keys are ignored, null is absent, wrong types and lacking keys fail. */
function readAnswer(text: string): Answer {
  const json = JSON.parse(text) as Record<string, Json | null>;
  const address = (key: "ip4" | "ip6"): Answer => {
    const part = json[key];
    if (part === undefined || part === null) return {};
    const { ip } = part;
    if (typeof ip !== "string") throw new Error(`Failed to parse protobuf: ${key} lacks ip`);
    const routes = (part["routes"] ?? []) as Json[];
    if (routes.some(({ dst }) => typeof dst !== "string")) throw new Error("Failed to parse protobuf: no dst");
    return { [key]: { ip } };
  };
  const { dns } = json as { dns?: Answer["dns"] | null };
  return { ...address("ip4"), ...address("ip6"), ...(dns === undefined || dns === null ? {} : { dns }) };
}

/** The agent, with the flags --network_cni_plugins_dir and --network_cni_config_dir. */
export class MesosAgent {
  readonly #plugins: readonly string[];
  readonly #configs: string;
  readonly #runtime: string;
  readonly #tasks = new Map<string, Bun.Subprocess>();

  constructor(
    pluginsDirectories: string,
    configDirectory: string,
    runtimeDirectory = "/run/mesos/isolators/network/cni",
  ) {
    this.#plugins = pluginsDirectories.split(":");
    this.#configs = configDirectory;
    this.#runtime = runtimeDirectory;
  }

  /** The networks that it knows: of each file that it takes, the path. Lists, second files of a name, and types without a program are left out. */
  networks(): Map<string, string> {
    const found = new Map<string, string>();
    for (const file of readdirSync(this.#configs).toSorted()) {
      const path = `${this.#configs}/${file}`;
      const json = JSON.parse(readFileSync(path, "utf8")) as Json & { ipam?: Json };
      const { name, type, ipam } = json;
      if (typeof name !== "string" || typeof type !== "string" || found.has(name)) continue;
      const ipamType = ipam?.["type"];
      if (this.#which(type) === undefined) continue;
      if (typeof ipamType === "string" && this.#which(ipamType) === undefined) continue;
      found.set(name, path);
    }
    return found;
  }

  #which(type: string): string | undefined {
    return this.#plugins.map((d) => `${d}/${type}`).find((path) => existsSync(path));
  }

  /** A plugin's run: the whole environment is these variables. */
  async #call(command: "ADD" | "DEL", id: string, ifName: string, config: string): Promise<string> {
    const netns = `${this.#runtime}/${id}/ns`;
    const { type } = JSON.parse(readFileSync(config, "utf8")) as { type: string };
    const program = this.#which(type) ?? type;
    const env = [
      `CNI_COMMAND=${command}`,
      `CNI_CONTAINERID=${id}`,
      `CNI_PATH=${this.#plugins.join(":")}`,
      `CNI_IFNAME=${ifName}`,
      `PATH=${PATH}`,
      // on DEL only where it is still a namespace
      ...(command === "ADD" || isNamespace(netns) ? [`CNI_NETNS=${netns}`] : []),
    ];
    const script = 'config=$1; shift; exec env -i "$@" <"$config"';
    const r = await start(["sh", "-c", script, "sh", config, ...env, program]);
    if (r.code === 0) return r.out;
    throw new Error(`Failed to execute the CNI plugin '${program}': stdout='${r.out}', stderr='${r.err}'`);
  }

  /** Launches a container: a process in a namespace of its own, joined to all its networks at the same time. */
  async launch(id: string, infos: readonly NetworkInfo[], process: readonly string[]): Promise<Launched> {
    const known = this.networks();
    const directory = `${this.#runtime}/${id}`;
    mkdirSync(directory, { recursive: true });
    const task = Bun.spawn(["unshare", "--net", "--mount", "--", ...process], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    this.#tasks.set(id, task);
    const own = `/proc/${task.pid}/ns/net`;
    const outer = run(["readlink", "/proc/self/ns/net"]);
    while (run(["readlink", own]) === outer) await Bun.sleep(5);
    writeFileSync(`${directory}/ns`, "");
    run(["mount", "--bind", own, `${directory}/ns`]);
    const configs = infos.map((info, i) => {
      const path = known.get(info.name);
      if (path === undefined) throw new Error(`Unknown CNI network '${info.name}'`);
      const json = JSON.parse(readFileSync(path, "utf8")) as Json & { args?: Json };
      if (json.args?.["org.apache.mesos"] !== undefined) throw new Error("'org.apache.mesos' is set in the file");
      const args = { ...json.args, "org.apache.mesos": { network_info: info } };
      mkdirSync(`${directory}/${info.name}/eth${i}`, { recursive: true });
      writeFileSync(`${directory}/${info.name}/network.conf`, JSON.stringify({ ...json, args }));
      return `${directory}/${info.name}`;
    });
    const added = await Promise.allSettled(
      configs.map(async (at, i) => await this.#call("ADD", id, `eth${i}`, `${at}/network.conf`)),
    );
    const failed = added.find((a) => a.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    const answers = added.map((a, i) => {
      const text = a.status === "fulfilled" ? a.value : "";
      writeFileSync(`${configs[i] ?? ""}/eth${i}/network.info`, text);
      return readAnswer(text);
    });
    run(["nsenter", `--net=${directory}/ns`, "ip", "link", "set", "lo", "up"]);
    const first = answers.find((a) => a.ip4 !== undefined)?.ip4?.ip.replace(/\/.*/u, "");
    const nameservers = answers.flatMap((a) => a.dns?.nameservers ?? []);
    return {
      netns: `${directory}/ns`,
      answers,
      hosts: first === undefined ? "" : `${first} ${id}\n`,
      resolvConf: nameservers.map((ip) => `nameserver ${ip}\n`).join(""),
    };
  }

  /** What a reboot takes: the process, and the namespace's file with --network_cni_root_dir_persist. */
  async reboot(id: string): Promise<void> {
    await this.#kill(id);
    run(["umount", `${this.#runtime}/${id}/ns`]);
  }

  async #kill(id: string): Promise<void> {
    const task = this.#tasks.get(id);
    task?.kill("SIGKILL");
    await task?.exited;
    this.#tasks.delete(id);
  }

  /** Destroys a container: DEL for every network whose network.conf was written. Throws, and keeps the directory, where one fails. */
  async cleanup(id: string): Promise<void> {
    await this.#kill(id);
    const directory = `${this.#runtime}/${id}`;
    const networks = readdirSync(directory).filter((n) => existsSync(`${directory}/${n}/network.conf`));
    const deleted = await Promise.allSettled(
      networks.map(async (name) => {
        const ifName = readdirSync(`${directory}/${name}`).find((f) => f.startsWith("eth")) ?? "eth0";
        return await this.#call("DEL", id, ifName, `${directory}/${name}/network.conf`);
      }),
    );
    const failed = deleted.find((d) => d.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    if (isNamespace(`${directory}/ns`)) run(["umount", `${directory}/ns`]);
    rmSync(directory, { recursive: true });
  }

  /** Containers that it has directories of: what it would recover after a restart. */
  containers(): string[] {
    return existsSync(this.#runtime) ? readdirSync(this.#runtime) : [];
  }
}

function isNamespace(path: string): boolean {
  return existsSync(path) && run(["stat", "-f", "-c", "%T", path]).trim() === "nsfs";
}
