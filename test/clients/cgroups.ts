// Control groups of a suite's own, in every hierarchy that the machine has: what runtimes make in them goes with them.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";

const MOUNTED = "/sys/fs/cgroup";

/** A hierarchy that this process is in (cgroups(7), /proc/self/cgroup). */
interface Hierarchy {
  /** Of version 1: the controllers, or `name=…`; empty for version 2. */
  readonly controllers: string;
  /** The directory that it is mounted on, in MOUNTED. */
  readonly directory: string;
  /** This process's group, from the hierarchy's root. */
  readonly path: string;
}

function hierarchies(): Hierarchy[] {
  const hybrid = existsSync(`${MOUNTED}/unified`);
  return readFileSync("/proc/self/cgroup", "utf8")
    .trim()
    .split("\n")
    .flatMap((line) => {
      const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/u.exec(line) ?? [];
      const directory = controllers === "" ? (hybrid ? "unified" : "") : controllers.replace(/^name=/u, "");
      return existsSync(`${MOUNTED}/${directory}/cgroup.procs`) ? [{ controllers, directory, path }] : [];
    });
}

/** Puts this process into groups of a name, made below its present ones. */
export function joinCgroups(name: string): void {
  for (const { controllers, directory, path } of hierarchies()) {
    const own = `${MOUNTED}/${directory}${path}/${name}`;
    mkdirSync(own, { recursive: true });
    // in version 1 a new cpuset is empty, and takes no process
    for (const file of controllers.includes("cpuset") ? ["cpuset.cpus", "cpuset.mems"] : []) {
      writeFileSync(`${own}/${file}`, readFileSync(`${own}/../${file}`, "utf8").trim());
    }
    writeFileSync(`${own}/cgroup.procs`, `${process.pid}`);
  }
}

function removeTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(`${directory}/${entry.name}`);
  }
  rmdirSync(directory);
}

/** Removes the groups of a name; those that are gone are success. Their processes must have ended. */
export function removeCgroups(name: string): void {
  for (const { directory, path } of hierarchies()) {
    const own = `${MOUNTED}/${directory}${path}/${name}`;
    for (let tries = 50; existsSync(own); tries--) {
      try {
        removeTree(own);
      } catch (e) {
        if (tries === 0) throw e; // EBUSY: the kernel is still taking a process apart
        Bun.sleepSync(100);
      }
    }
  }
}

/** What to mount in a cgroup namespace, where, so that its own groups are the roots of all hierarchies. */
export function cgroupMounts(): { readonly directory: string; readonly type: string; readonly options: string }[] {
  return hierarchies().map(({ controllers, directory }) => ({
    directory: `${MOUNTED}/${directory}`,
    type: controllers === "" ? "cgroup2" : "cgroup",
    options: controllers.startsWith("name=") ? `none,${controllers}` : controllers,
  }));
}
