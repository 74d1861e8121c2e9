// In new namespaces: hides the machine. Runtimes and pages may then use the paths that they use on a real host.
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { mount, MS_BIND, MS_SHARED } from "../../src/kernel/libc.ts";
import { cgroupMounts } from "./cgroups.ts";

/** In the host's /etc/resolv.conf. */
export const HOST_NAMESERVER = "192.168.10.53";

/** Everything that is written goes to memory and ends with the namespaces. `berth` becomes a command. */
export function hideMachine(berth: string): void {
  const cgroups = cgroupMounts();
  mount("sysfs", "/sys", "sysfs", 0); // the former one shows the outer namespace's links
  if (cgroups.every((c) => c.directory !== "/sys/fs/cgroup/"))
    mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=0755");
  for (const { directory, type, options } of cgroups) {
    mkdirSync(directory, { recursive: true });
    mount(type, directory, type, 0, options);
  }
  if (existsSync("/sys/fs/cgroup/cgroup.controllers")) leaveRoot("/sys/fs/cgroup");
  for (const directory of ["/run", "/var/lib", "/var/tmp", "/opt"]) mount("tmpfs", directory, "tmpfs", 0, "mode=0755");
  for (const directory of ["/run/etc", "/run/etc-work", "/run/bin", "/run/home", "/run/tmp"]) mkdirSync(directory);
  mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir=/run/etc,workdir=/run/etc-work");
  symlinkSync(berth, "/run/bin/berth");
  rmSync("/etc/cni", { recursive: true, force: true });
  rmSync("/etc/resolv.conf", { force: true });
  writeFileSync("/etc/resolv.conf", `nameserver ${HOST_NAMESERVER}\n`);
  // as `ip netns add` leaves it: runtimes bind it over itself where it is not shared, and namespaces are mounted twice
  mkdirSync("/run/netns");
  mount("/run/netns", "/run/netns", "", MS_BIND);
  mount("none", "/run/netns", "", MS_SHARED);
}

/** In version 2 a group with processes cannot hand controllers down to groups below it: ours move into one of these. */
function leaveRoot(directory: string): void {
  mkdirSync(`${directory}/suite`);
  for (const pid of readFileSync(`${directory}/cgroup.procs`, "utf8").trim().split("\n")) {
    writeFileSync(`${directory}/suite/cgroup.procs`, pid);
  }
}

/** Limits that a container may have here, as containers.conf lists them: raising one needs CAP_SYS_RESOURCE. */
export function resourceLimits(): string {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const hard = (name: string): string => {
    const value = new RegExp(`^${name} +\\S+ +(\\S+)`, "mu").exec(limits)?.[1] ?? "1024";
    return value === "unlimited" ? "1048576" : value;
  };
  const entries = Object.entries({ nofile: hard("Max open files"), nproc: hard("Max processes") });
  return entries.map(([name, value]) => `"${name}=${value}:${value}"`).join(", ");
}
