// Files by system call, for everything that a CNI call reads and writes: to import node:fs alone costs as much as all the
// netlink work of an attachment (docs/performance.md).
import { dlopen, FFIType, ptr } from "bun:ffi";
import { Errno, SysError } from "./errno.ts";
import { close, cString, lastErrno, lazily, open, openIfThere } from "./libc.ts";

const { i32, i64_fast: i64, u32, u64, ptr: pointer } = FFIType;
const LIBRARY = "libc.so.6";
// as in libc.ts: these are the ones that an attachment needs
const { symbols: c } = dlopen(LIBRARY, {
  read: { args: [i32, pointer, u64], returns: i64 },
  write: { args: [i32, pointer, u64], returns: i64 },
  statx: { args: [i32, pointer, i32, u32, pointer], returns: i32 },
  rename: { args: [pointer, pointer], returns: i32 },
  link: { args: [pointer, pointer], returns: i32 },
  unlink: { args: [pointer], returns: i32 },
});
const others = lazily(
  () =>
    dlopen(LIBRARY, {
      rmdir: { args: [pointer], returns: i32 },
      mkdir: { args: [pointer, u32], returns: i32 },
      readlink: { args: [pointer, pointer, u64], returns: i64 },
      access: { args: [pointer, i32], returns: i32 },
      utimensat: { args: [i32, pointer, pointer, i32], returns: i32 },
      getdents64: { args: [i32, pointer, u64], returns: i64 },
    }).symbols,
);

// include/uapi/asm-generic/fcntl.h
const O_WRONLY = 1;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const O_NOFOLLOW = 0o400000;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
// include/uapi/linux/stat.h: the same on every architecture, unlike stat(2)
const STATX_BASIC_STATS = 0x7ff;
const STATX_SIZE = 256;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;
const kinds: ReadonlyMap<number, FileStatus["kind"]> = new Map([
  [S_IFREG, "file"],
  [S_IFDIR, "directory"],
  [S_IFLNK, "link"],
]);
const O_NONBLOCK = 0o4000;
/** Of struct dirent64 before the name (readdir(3)). */
const DIRENT_NAME = 19;
const DT_UNKNOWN = 0;
const DT_DIR = 4;
/** access(2): executable. */
const X_OK = 1;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
// one for all reads of the process: everything here is synchronous
const buffer = new Uint8Array(32768);

/** What the file system says of a file. */
export interface FileStatus {
  /** With {@link device} the file's identity. */
  readonly inode: number;
  /** Of the file system, `major:minor`. */
  readonly device: string;
  /** Bytes. */
  readonly size: number;
  /** The last change of its content, milliseconds since the epoch. */
  readonly modified: number;
  readonly kind: "file" | "directory" | "link" | "other";
  /** As chmod(1) has them. */
  readonly permissions: number;
  /** Of a device file: which device, `major:minor`. */
  readonly represents: string;
}

/** A name in a directory. */
export interface DirectoryEntry {
  readonly name: string;
  readonly directory: boolean;
}

function check(call: string, path: string, result: number | bigint): number {
  const n = Number(result);
  if (n >= 0) return n;
  throw new SysError(`${call} ${path}`, lastErrno());
}

/** Bytes. Nothing that Berth reads comes near: what is longer is no configuration, record or setting. */
const MAX_FILE = 16 << 20;

/** All that can be read from an open file, as UTF-8; `path` is for the error only. Throws `SysError`, EFBIG from 16 MiB on. */
export function readDescriptor(fd: number, path: string): string {
  let text = "";
  let length = 0;
  let streaming: TextDecoder | undefined;
  for (;;) {
    const n = Number(c.read(fd, ptr(buffer), buffer.length));
    if (n < 0) {
      const errno = lastErrno();
      if (errno === Errno.EINTR) continue;
      throw new SysError(`read ${path}`, errno);
    }
    if (n === 0) return text + (streaming?.decode() ?? "");
    length += n;
    if (length > MAX_FILE) throw new SysError(`read ${path}`, Errno.EFBIG);
    if (n === buffer.length) streaming ??= new TextDecoder(); // a character may be cut in two
    text += (streaming ?? decoder).decode(buffer.subarray(0, n), { stream: streaming !== undefined });
  }
}

/** Whether a symbolic link at the end of a path is followed; one in the place of a file of Berth's own is not. */
export type Links = "follow" | "refuse";

/** A file's content as UTF-8. Throws `SysError`, ELOOP for a link that is to be refused. */
export function readFile(path: string, links: Links = "follow"): string {
  return readAndClose(open(path, flagsOf(links)), path);
}

/**
 * The content of a file of Berth's own: neither a link's nor another user's, who could have put there what root then does.
 * Undefined where there is none. Throws `SysError`: ELOOP for a link, EPERM for another user's.
 */
export function readOwnFile(path: string): string | undefined {
  return readOwn(path, 0);
}

/** {@link readOwnFile}, which others than its owner may neither read nor write: else EPERM. */
export function readSecretFile(path: string): string | undefined {
  return readOwn(path, 0o077);
}

/** @param refused permissions that the file must not give */
function readOwn(path: string, refused: number): string | undefined {
  const fd = openIfThere(path, O_NOFOLLOW | O_NONBLOCK);
  if (fd === undefined) return undefined;
  try {
    const empty = cString("");
    const bytes = new Uint8Array(STATX_SIZE);
    check("stat", path, c.statx(fd, ptr(empty), AT_EMPTY_PATH, STATX_BASIC_STATS, ptr(bytes)));
    const v = new DataView(bytes.buffer);
    const owner = v.getUint32(20, true);
    if (owner !== 0 && owner !== process.geteuid?.())
      throw new SysError(`read ${path}, which is of user ${owner}`, Errno.EPERM);
    if ((permissionsIn(v) & refused) !== 0) throw new SysError(`read ${path}, which others may use`, Errno.EPERM);
    return readDescriptor(fd, path);
  } finally {
    close(fd);
  }
}

/** {@link readFile}; undefined where there is no such file. Throws `SysError` for other errors. */
export function readFileIfThere(path: string, links: Links = "follow"): string | undefined {
  const fd = openIfThere(path, flagsOf(links));
  return fd === undefined ? undefined : readAndClose(fd, path);
}

function flagsOf(links: Links): number {
  return links === "follow" ? 0 : O_NOFOLLOW | O_NONBLOCK;
}

function readAndClose(fd: number, path: string): string {
  try {
    return readDescriptor(fd, path);
  } finally {
    close(fd);
  }
}

/** True for the error of a file, or of a directory on the way to it, that is not there. */
export function isMissing(e: unknown): boolean {
  return e instanceof SysError && (e.errno === Errno.ENOENT || e.errno === Errno.ENOTDIR);
}

/** How a file is written. */
export interface WriteOptions {
  /** Its permissions where it is made; absent: 0644. */
  readonly mode?: number;
  /** `new`: EEXIST where it is there; `present`: ENOENT where it is not; absent: made or emptied. */
  readonly only?: "new" | "present";
}

/** Writes a whole file. Throws `SysError`, ELOOP for a symbolic link; what was written by then stays. */
export function writeFile(path: string, content: string, { mode = 0o644, only }: WriteOptions = {}): void {
  const how = only === "new" ? O_CREAT | O_EXCL : only === "present" ? 0 : O_CREAT | O_TRUNC;
  const fd = open(path, O_WRONLY | O_NOFOLLOW | how, mode);
  try {
    writeDescriptor(fd, content, path);
  } finally {
    close(fd);
  }
}

/** Writes all of a text to an open file; `path` is for the error only. Throws `SysError`; what was written by then stays. */
export function writeDescriptor(fd: number, content: string, path: string): void {
  let rest = encoder.encode(content);
  while (rest.length > 0) {
    const n = Number(c.write(fd, ptr(rest), rest.length));
    const errno = n < 0 ? lastErrno() : 0;
    if (n > 0) rest = rest.subarray(n);
    else if (errno === Errno.EAGAIN) Bun.sleepSync(1); // a pipe that somebody made non-blocking, and nobody reads just now
    else if (errno !== Errno.EINTR) throw new SysError(`write ${path}`, errno);
  }
}

/** Adds text to the end of a file, in one write(2). Throws `SysError`, ELOOP for a symbolic link. */
export function appendFile(path: string, text: string, mode: number): void {
  const fd = open(path, O_WRONLY | O_NOFOLLOW | O_CREAT | O_APPEND, mode);
  try {
    const bytes = encoder.encode(text);
    check("write", path, c.write(fd, ptr(bytes), bytes.length));
  } finally {
    close(fd);
  }
}

/** rename(2): replaces what is at `to`. Throws `SysError`. */
export function renameFile(from: string, to: string): void {
  const [f, t] = [cString(from), cString(to)];
  check("rename", `${from} to ${to}`, c.rename(ptr(f), ptr(t)));
}

/** link(2): another name of a file; EEXIST where that is taken. Throws `SysError`. */
export function linkFile(file: string, name: string): void {
  const [f, n] = [cString(file), cString(name)];
  check("link", `${file} as ${name}`, c.link(ptr(f), ptr(n)));
}

/** unlink(2). False where it was not there. Throws `SysError` for other errors. */
export function removeFile(path: string): boolean {
  const p = cString(path);
  if (c.unlink(ptr(p)) === 0) return true;
  const errno = lastErrno();
  if (errno === Errno.ENOENT || errno === Errno.ENOTDIR) return false;
  throw new SysError(`unlink ${path}`, errno);
}

/** Removes a directory with all that is in it; one that is not there is success. Throws `SysError`. */
export function removeDirectory(path: string): void {
  for (const { name, directory } of listDirectory(path, "refuse")) {
    if (directory) removeDirectory(`${path}/${name}`);
    else removeFile(`${path}/${name}`);
  }
  const p = cString(path);
  if (others().rmdir(ptr(p)) === 0) return;
  const e = new SysError(`rmdir ${path}`, lastErrno());
  if (!isMissing(e)) throw e;
}

/** Makes a directory where it is missing, and those above it. Throws `SysError`. */
export function makeDirectory(path: string, mode = 0o755): void {
  const p = cString(path);
  if (others().mkdir(ptr(p), mode) === 0) return;
  const errno = lastErrno();
  const above = path.slice(0, path.lastIndexOf("/"));
  if (errno === Errno.ENOENT && above !== "") {
    makeDirectory(above, mode);
    makeDirectory(path, mode);
    return;
  }
  if (errno === Errno.EEXIST && statusOf(path)?.kind === "directory") return;
  throw new SysError(`mkdir ${path}`, errno);
}

/** struct statx of what is at a path; undefined where nothing is, which is common: an exception takes 30 µs. Throws `SysError`. */
function statx(path: string, links: "follow" | "see"): DataView | undefined {
  const p = cString(path);
  const bytes = new Uint8Array(STATX_SIZE);
  const flags = links === "follow" ? 0 : AT_SYMLINK_NOFOLLOW;
  if (c.statx(AT_FDCWD, ptr(p), flags, STATX_BASIC_STATS, ptr(bytes)) === 0) return new DataView(bytes.buffer);
  const errno = lastErrno();
  if (errno === Errno.ENOENT || errno === Errno.ENOTDIR) return undefined;
  throw new SysError(`stat ${path}`, errno);
}

function permissionsIn(v: DataView): number {
  return v.getUint16(28, true) & 0o7777;
}

function kindIn(v: DataView): FileStatus["kind"] {
  return kinds.get(v.getUint16(28, true) & S_IFMT) ?? "other";
}

/** What is at a path, links followed or seen as such; undefined where nothing is. Throws `SysError` for other errors. */
export function statusOf(path: string, links: "follow" | "see" = "follow"): FileStatus | undefined {
  const v = statx(path, links);
  if (v === undefined) return undefined;
  return {
    inode: Number(v.getBigUint64(32, true)),
    device: `${v.getUint32(136, true)}:${v.getUint32(140, true)}`,
    size: Number(v.getBigUint64(40, true)),
    modified: Number(v.getBigInt64(112, true)) * 1000 + v.getUint32(120, true) / 1e6,
    represents: `${v.getUint32(128, true)}:${v.getUint32(132, true)}`,
    kind: kindIn(v),
    permissions: permissionsIn(v),
  };
}

/** What sort of thing is at a path, a link being seen as such; undefined where nothing is. Throws `SysError` for other errors. */
export function kindOf(path: string): FileStatus["kind"] | undefined {
  const v = statx(path, "see");
  return v === undefined ? undefined : kindIn(v);
}

/** True where anything is at a path. Throws `SysError` where that cannot be told. */
export function isThere(path: string): boolean {
  return statx(path, "follow") !== undefined;
}

/** What a symbolic link says. Throws `SysError`. */
export function readLink(path: string): string {
  const p = cString(path);
  const n = check("readlink", path, others().readlink(ptr(p), ptr(buffer), buffer.length));
  return decoder.decode(buffer.subarray(0, n));
}

/** True where this process may execute the file. */
export function isExecutable(path: string): boolean {
  const p = cString(path);
  return others().access(ptr(p), X_OK) === 0;
}

/** Sets the time of a file's last change, milliseconds since the epoch. Throws `SysError`. */
export function setModified(path: string, milliseconds: number): void {
  const [p, seconds] = [cString(path), Math.floor(milliseconds / 1000)];
  const time = [BigInt(seconds), BigInt(Math.floor((milliseconds - seconds * 1000) * 1e6))];
  const times = new Uint8Array(new BigInt64Array([...time, ...time]).buffer);
  check("set the time of", path, others().utimensat(AT_FDCWD, ptr(p), ptr(times), 0));
}

/** What is in a directory, in no order; nothing where there is none. Throws `SysError`, ELOOP for a link that is to be refused. */
export function listDirectory(path: string, links: Links = "follow"): DirectoryEntry[] {
  const fd = openIfThere(path, links === "follow" ? 0 : O_NOFOLLOW);
  if (fd === undefined) return [];
  const entries: DirectoryEntry[] = [];
  try {
    for (;;) {
      const n = check("list", path, others().getdents64(fd, ptr(buffer), buffer.length));
      if (n === 0) return entries;
      const v = new DataView(buffer.buffer, 0, n);
      for (let at = 0; at < n; at += v.getUint16(at + 16, true)) {
        const end = buffer.indexOf(0, at + DIRENT_NAME);
        const name = decoder.decode(buffer.subarray(at + DIRENT_NAME, end));
        if (name === "." || name === "..") continue;
        const type = v.getUint8(at + 18);
        const directory = type === DT_UNKNOWN ? undefined : type === DT_DIR; // some file systems do not tell
        entries.push({ name, directory: directory ?? statusOf(`${path}/${name}`, "see")?.kind === "directory" });
      }
    }
  } finally {
    close(fd);
  }
}
