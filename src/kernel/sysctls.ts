import { Failure } from "../report/failure.ts";
import { errnoName, SysError } from "./errno.ts";
import { readFile, writeFile } from "./files.ts";

/** Where the kernel's variables are. */
const SYSTEM = "/proc/sys";
let directory = SYSTEM;

/** Looks sysctls up in another instance of procfs from now on; without an argument in the system's again. */
export function sysctlsAre(at: string = SYSTEM): void {
  directory = at;
}

/**
 * A sysctl's file. Keys are written with slashes, as `net/ipv4/conf/eth0/arp_notify`: an interface name may hold dots.
 * Below `/proc/sys/net` the kernel shows the namespace of the thread that opens the file.
 */
function pathOf(key: string): string {
  return `${directory}/${key}`;
}

/** A sysctl's value in this thread's namespace, without its line break; undefined where the kernel has no such key. */
export function readSysctl(key: string): string | undefined {
  try {
    return readFile(pathOf(key)).trim();
  } catch {
    return undefined;
  }
}

/** Sets a sysctl in this thread's namespace. Throws `Failure` (`kernel`) where the kernel has no such key or refuses. */
export function writeSysctl(key: string, value: string): void {
  try {
    writeFile(pathOf(key), value, { only: "present" });
  } catch (e) {
    const code = e instanceof SysError ? errnoName(e.errno) : String(e);
    throw new Failure("kernel", `set sysctl ${key} to ${value}: ${code}`, { cause: e });
  }
}
