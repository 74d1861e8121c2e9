// The host that the bench runs on: namespaces of its own, so that the machine's interfaces and state are never touched.
import { availableParallelism, cpus, loadavg, release } from "node:os";
import { mount, MS_PRIVATE, MS_REC } from "../src/kernel/libc.ts";
import { findLink, newVethPair } from "../src/kernel/links.ts";
import { addNamedNamespace, deleteNamedNamespace, openNamespace } from "../src/kernel/namespaces.ts";
import { Netlink } from "../src/kernel/netlink.ts";
import { HOST, World } from "../src/lab/world.ts";

const namespaces = "--user --map-root-user --net --mount --pid --fork --kill-child --mount-proc".split(" ");

/** The command that runs a program in new namespaces, and ends it with this one. */
export function inNamespaces(...command: readonly string[]): string[] {
  return ["setpriv", "--pdeathsig", "KILL", "unshare", ...namespaces, ...command];
}

/** Why namespaces cannot be made; undefined where they can. */
export function namespacesRefused(): string | undefined {
  const probe = Bun.spawnSync(inNamespaces("mount", "-t", "sysfs", "sysfs", "/sys"), { stdout: "ignore" });
  if (probe.exitCode === 0) return undefined;
  return `The bench needs user namespaces, which this host forbids: ${probe.stderr.toString().trim()}
Allow them, whichever of these the host has:
  sysctl -w kernel.unprivileged_userns_clone=1               (Debian)
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   (Ubuntu)
  sysctl -w user.max_user_namespaces=10000                   (RHEL, hardened hosts)`;
}

/** In new namespaces: hides the machine's state. State directories lie in memory, for both sides. */
export function hideMachine(): void {
  mount("none", "/", "", MS_REC | MS_PRIVATE);
  mount("sysfs", "/sys", "sysfs", 0); // the former one shows the outer namespace's links
  mount("tmpfs", "/run", "tmpfs", 0, "mode=0755");
  mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=0755");
}

const LAST = "bench-last";
const POLL_MS = 20;
/** A kernel that needs longer for what has ended has other things to do. */
const CLEAN_MS = 60_000;

/**
 * Waits until the kernel has taken apart the namespaces that have ended, so that it does not do so while something else is
 * measured. It takes them in the order of their end (netns_wq of net/core/net_namespace.c): one that ends now is the last,
 * and what shows its end is that its link's other end is gone.
 */
export async function cleanedUp(): Promise<void> {
  using nl = new Netlink();
  {
    using namespace = openNamespace(addNamedNamespace(LAST));
    nl.do(newVethPair(LAST, "end", namespace.fd));
  }
  deleteNamedNamespace(LAST);
  const limit = performance.now() + CLEAN_MS;
  while (findLink(nl, LAST) !== undefined && performance.now() < limit) await Bun.sleep(POLL_MS);
}

/** A host on a LAN: its NIC is `parent`. */
export function buildHost(parent: string): World {
  const world = new World();
  world.lan("lan");
  world.plug("lan", HOST, parent, "10.90.0.2/16");
  return world;
}

/** What figures are measured on, for who reads them. */
export interface Machine {
  /** The kernel's release. */
  readonly kernel: string;
  readonly processors: number;
  readonly model: string;
  /** How many processes were running or waiting for a processor during the last minute. */
  readonly load: number;
}

/** This machine, now. */
export function machine(): Machine {
  const model = cpus()[0]?.model.trim() ?? "?";
  return { kernel: release(), processors: availableParallelism(), model, load: loadavg()[0] ?? Number.NaN };
}

/** A machine in a line. */
export function describeMachine({ kernel, processors, model, load }: Machine): string {
  return `Linux ${kernel}, ${processors} processors (${model}), load ${load.toFixed(1)} at the start`;
}
