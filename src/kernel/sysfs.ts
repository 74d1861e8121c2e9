// /sys as another network namespace has it: what is mounted there shows the namespace that it was mounted in.
import { SysError } from "./errno.ts";
import { close, mountDetached } from "./libc.ts";
import type { Namespace } from "./namespaces.ts";

function mountSysfs(): number {
  return mountDetached("sysfs");
}

/**
 * Runs `f` with the path of a sysfs that shows a network namespace (absent: this thread's). It is mounted nowhere, and
 * gone afterwards. Where the kernel does not let us (no CAP_SYS_ADMIN, a kernel before 5.2) it is /sys itself for this
 * thread's namespace, and undefined for another. Throws what `f` throws.
 */
export function withSysfs<T>(namespace: Namespace | undefined, f: (path: string) => T): T | undefined {
  let fd;
  try {
    fd = namespace === undefined ? mountSysfs() : namespace.run(mountSysfs);
  } catch (e) {
    if (!(e instanceof SysError)) throw e;
    return namespace === undefined ? f("/sys") : undefined;
  }
  try {
    return f(`/proc/self/fd/${fd}`);
  } finally {
    close(fd);
  }
}
