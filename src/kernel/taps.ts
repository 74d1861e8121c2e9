// The character devices of macvtap links, and who has them open.
import { listDirectory, readFile, readLink, statusOf } from "./files.ts";
import type { Namespace } from "./namespaces.ts";
import { withSysfs } from "./sysfs.ts";

/** A program that has a tap device open, and so takes all frames of its link. */
export interface TapUser {
  readonly pid: number;
  /** The program's name, as /proc/PID/comm has it. */
  readonly program: string;
}

function list(directory: string): string[] {
  try {
    return listDirectory(directory).map((entry) => entry.name);
  } catch {
    return []; // gone, or not ours to read
  }
}

/** A character device's number. */
export interface Device {
  readonly major: number;
  readonly minor: number;
}

/**
 * The device number of a macvtap link's character device; undefined where the link is no macvtap. (/dev/tapN is no
 * substitute: N is unique within one namespace only.)
 * @param namespace the link's; absent: this thread's
 */
export function tapDevice(linkName: string, namespace?: Namespace): Device | undefined {
  return withSysfs(namespace, (sysfs) => {
    const directory = `${sysfs}/class/net/${linkName}`;
    for (const entry of list(directory)) {
      if (!/^tap\d+$/u.test(entry)) continue;
      const [major, minor] = readFile(`${directory}/${entry}/dev`).trim().split(":").map(Number);
      if (major !== undefined && minor !== undefined) return { major, minor };
    }
    return undefined;
  });
}

/** The major number of all macvtap links' devices; undefined while the kernel has none. */
export function tapMajor(): number | undefined {
  const found = /^\s*(\d+) macvtap$/mu.exec(readFile("/proc/devices"))?.[1];
  return found === undefined ? undefined : Number(found);
}

/** The programs that have such a file open, found among the open files of all processes visible in /proc. */
function usersWhere(isMeant: (fd: string) => boolean): TapUser[] {
  const users: TapUser[] = [];
  for (const pid of list("/proc")) {
    if (!/^\d+$/u.test(pid)) continue;
    if (list(`/proc/${pid}/fd`).some((fd) => isMeant(`/proc/${pid}/fd/${fd}`)))
      users.push({ pid: Number(pid), program: nameOf(pid) });
  }
  return users;
}

/** The programs that have a device open, found among the open files of all processes visible in /proc. */
export function usersOf(device: Device): TapUser[] {
  const wanted = `${device.major}:${device.minor}`;
  return usersWhere((fd) => opens(fd, wanted));
}

/**
 * The programs that opened a node at this path when it was another device's, whose link is gone since: they hold what leads
 * nowhere.
 * @param device the link's that is there now
 */
export function usersOfFormer(path: string, { major, minor }: Device): TapUser[] {
  return usersWhere((fd) => {
    try {
      const name = readLink(fd);
      if (name !== path && name !== `${path} (deleted)`) return false;
      const represents = statusOf(fd)?.represents;
      return represents?.startsWith(`${major}:`) === true && represents !== `${major}:${minor}`;
    } catch {
      return false; // closed, or ended, meanwhile
    }
  });
}

/** Programs in words. */
export function describeUsers(users: readonly TapUser[]): string {
  return users.map((u) => `${u.program} (pid ${u.pid})`).join(", ");
}

/**
 * Who takes a link's frames by its tap device, as a sentence; undefined where nobody does, or the link is no macvtap.
 * @param namespace the link's; absent: this thread's
 */
export function describeTapUsers(linkName: string, namespace?: Namespace): string | undefined {
  const device = tapDevice(linkName, namespace);
  const users = device === undefined ? [] : usersOf(device);
  if (users.length === 0) return undefined;
  return `${describeUsers(users)} has its tap device open and takes all its frames`;
}

function nameOf(pid: string): string {
  try {
    return readFile(`/proc/${pid}/comm`).trim();
  } catch {
    return "a program that has ended meanwhile";
  }
}

function opens(fd: string, device: string): boolean {
  try {
    // a look at the name spares most of the stat calls: sockets, pipes and the like have no path
    return readLink(fd).startsWith("/") && statusOf(fd)?.represents === device;
  } catch {
    return false; // closed, or ended, meanwhile
  }
}
