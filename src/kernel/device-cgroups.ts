// The devices controller of control groups, version 1 (Documentation/admin-guide/cgroup-v1/devices.rst): it decides by a
// list which devices the processes of a group may open. Version 2 has programs in its place, which the container's runtime
// loads and nobody else can extend.
import { isThere, readFile, readFileIfThere, writeFile } from "./files.ts";
import type { Device } from "./taps.ts";

/** Where the hierarchy with the devices controller is mounted, and what of it; undefined where version 1 is not in force. */
function hierarchy(): { mount: string; root: string } | undefined {
  for (const line of readFile("/proc/self/mountinfo").split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root = "", mount = ""] = before.split(" ");
    const [type, , options = ""] = after.split(" ");
    if (type === "cgroup" && options.split(",").includes("devices")) return { mount, root };
  }
  return undefined;
}

/** The directory of a process's group; undefined where none of version 1 restrains it. */
function groupOf(pid: number): string | undefined {
  const place = hierarchy();
  if (place === undefined) return undefined;
  const lines = (readFileIfThere(`/proc/${pid}/cgroup`) ?? "").split("\n");
  const path = lines
    .map((line) => /^\d+:([^:]*):(.*)$/u.exec(line))
    .find((m) => m?.[1]?.split(",").includes("devices"));
  const group = path?.[2];
  if (group === undefined || group === place.root) return undefined; // the root group has all devices
  const within = place.root === "/" ? group : group.startsWith(`${place.root}/`) ? group.slice(place.root.length) : "";
  const directory = `${place.mount}${within}`;
  // another mount may hide it, as it does for who is in a namespace with a /sys of its own
  return within !== "" && isThere(`${directory}/devices.list`) ? directory : undefined;
}

/**
 * Lets the control group of a process open a character device, or not any more. Where version 1's devices controller does
 * not restrain the process nothing is done.
 * @returns the group's file that was written, for explanations; undefined where there was none. Throws `SysError`.
 */
export function permitDevice(pid: number, { major, minor }: Device, allowed: boolean): string | undefined {
  const group = groupOf(pid);
  if (group === undefined) return undefined;
  const file = `${group}/devices.${allowed ? "allow" : "deny"}`;
  writeFile(file, `c ${major}:${minor} rw`, { only: "present" });
  return file;
}

function fits(asked: string | undefined, is: number): boolean {
  return asked === "*" || asked === `${is}`;
}

/** True where the control group of a process may open a character device, or nothing of version 1 forbids it. */
export function isDevicePermitted(pid: number, { major, minor }: Device): boolean {
  const group = groupOf(pid);
  if (group === undefined) return true;
  return readFile(`${group}/devices.list`)
    .split("\n")
    .some((line) => {
      const [type = "", number = "", access = ""] = line.split(" ");
      const [a, b] = number.split(":");
      return (type === "a" || type === "c") && fits(a, major) && fits(b, minor) && /r.*w/u.test(access);
    });
}
