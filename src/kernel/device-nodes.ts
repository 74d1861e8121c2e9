// Nodes of character devices, in directories that somebody else may write to: what is acted on is first opened and looked
// at, so that no symbolic link and no exchange of names leads elsewhere.
import { dlopen, FFIType, ptr } from "bun:ffi";
import { Errno, SysError } from "./errno.ts";
import { makeDirectory } from "./files.ts";
import { close, cString, lastErrno, makeCharacterDevice, openDirectoryIn } from "./libc.ts";
import type { Device } from "./taps.ts";

const { i32, i64, u32, u64, ptr: pointer } = FFIType;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const O_PATH_NOFOLLOW = 0o10000000 | 0o400000 | 0o2000000; // and close-on-exec
const STATX_BASIC_STATS = 0x7ff;
/** An attribute that only the host's root sets and sees (xattr(7)), and that a node keeps wherever it is moved on its file system. */
const MARK = "trusted.berth";
const MAX_MARK = 512;
const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;

function load() {
  return dlopen("libc.so.6", {
    openat: { args: [i32, pointer, i32, u32], returns: i32 },
    statx: { args: [i32, pointer, i32, u32, pointer], returns: i32 },
    fchownat: { args: [i32, pointer, u32, u32, i32], returns: i32 },
    chmod: { args: [pointer, u32], returns: i32 },
    unlinkat: { args: [i32, pointer, i32], returns: i32 },
    setxattr: { args: [pointer, pointer, pointer, u64, i32], returns: i32 },
    getxattr: { args: [pointer, pointer, pointer, u64], returns: i64 },
  }).symbols;
}

/** The C library's functions, looked up when they are first needed: most calls of Berth need none of them. */
let library: ReturnType<typeof load> | undefined;
function libc(): ReturnType<typeof load> {
  library ??= load();
  return library;
}

/** Where a node is: a path in a root directory, which may be another mount namespace's (/proc/PID/root). */
export interface NodePlace {
  readonly root: string;
  /** Absolute, as it is named in that root. */
  readonly path: string;
}

/** Whose a node is and who may open it. */
export interface NodeAccess {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
}

/** A node as it is. */
export interface Node extends NodeAccess {
  readonly device: Device;
  /** Whose it is, as {@link makeNode} noted on it; absent where nobody did, or the file system cannot. */
  readonly owner?: string;
}

function check(what: string, result: number): number {
  if (result >= 0) return result;
  throw new SysError(what, lastErrno());
}

function split({ path }: NodePlace): { directory: string; name: string } {
  const at = path.lastIndexOf("/");
  return { directory: path.slice(0, at) || "/", name: path.slice(at + 1) };
}

/** Runs `f` with the node's directory opened; undefined where that is not there. Throws `SysError`. */
function within<T>(place: NodePlace, f: (directoryFd: number, name: string) => T): T | undefined {
  const { directory, name } = split(place);
  let fd;
  try {
    fd = openDirectoryIn(place.root, directory);
  } catch (e) {
    if (e instanceof SysError && (e.errno === Errno.ENOENT || e.errno === Errno.ENOTDIR)) return undefined;
    throw e;
  }
  try {
    return f(fd, name);
  } finally {
    close(fd);
  }
}

/** Opens what is at a name as a place only, no link followed; undefined where nothing is. */
function openNode(directoryFd: number, name: string): number | undefined {
  const n = cString(name);
  const fd = libc().openat(directoryFd, ptr(n), O_PATH_NOFOLLOW, 0);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  if (errno === Errno.ENOENT) return undefined;
  throw new SysError(`open ${name}`, errno);
}

/** What an opened file is; undefined where it is no character device. */
function look(fd: number, name: string): Node | undefined {
  const bytes = new Uint8Array(256);
  const empty = cString("");
  check(`stat ${name}`, libc().statx(fd, ptr(empty), AT_EMPTY_PATH, STATX_BASIC_STATS, ptr(bytes)));
  const v = new DataView(bytes.buffer);
  const mode = v.getUint16(28, true);
  if ((mode & S_IFMT) !== S_IFCHR) return undefined;
  const owner = markOf(fd);
  return {
    device: { major: v.getUint32(128, true), minor: v.getUint32(132, true) },
    ...(owner === undefined ? {} : { owner }),
    uid: v.getUint32(20, true),
    gid: v.getUint32(24, true),
    mode: mode & 0o7777,
  };
}

/** An opened file by a path, for calls that take no descriptor of a place only. */
function pathOf(fd: number): Uint8Array {
  return cString(`/proc/self/fd/${fd}`);
}

function markOf(fd: number): string | undefined {
  const [path, name, value] = [pathOf(fd), cString(MARK), new Uint8Array(MAX_MARK)];
  const length = Number(libc().getxattr(ptr(path), ptr(name), ptr(value), value.length));
  return length < 0 ? undefined : new TextDecoder().decode(value.subarray(0, length));
}

/** Notes whose a node is; a file system that has no such attributes does without. */
function mark(fd: number, owner: string): void {
  const [path, name, value] = [pathOf(fd), cString(MARK), new TextEncoder().encode(owner)];
  if (libc().setxattr(ptr(path), ptr(name), ptr(value), value.length, 0) >= 0) return;
  const errno = lastErrno();
  if (errno !== Errno.EOPNOTSUPP && errno !== Errno.EPERM) throw new SysError("setxattr", errno);
}

/** What is at a place: a character device's node, `"other"`, or undefined for nothing. Throws `SysError`. */
export function nodeAt(place: NodePlace): Node | "other" | undefined {
  return within(place, (directoryFd, name) => {
    const fd = openNode(directoryFd, name);
    if (fd === undefined) return undefined;
    try {
      return look(fd, place.path) ?? "other";
    } finally {
      close(fd);
    }
  });
}

/**
 * Makes a node and gives it to its user, in a directory that is there, and notes whose it is. One that is there already for
 * the same device gets all that. Throws `SysError`: EEXIST where the name is taken by something else, EPERM in a user namespace.
 */
export function makeNode(place: NodePlace, device: Device, { uid, gid, mode }: NodeAccess, owner?: string): void {
  const made = within(place, (directoryFd, name) => {
    try {
      makeCharacterDevice(directoryFd, name, device.major, device.minor);
    } catch (e) {
      if (!(e instanceof SysError) || e.errno !== Errno.EEXIST) throw e;
    }
    const fd = openNode(directoryFd, name);
    if (fd === undefined) throw new SysError(`make ${place.path}`, Errno.ENOENT);
    try {
      const there = look(fd, place.path)?.device;
      if (there?.major !== device.major || there.minor !== device.minor) {
        throw new SysError(`make ${place.path}`, Errno.EEXIST);
      }
      if (owner !== undefined) mark(fd, owner);
      const [empty, self] = [cString(""), pathOf(fd)];
      check(`chown ${place.path}`, libc().fchownat(fd, ptr(empty), uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
      check(`chmod ${place.path}`, libc().chmod(ptr(self), mode)); // after chown, which clears bits
    } finally {
      close(fd);
    }
    return true;
  });
  if (made === undefined) throw new SysError(`make ${place.path}`, Errno.ENOENT);
}

/**
 * Removes a node.
 * @param isOurs whether the node that is there is the caller's: else it stays
 */
export function removeNode(place: NodePlace, isOurs: (node: Node) => boolean): void {
  within(place, (directoryFd, name) => {
    const fd = openNode(directoryFd, name);
    if (fd === undefined) return;
    try {
      const node = look(fd, place.path);
      if (node === undefined || !isOurs(node)) return;
      const n = cString(name);
      if (libc().unlinkat(directoryFd, ptr(n), 0) < 0 && lastErrno() !== Errno.ENOENT) {
        throw new SysError(`unlink ${place.path}`, lastErrno());
      }
    } finally {
      close(fd);
    }
  });
}

/** Makes a directory of Berth's that anybody may pass through, and the one above it: others' programs open what is in it. */
export function makePassableDirectory(path: string): void {
  makeDirectory(path, 0o711);
  for (const directory of [path.slice(0, path.lastIndexOf("/")), path]) {
    const d = cString(directory);
    check(`chmod ${directory}`, libc().chmod(ptr(d), 0o711));
  }
}
