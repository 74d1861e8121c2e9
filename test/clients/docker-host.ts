// A host with Docker: what its users type, and what is proven of their containers.
import { expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { namedNamespacePath } from "../../src/kernel/namespaces.ts";
import { Docker } from "./dockerd.ts";
import { ClientHost, type Kind } from "./host.ts";
import { IMAGE } from "./image.ts";

const STATE = "/var/lib/berth/docker";
/** Docker's own resolver, which user-defined networks get. */
const RESOLVER = "127.0.0.11";
/** The LAN peer, which is a DNS server that knows {@link PRINTER}. */
export const PEER = "192.168.122.22";
/** Has the peer's address. */
export const PRINTER = "printer.lan";

/** Options of networks: the tasks' LAN, IPv4 only or both families, and the office's, where the host has an address itself. */
export const FOUR = ["--subnet", "192.168.122.0/24", "--ip-range", "192.168.122.128/26"] as const;
export const BOTH = [
  ...FOUR,
  "--ipv6",
  "--subnet",
  "fd22::/64",
  "--gateway",
  "fd22::1",
  "--ip-range",
  "fd22::1:0/112",
] as const;
export const OFFICE = ["--subnet", "192.168.10.0/24", "--ip-range", "192.168.10.128/26", "-o", "parent=eth0"] as const;

/** What Docker says of a container on a network. */
interface Attached {
  readonly IPAddress: string;
  readonly IPPrefixLen: number;
  readonly GlobalIPv6Address: string;
  readonly GlobalIPv6PrefixLen: number;
  readonly MacAddress: string;
}

/** The host, dockerd and the plugin. */
export class DockerHost implements AsyncDisposable {
  readonly docker: Docker;
  readonly w: ClientHost;
  readonly #dns: Bun.Subprocess;

  private constructor(docker: Docker) {
    this.docker = docker;
    this.w = new ClientHost();
    const server = [process.execPath, `${import.meta.dir}/dns.ts`, PRINTER, PEER];
    this.#dns = Bun.spawn(["nsenter", `--net=${namedNamespacePath("peer")}`, ...server], {
      stdio: ["ignore", "ignore", "ignore"],
    });
  }

  /** Starts everything. */
  static async launch(): Promise<DockerHost> {
    return new DockerHost(await Docker.launch()); // dockerd first: it lets the host forward, which is not Berth's doing
  }

  /** The command of the documentation, with what a test adds. */
  createNetwork(name: string, kind: Kind, ...more: readonly string[]): void {
    const access = ["-o", "parent=eth1", "-o", `kind=${kind}`, "-o", "mode=bridge", "-o", "host_access=auto"];
    this.docker.run("network", "create", "-d", "berth", "--ipam-driver", "berth", ...access, ...more, name);
  }

  /** What Docker says of a container on a network. */
  attached(name: string, network = "lan"): Attached {
    const text = this.docker.run("inspect", "-f", "{{json .NetworkSettings.Networks}}", name);
    const found = (JSON.parse(text) as Record<string, Attached>)[network];
    if (found === undefined) throw new Error(`docker inspect ${name}: it is not on ${network}`);
    return found;
  }

  /** Runs a script in a container; its output. Throws where it fails. */
  inside(name: string, script: string): string {
    return this.docker.run("exec", name, "sh", "-c", script);
  }

  /** All that is promised of a container whose `eth0` is on `lan`. */
  prove(name: string, kind: Kind, mtu?: number): void {
    const a = this.attached(name);
    const six = a.GlobalIPv6Address === "" ? [] : [`${a.GlobalIPv6Address}/${a.GlobalIPv6PrefixLen}`];
    this.w.prove({
      netns: this.docker.run("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", name),
      kind,
      addresses: [`${a.IPAddress}/${a.IPPrefixLen}`, ...six],
      mac: a.MacAddress,
      nameservers: [RESOLVER],
      inside: (script) => this.inside(name, script),
      ...(mtu === undefined ? {} : { mtu }),
    });
  }

  /** Why `docker run` fails; the container that is left of it is removed. */
  async refused(...args: readonly string[]): Promise<string> {
    const r = await this.docker.start("run", "--name", "refused", ...args, IMAGE);
    expect(r.code).not.toBe(0);
    this.docker.run("rm", "-f", "refused");
    return r.err;
  }

  /** After containers and networks are removed: nothing in the kernel, in IPAM, in the records, in the driver's memory. */
  nothingIsLeft(): void {
    this.docker.clear();
    this.w.nothingIsLeft();
    const kept = existsSync(STATE) ? readdirSync(STATE, { recursive: true }).map(String) : [];
    expect(kept.filter((f) => f.includes(".json"))).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#dns.kill();
    await this.docker[Symbol.asyncDispose]();
    this.w[Symbol.dispose]();
  }
}
