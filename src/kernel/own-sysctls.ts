// Sysctls of many namespaces, looked up in an instance of procfs of this process's own.
//
// The kernel remembers by name what was looked up below /proc/sys/net, that of all namespaces in one place: where a thousand
// of them have an eth0, whoever looks for one goes past a thousand (__d_lookup in fs/dcache.c, proc_sys_compare in
// fs/proc/proc_sysctl.c), 0.4 ms a sysctl. What an instance remembers ends with it, and a new one remembers nothing.
import { SysError } from "./errno.ts";
import { close, mountDetached } from "./libc.ts";
import { sysctlsAre } from "./sysctls.ts";

/** An instance serves so many namespaces: to make one costs about as much as to look past its own entries that often. */
const NAMESPACES = 32;

/** While this is there, sysctls are looked up in an instance of its own. Where none can be mounted they are the system's. */
export class OwnSysctls implements Disposable {
  #fd: number | undefined;
  #served = 0;
  #refused = false;

  /** Another namespace's sysctls are going to be looked up. */
  next(): void {
    if (this.#refused || this.#served++ % NAMESPACES > 0) return;
    const former = this.#fd;
    try {
      this.#fd = mountDetached("proc");
      sysctlsAre(`/proc/self/fd/${this.#fd}/sys`);
    } catch (e) {
      if (!(e instanceof SysError)) throw e;
      this.#refused = true; // as a container's own /proc that hides parts of it does, or a kernel before 5.8
    }
    if (this.#fd !== former && former !== undefined) close(former);
  }

  [Symbol.dispose](): void {
    sysctlsAre();
    if (this.#fd !== undefined) close(this.#fd);
    this.#fd = undefined;
  }
}
