// A host for many calls of the executable at once, and what there is of everything on it.
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { parseIp } from "../../src/address/ip.ts";
import { HOST, TestWorld } from "../world.ts";

const RESERVATIONS = "/var/lib/cni/networks/many";
const STATES = ["/run/berth", "/var/lib/cni", "/var/lib/berth"];

/** How a call of the executable ended. */
export interface Called {
  readonly code: number;
  readonly out: string;
}

/** How many there are of each. */
export interface Count {
  readonly files: number;
  readonly links: number;
  readonly routes: number;
  readonly rules: number;
  readonly neighbours: number;
}

/** A host with `eth1` on a LAN; attachments come and go by calls of an executable. */
export class ManyHost extends TestWorld {
  readonly #executable: string;

  constructor(executable: string) {
    super();
    this.#executable = executable;
    for (const directory of STATES) rmSync(directory, { recursive: true, force: true });
    this.sysctl(HOST, "net/ipv6/conf/default/accept_dad", "0");
    this.lan("lan");
    this.plug("lan", HOST, "eth1", "10.77.0.5/16", "fd77::5/64");
    this.route(HOST, "eth1", "0.0.0.0/0", "10.77.0.1"); // by which Docker's networks find their parent
  }

  /** Makes a container's namespace. */
  container(name: string): void {
    this.namespace(name);
    this.sysctl(name, "net/ipv6/conf/default/accept_dad", "0");
  }

  /** A call in a process of its own. */
  async call(verb: string, container: string, extra: object = {}): Promise<Called> {
    const config = {
      cniVersion: "1.1.0",
      name: "many",
      type: "macvlan",
      master: "eth1",
      hostAccess: { table: "own" },
      ipam: {
        type: "host-local",
        ranges: [
          [{ subnet: "10.77.0.0/16", rangeStart: "10.77.1.0" }],
          [{ subnet: "fd77::/64", rangeStart: "fd77::100" }],
        ],
      },
      ...extra,
    };
    const child = Bun.spawn([this.#executable], {
      env: {
        CNI_COMMAND: verb,
        CNI_CONTAINERID: container,
        CNI_NETNS: `/run/netns/${container}`,
        CNI_IFNAME: "eth0",
        CNI_PATH: "/opt/cni/bin",
        PATH: process.env["PATH"] ?? "",
      },
      stdin: new Blob([JSON.stringify(config)]),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { code, out: `${out}${err}` };
  }

  /** The executable as a command that stays. */
  serve(...args: string[]): Bun.Subprocess<"ignore", "ignore", "ignore"> {
    const env = { PATH: process.env["PATH"] ?? "" };
    return Bun.spawn([this.#executable, ...args], { argv0: "berth", env, stdio: ["ignore", "ignore", "ignore"] });
  }

  /** What there is on the host and in the state directories. */
  count(): Count {
    const lines = (args: string): number => this.ip(HOST, args).split("\n").filter(Boolean).length;
    const files = STATES.filter((d) => existsSync(d)).flatMap((d) =>
      readdirSync(d, { recursive: true, withFileTypes: true }).filter(
        (f) => f.isFile() && !f.parentPath.endsWith("/locks") && !f.name.startsWith("errors"),
      ),
    );
    return {
      files: files.length,
      links: lines("-o link show"),
      routes: lines("-4 route show table all") + lines("-6 route show table all"),
      rules: lines("-4 rule show") + lines("-6 rule show"),
      neighbours: lines("neighbour show nud permanent"),
    };
  }
}

/** The addresses of an ADD's answer, without prefix lengths. */
export function addressesIn({ out }: Called): string[] {
  const { ips = [] } = JSON.parse(out.split("\n")[0] ?? "") as { ips?: { address: string }[] };
  return ips.map(({ address }) => address.replace(/\/.*/u, ""));
}

/** The reservations of the network: address to content. */
export function reservations(): Map<string, string> {
  const names = existsSync(RESERVATIONS) ? readdirSync(RESERVATIONS).filter((name) => parseIp(name) === name) : [];
  return new Map(names.map((name) => [name, readFileSync(`${RESERVATIONS}/${name}`, "utf8")]));
}

/** Resident memory of a process, KiB. */
export function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/mu.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
}

/** What a process has open between two pieces of work: the fewest files and sockets that are seen during two seconds. */
export async function openAtRest(pid: number): Promise<number> {
  let fewest = Number.POSITIVE_INFINITY;
  for (const end = performance.now() + 2000; performance.now() < end; await Bun.sleep(20)) {
    fewest = Math.min(fewest, openFiles(pid));
  }
  return fewest;
}

/** Without the queues of the runtime's threads, which it makes when it first needs them. */
function openFiles(pid: number): number {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).filter((fd) => {
    try {
      return !readlinkSync(`${directory}/${fd}`).startsWith("anon_inode:[event");
    } catch {
      return false; // closed meanwhile
    }
  }).length;
}
