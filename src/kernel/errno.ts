import { plain } from "../report/plain.ts";

/** Names and sentences of Linux error numbers (include/uapi/asm-generic/errno-base.h, errno.h). */
const table: Readonly<Record<number, readonly [name: string, text: string]>> = {
  1: ["EPERM", "operation not permitted"],
  2: ["ENOENT", "no such file or directory"],
  3: ["ESRCH", "no such process or route"],
  4: ["EINTR", "interrupted system call"],
  5: ["EIO", "input/output error"],
  6: ["ENXIO", "no such device or address"],
  9: ["EBADF", "bad file descriptor"],
  11: ["EAGAIN", "no answer in time"],
  12: ["ENOMEM", "out of memory"],
  13: ["EACCES", "permission denied"],
  16: ["EBUSY", "device or resource busy"],
  17: ["EEXIST", "exists already"],
  19: ["ENODEV", "no such device"],
  20: ["ENOTDIR", "not a directory"],
  21: ["EISDIR", "is a directory"],
  22: ["EINVAL", "invalid argument"],
  23: ["ENFILE", "too many open files in the system"],
  24: ["EMFILE", "too many open files"],
  27: ["EFBIG", "too large"],
  28: ["ENOSPC", "no space left"],
  30: ["EROFS", "read-only file system"],
  32: ["EPIPE", "broken pipe"],
  34: ["ERANGE", "out of range"],
  36: ["ENAMETOOLONG", "name too long"],
  38: ["ENOSYS", "system call not available"],
  40: ["ELOOP", "too many symbolic links, or one where none may be"],
  71: ["EPROTO", "protocol error"],
  90: ["EMSGSIZE", "message too long"],
  92: ["ENOPROTOOPT", "protocol option not available"],
  93: ["EPROTONOSUPPORT", "protocol not supported"],
  95: ["EOPNOTSUPP", "operation not supported"],
  97: ["EAFNOSUPPORT", "address family not supported"],
  98: ["EADDRINUSE", "address in use"],
  99: ["EADDRNOTAVAIL", "address not available"],
  100: ["ENETDOWN", "network is down"],
  101: ["ENETUNREACH", "network is unreachable"],
  104: ["ECONNRESET", "connection reset by peer"],
  105: ["ENOBUFS", "no buffer space available"],
  107: ["ENOTCONN", "not connected"],
  110: ["ETIMEDOUT", "timed out"],
  111: ["ECONNREFUSED", "connection refused"],
  112: ["EHOSTDOWN", "host is down"],
  113: ["EHOSTUNREACH", "no route to host"],
  115: ["EINPROGRESS", "in progress"],
  524: ["ENOTSUPP", "operation not supported"],
};

/** Error numbers by name, for comparisons. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  ENXIO: 6,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EINVAL: 22,
  EFBIG: 27,
  ENOSYS: 38,
  ELOOP: 40,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRNOTAVAIL: 99,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  EHOSTUNREACH: 113,
  EINPROGRESS: 115,
} as const;

/** The symbolic name of an error number, as `EBUSY`; `errno N` where it has none here. */
export function errnoName(errno: number): string {
  return table[errno]?.[0] ?? `errno ${errno}`;
}

/** A sentence with the name in brackets, as `device or resource busy (EBUSY)`. */
export function errnoText(errno: number): string {
  const entry = table[errno];
  return entry === undefined ? `errno ${errno}` : `${entry[1]} (${entry[0]})`;
}

/** A system call, or a netlink request, that the kernel refused. */
export class SysError extends Error {
  override readonly name: string = "SysError";
  /** What was attempted, as `open /run/netns/x` or `create macvlan eth0`. */
  readonly call: string;
  readonly errno: number;
  /** The kernel's own explanation (netlink's extended ack), empty where it gave none. */
  readonly explanation: string;

  constructor(call: string, errno: number, explanation = "") {
    super(plain(`${call}: ${errnoText(errno)}${explanation === "" ? "" : `; the kernel says: ${explanation}`}`));
    this.call = call;
    this.errno = errno;
    this.explanation = explanation;
  }
}
