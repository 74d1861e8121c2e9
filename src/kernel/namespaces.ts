import { Failure } from "../report/failure.ts";
import { Errno, errnoText, SysError } from "./errno.ts";
import { listDirectory, makeDirectory, readFile, removeFile, statusOf, writeFile } from "./files.ts";
import {
  CLONE_NEWNET,
  CLONE_NEWNS,
  close,
  mount,
  MS_BIND,
  MS_PRIVATE,
  MS_REC,
  open,
  setns,
  unmount,
  unshare,
} from "./libc.ts";
import { Netlink } from "./netlink.ts";

const OWN = "/proc/thread-self/ns/net";
const OWN_MOUNTS = "/proc/thread-self/ns/mnt";
/** The path of the caller's own network namespace, whoever the caller is: on a host, the host's. */
export const OWN_NAMESPACE = "/proc/self/ns/net";
const NAMED = "/run/netns";
const O_NONBLOCK = 0o4000;
/** How often it is tried to return from a namespace, a millisecond apart: the kernel may be short of memory for a moment. */
const RETURNS = 100;

/** Keeps code that would outlive the section out: a function that returns a promise does not fit. */
type Synchronous<T> = T & (T extends PromiseLike<unknown> ? never : unknown);

/**
 * Back to the former namespace. Where the kernel refuses that for good this process must not go on: it would take the
 * container's namespace for the host's. It ends as if it were killed, which its records are made for.
 */
function goHome(home: number, type = CLONE_NEWNET): void {
  for (let attempt = 1; ; attempt++) {
    try {
      setns(home, type);
      return;
    } catch (e) {
      if (attempt === RETURNS) {
        console.error(`berth: return from a namespace: ${String(e)}. This cannot go on from here.`);
        process.exit(1);
      }
      Bun.sleepSync(1);
    }
  }
}

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
   * Runs synchronous code with this thread in the namespace, then returns to the former one. Where the kernel does not let
   * it return, the process ends.
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
        goHome(home);
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
      goHome(home);
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

/**
 * Makes a mount namespace in which directories are where others are, `[what, where]` each: a descriptor of it, with which it
 * lives, and which other programs enter by its path below /proc. This thread's working directory is `/` from then on.
 * (A file that holds it is no way: Linux 6.18 refuses now and then to mount one there.) Throws `SysError`.
 */
export function mountNamespace(places: readonly (readonly [what: string, where: string])[]): number {
  const home = open(OWN_MOUNTS);
  try {
    unshare(CLONE_NEWNS); // this thread alone
    try {
      mount("none", "/", "", MS_REC | MS_PRIVATE);
      for (const [what, where] of places) mount(what, where, "", MS_BIND);
      return open(OWN_MOUNTS);
    } finally {
      goHome(home, CLONE_NEWNS);
    }
  } finally {
    close(home);
  }
}

/** Where programs keep namespaces by name: `ip netns`, CNI runtimes, Docker. */
const NAMED_BY_OTHERS = [NAMED, "/run/docker/netns"];

/** A network namespace that can be reached. */
export interface SeenNamespace {
  readonly path: string;
  readonly inode: number;
  /** Numbers of the processes whose first thread is in it. */
  readonly processes: readonly number[];
}

/** The network namespaces that are named or have a process, but for this thread's own. What ends meanwhile is left out. */
export function listNamespaces(): SeenNamespace[] {
  const own = statusOf(OWN)?.inode;
  const found = new Map<number, { path: string; inode: number; processes: number[] }>();
  const see = (path: string, pid?: number): void => {
    let inode;
    try {
      inode = statusOf(path)?.inode;
    } catch {
      return; // another user's, or ended
    }
    if (inode === undefined || inode === own) return;
    const known = found.get(inode) ?? { path, inode, processes: [] };
    found.set(inode, known);
    if (pid !== undefined) known.processes.push(pid);
  };
  for (const directory of NAMED_BY_OTHERS) for (const { name } of listDirectory(directory)) see(`${directory}/${name}`);
  for (const { name } of listDirectory("/proc")) {
    if (/^\d+$/u.test(name)) see(processNamespacePath(Number(name)), Number(name));
  }
  return [...found.values()];
}

/** The kernel's identity of this boot (a UUID); state that belongs to the kernel dies with it. */
export function bootId(): string {
  return readFile("/proc/sys/kernel/random/boot_id").trim();
}
