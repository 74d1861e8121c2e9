import { Failure } from "../report/failure.ts";
import { Errno, errnoText, SysError } from "./errno.ts";
import { makeDirectory, readFile, removeFile, statusOf, writeFile } from "./files.ts";
import { CLONE_NEWNET, close, mount, MS_BIND, open, setns, unmount, unshare } from "./libc.ts";
import { Netlink } from "./netlink.ts";

const OWN = "/proc/thread-self/ns/net";
/** The path of the caller's own network namespace, whoever the caller is: on a host, the host's. */
export const OWN_NAMESPACE = "/proc/self/ns/net";
const NAMED = "/run/netns";
const O_NONBLOCK = 0o4000;

/** Keeps code that would outlive the section out: a function that returns a promise does not fit. */
type Synchronous<T> = T & (T extends PromiseLike<unknown> ? never : unknown);

/** An open network namespace. It lives at least as long as this object. */
export class Namespace implements Disposable {
  /** What it was opened as. */
  readonly path: string;
  readonly fd: number;

  constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  /** The namespace's inode number: its identity while it lives. */
  get inode(): number {
    return statusOf(`/proc/self/fd/${this.fd}`)?.inode ?? 0;
  }

  /**
   * Runs synchronous code with this thread in the namespace, then returns to the former one.
   *
   * Only FFI calls and `files.ts` belong inside: asynchronous I/O and new processes use other threads,
   * and a thread first made inside stays in this namespace for good. Throws what `f` throws, `SysError` where setns fails.
   */
  run<T>(f: () => Synchronous<T>): T {
    const home = open(OWN);
    try {
      setns(this.fd, CLONE_NEWNET);
      try {
        return f();
      } finally {
        setns(home, CLONE_NEWNET);
      }
    } finally {
      close(home);
    }
  }

  /** An rtnetlink socket in this namespace, for use from anywhere. */
  netlink(): Netlink {
    return this.run(() => new Netlink());
  }

  /** Closes the descriptor; the namespace goes when nothing else holds it. */
  [Symbol.dispose](): void {
    close(this.fd);
  }
}

/**
 * Opens a network namespace by its path (`/run/netns/x`, `/proc/1234/ns/net`). Throws `Failure` (`namespace`) where
 * nothing is there or what is there is no network namespace.
 */
export function openNamespace(path: string): Namespace {
  const namespace = findNamespace(path);
  if (namespace !== undefined) return namespace;
  throw new Failure("namespace", `open the network namespace ${path}: there is no network namespace`, {
    advice: "Give the path of a namespace that exists, as /run/netns/NAME or /proc/PID/ns/net.",
  });
}

/** {@link openNamespace}; undefined where nothing is there, or only the file that once was a namespace's mount point. */
export function findNamespace(path: string): Namespace | undefined {
  let fd;
  try {
    fd = open(path, O_NONBLOCK); // without it a FIFO waits for a writer
  } catch (e) {
    const errno = e instanceof SysError ? e.errno : 0;
    if (errno === Errno.ENOENT || errno === Errno.ENOTDIR || errno === Errno.ENXIO) return undefined;
    throw new Failure("namespace", `open the network namespace ${path}: ${errnoText(errno)}`, { cause: e });
  }
  const namespace = new Namespace(path, fd);
  try {
    namespace.run(() => {}); // the kernel's own test: setns fails with EINVAL for anything else
    return namespace;
  } catch (e) {
    close(fd);
    if (e instanceof SysError && e.errno === Errno.EINVAL) return undefined;
    throw new Failure("namespace", `enter the network namespace ${path}: ${String(e)}`, { cause: e });
  }
}

/** The path of a namespace made by `ip netns add NAME`. */
export function namedNamespacePath(name: string): string {
  return `${NAMED}/${name}`;
}

/** The path of a process's network namespace. */
export function processNamespacePath(pid: number): string {
  return `/proc/${pid}/ns/net`;
}

/** Makes a network namespace that has no name: it ends, with all that is in it, with this object or this process. Throws `SysError`. */
export function temporaryNamespace(): Namespace {
  const home = open(OWN);
  try {
    unshare(CLONE_NEWNET); // this thread alone; setns below brings it back
    try {
      return new Namespace(OWN, open(OWN));
    } finally {
      setns(home, CLONE_NEWNET);
    }
  } finally {
    close(home);
  }
}

/** Makes a network namespace, reachable by name as with `ip netns add`; its path. Throws `SysError`. */
export function addNamedNamespace(name: string): string {
  const path = namedNamespacePath(name);
  makeDirectory(NAMED);
  writeFile(path, "", { only: "new", mode: 0o444 });
  const home = open(OWN);
  try {
    unshare(CLONE_NEWNET); // this thread alone; setns below brings it back
    try {
      mount(OWN, path, "", MS_BIND);
    } finally {
      setns(home, CLONE_NEWNET);
    }
  } finally {
    close(home);
  }
  return path;
}

/** Removes a named namespace, as `ip netns delete`; one that is gone already is success. */
export function deleteNamedNamespace(name: string): void {
  const path = namedNamespacePath(name);
  try {
    unmount(path);
  } catch (e) {
    if (!(e instanceof SysError) || (e.errno !== Errno.ENOENT && e.errno !== Errno.EINVAL)) throw e;
  }
  removeFile(path);
}

/** The kernel's identity of this boot (a UUID); state that belongs to the kernel dies with it. */
export function bootId(): string {
  return readFile("/proc/sys/kernel/random/boot_id").trim();
}
