// Every system call that Bun does not offer itself. Synchronous throughout: these calls act on the JavaScript thread, so
// setns carries from one to the next. Each function reads errno directly after its call.
import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { Errno, SysError } from "./errno.ts";

const { i32, i64_fast: i64, u32, u64, ptr: pointer } = FFIType;
const LIBRARY = "libc.so.6";
// Linking a symbol takes 8 µs (its caller is compiled): these are the ones that an attachment needs.
const { symbols: c } = dlopen(LIBRARY, {
  __errno_location: { args: [], returns: pointer },
  socket: { args: [i32, i32, i32], returns: i32 },
  setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 },
  sendto: { args: [i32, pointer, u64, i32, pointer, u32], returns: i64 },
  recvfrom: { args: [i32, pointer, u64, i32, pointer, pointer], returns: i64 },
  open: { args: [pointer, i32, i32], returns: i32 },
  close: { args: [i32], returns: i32 },
  flock: { args: [i32, i32], returns: i32 },
  setns: { args: [i32, i32], returns: i32 },
  umask: { args: [u32], returns: u32 },
  getrandom: { args: [pointer, u64, u32], returns: i64 },
});

/** The others, from the first use of one of them on. */
const others = lazily(
  () =>
    dlopen(LIBRARY, {
      getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
      bind: { args: [i32, pointer, u32], returns: i32 },
      connect: { args: [i32, pointer, u32], returns: i32 },
      listen: { args: [i32, i32], returns: i32 },
      getpeername: { args: [i32, pointer, pointer], returns: i32 },
      accept4: { args: [i32, pointer, pointer, i32], returns: i32 },
      unshare: { args: [i32], returns: i32 },
      mount: { args: [pointer, pointer, pointer, u64, pointer], returns: i32 },
      umount2: { args: [pointer, i32], returns: i32 },
      syscall: { args: [i64, i64, i64, i64, i64, i64], returns: i64 },
    }).symbols,
);

/** What `make` makes, made when it is first asked for. */
export function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

/** setns(2), unshare(2): the network namespace (include/uapi/linux/sched.h). */
export const CLONE_NEWNET = 0x40000000;
/** The mount namespace. */
export const CLONE_NEWNS = 0x20000;
/** mount(2): a second place for what is mounted (include/uapi/linux/mount.h). */
export const MS_BIND = 0x1000;
/** mount(2): with all mounts below. */
export const MS_REC = 0x4000;
/** mount(2): changes are not passed on to other mount namespaces. */
export const MS_PRIVATE = 0x40000;
/** mount(2): changes are passed on to the other places of the mount, and back. */
export const MS_SHARED = 0x100000;
const MNT_DETACH = 2;
const O_CLOEXEC = 0x80000;
const SOCK_CLOEXEC = 0x80000;

/** `flock` operations (include/uapi/asm-generic/fcntl.h). */
export const LOCK_EX = 2;
/** Fails with EAGAIN instead of waiting. */
export const LOCK_NB = 4;

/** errno of this thread: of the call before, which must have failed. */
export function lastErrno(): number {
  const location = c.__errno_location();
  return location === null ? 0 : read.i32(location, 0);
}

function check(call: string, result: number | bigint): number {
  const n = Number(result);
  if (n < 0) throw new SysError(call, lastErrno());
  return n;
}

/** Repeats a call that a signal interrupted. */
function checkRetrying(call: string, f: () => number | bigint): number {
  for (;;) {
    const n = Number(f());
    if (n >= 0) return n;
    const errno = lastErrno();
    if (errno !== Errno.EINTR) throw new SysError(call, errno);
  }
}

const encoder = new TextEncoder();
/** A string as C reads it. Throws {@link SysError} where it cannot. */
export function cString(s: string): Uint8Array {
  if (s.includes("\0")) throw new SysError(`use ${JSON.stringify(s)}, which holds a NUL`, Errno.EINVAL); // C would end there
  return encoder.encode(`${s}\0`);
}

/** open(2), close-on-exec. Throws {@link SysError}. */
export function open(path: string, flags = 0, mode = 0): number {
  const b = cString(path);
  return check(`open ${path}`, c.open(ptr(b), flags | O_CLOEXEC, mode));
}

/** {@link open} of what may be missing: undefined where it is, or a directory on the way to it (an exception takes 30 µs). */
export function openIfThere(path: string, flags = 0): number | undefined {
  const b = cString(path);
  const fd = c.open(ptr(b), flags | O_CLOEXEC, 0);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  if (errno === Errno.ENOENT || errno === Errno.ENOTDIR) return undefined;
  throw new SysError(`open ${path}`, errno);
}

/** close(2); an error is ignored, as the descriptor is gone in any case. */
export function close(fd: number): void {
  c.close(fd);
}

/** What no file of Berth's is for: writing by others. What is secret states a mode of its own. */
export const UMASK = 0o022;

/** umask(2): the caller's may be anything, and programs that are started inherit it. */
export function setUmask(mask: number): void {
  c.umask(mask);
}

/** flock(2); repeated where a signal interrupts it. Throws {@link SysError}. */
export function flock(fd: number, operation: number): void {
  checkRetrying("flock", () => c.flock(fd, operation));
}

/** getrandom(2): so many random bytes, 256 at most. Throws {@link SysError}. (Web Crypto takes 0.2 ms for its first.) */
export function randomBytes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  checkRetrying("getrandom", () => c.getrandom(ptr(bytes), count, 0));
  return bytes;
}

/** setns(2) for this thread. Throws {@link SysError}. */
export function setns(fd: number, type: number): void {
  check("setns", c.setns(fd, type));
}

/** unshare(2) for this thread. Throws {@link SysError}. */
export function unshare(flags: number): void {
  check(`unshare 0x${flags.toString(16)}`, others().unshare(flags));
}

/** mount(2). Throws {@link SysError}. */
export function mount(source: string, target: string, type: string, flags: number, data = ""): void {
  const [s, t, y, d] = [cString(source), cString(target), cString(type), cString(data)];
  check(`mount ${type === "" ? source : type} on ${target}`, others().mount(ptr(s), ptr(t), ptr(y), flags, ptr(d)));
}

/** umount2(2) with MNT_DETACH. Throws {@link SysError}. */
export function unmount(target: string): void {
  const t = cString(target);
  check(`umount ${target}`, others().umount2(ptr(t), MNT_DETACH));
}

/** Numbers that all architectures share (include/uapi/asm-generic/unistd.h); glibc names these calls from 2.36 on. */
const SYS = { fsopen: 430, fsconfig: 431, fsmount: 432, openat2: 437 } as const;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_CMD_CREATE = 6;

function systemCall(name: keyof typeof SYS, ...args: readonly number[]): number {
  const [a = 0, b = 0, d = 0, e = 0, f = 0] = args;
  return check(name, others().syscall(SYS[name], a, b, d, e, f));
}

/** Mounts a file system that has no source, at no place: a descriptor of its root. Throws {@link SysError}. */
export function mountDetached(type: string): number {
  const t = cString(type);
  const context = systemCall("fsopen", ptr(t), FSOPEN_CLOEXEC);
  try {
    systemCall("fsconfig", context, FSCONFIG_CMD_CREATE);
    return systemCall("fsmount", context, FSMOUNT_CLOEXEC);
  } finally {
    close(context);
  }
}

const CLOCK_BOOTTIME = 7;
/** Apart from the others, which some attachments need. */
const clocks = lazily(() => dlopen(LIBRARY, { clock_gettime: { args: [i32, pointer], returns: i32 } }).symbols);

/** Seconds since the boot, those of sleep included: no clock that somebody sets (clock_gettime(2)). Throws {@link SysError}. */
export function secondsSinceBoot(): number {
  const time = new BigInt64Array(2); // struct timespec
  check("clock_gettime", clocks().clock_gettime(CLOCK_BOOTTIME, ptr(time)));
  return Number(time[0]);
}

const O_PATH = 0o10000000;
const O_DIRECTORY = 0o200000;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_IN_ROOT = 0x10;

/**
 * Opens a directory, as a place only (O_PATH), in a root that somebody else writes to: symbolic links and `..` lead nowhere
 * out of it (openat2(2), RESOLVE_IN_ROOT). Throws {@link SysError}; ENOSYS before Linux 5.6.
 */
export function openDirectoryIn(root: string, path: string): number {
  if (root === "/") return open(path, O_PATH | O_DIRECTORY); // whoever writes to our own may do so anyway
  const rootFd = open(root, O_PATH | O_DIRECTORY);
  try {
    const p = cString(path);
    const how = BigUint64Array.of(
      BigInt(O_PATH | O_DIRECTORY | O_CLOEXEC),
      0n,
      BigInt(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS),
    );
    return systemCall("openat2", rootFd, ptr(p), ptr(how), how.byteLength);
  } finally {
    close(rootFd);
  }
}

/** mknodat(2) for a character device, mode 0600 until it is changed. Throws {@link SysError}; EEXIST where the name is taken. */
export function makeCharacterDevice(directoryFd: number, name: string, major: number, minor: number): void {
  // glibc names the call from 2.33 on; its numbers: arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h
  const number = process.arch === "x64" ? 259 : 33;
  const S_IFCHR = 0o020000;
  const n = cString(name);
  // the kernel's own form of a device number (new_encode_dev of include/linux/kdev_t.h)
  const device = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
  check(`mknod ${name}`, others().syscall(number, directoryFd, ptr(n), S_IFCHR | 0o600, device, 0));
}

/** socket(2), close-on-exec. The socket stays in the network namespace this thread is in. Throws {@link SysError}. */
export function socket(domain: number, type: number, protocol: number): number {
  return check(`socket(${domain}, ${type}, ${protocol})`, c.socket(domain, type | SOCK_CLOEXEC, protocol));
}

/** setsockopt(2). Throws {@link SysError}. */
export function setSocketOption(fd: number, level: number, option: number, value: Uint8Array): void {
  check(`setsockopt(${level}, ${option})`, c.setsockopt(fd, level, option, ptr(value), value.length));
}

/** setsockopt(2) with an int. Throws {@link SysError}. */
export function setSocketInt(fd: number, level: number, option: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  setSocketOption(fd, level, option, bytes);
}

/** getsockopt(2) into a buffer whose content goes in too, and which the answer must fill. Throws {@link SysError}. */
export function getSocketOption(fd: number, level: number, option: number, value: Uint8Array): void {
  const length = new Uint32Array([value.length]);
  check(`getsockopt(${level}, ${option})`, others().getsockopt(fd, level, option, ptr(value), ptr(length)));
}

const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;

/** Bounds every receive, send, connect and accept on the socket: `milliseconds` later it fails with EAGAIN (connect: EINPROGRESS). */
export function setSocketTimeout(fd: number, milliseconds: number): void {
  const microseconds = Math.ceil(milliseconds * 1000); // rounded up: zero would mean no limit
  // struct timeval: two 64-bit numbers, of which these fill the lower halves
  const value = new Uint8Array(16);
  const v = new DataView(value.buffer);
  v.setUint32(0, Math.floor(microseconds / 1e6), true);
  v.setUint32(8, microseconds % 1e6, true);
  setSocketOption(fd, SOL_SOCKET, SO_RCVTIMEO, value);
  setSocketOption(fd, SOL_SOCKET, SO_SNDTIMEO, value);
}

/** bind(2). Throws {@link SysError}. */
export function bind(fd: number, address: Uint8Array): void {
  check("bind", others().bind(fd, ptr(address), address.length));
}

/** connect(2). Throws {@link SysError}, ETIMEDOUT after the socket's timeout. */
export function connect(fd: number, address: Uint8Array): void {
  try {
    checkRetrying("connect", () => others().connect(fd, ptr(address), address.length));
  } catch (e) {
    throw e instanceof SysError && e.errno === Errno.EINPROGRESS ? new SysError("connect", Errno.ETIMEDOUT) : e;
  }
}

/** listen(2). Throws {@link SysError}. */
export function listen(fd: number, backlog: number): void {
  check("listen", others().listen(fd, backlog));
}

/** accept4(2): the new descriptor. Throws {@link SysError}. */
export function accept(fd: number): number {
  return checkRetrying("accept", () => others().accept4(fd, null, null, SOCK_CLOEXEC));
}

/** getpeername(2): the other end's socket address. Throws {@link SysError}. */
export function peerAddress(fd: number): Uint8Array {
  const address = new Uint8Array(28);
  const length = new Uint32Array([address.length]);
  check("getpeername", others().getpeername(fd, ptr(address), ptr(length)));
  return address.subarray(0, length[0]);
}

/** sendto(2), or send(2) where there is no address: the number of bytes taken. Throws {@link SysError}. */
export function send(fd: number, bytes: Uint8Array, address?: Uint8Array): number {
  return checkRetrying("send", () =>
    c.sendto(
      fd,
      ptr(bytes),
      bytes.length,
      0,
      address === undefined ? null : ptr(address),
      address === undefined ? 0 : address.length,
    ),
  );
}

/** recv(2): the number of bytes received; `flags` as in recv(2). Throws {@link SysError}, EAGAIN after the socket's timeout. */
export function receive(fd: number, into: Uint8Array, flags = 0): number {
  return checkRetrying("recv", () => c.recvfrom(fd, ptr(into), into.length, flags, null, null));
}
