// Faults by strace: a program is recorded once, and then started again and again with one system call of its main thread
// tampered with. The JavaScript of Berth runs on the main thread, and so do all system calls that it makes.
import { readFileSync } from "node:fs";

/** A system call as strace prints it. */
export interface SystemCall {
  readonly name: string;
  /** Its arguments and result. */
  readonly text: string;
}

/** What is done to a call. */
type Fault =
  /** The process is killed before the kernel carries the call out. */
  | { readonly kind: "killed" }
  /** The call is not carried out and answers this errno. */
  | { readonly kind: "failed"; readonly errno: string }
  /** The first netlink message that it sends has a type that no kernel knows: that request is refused, the rest is carried out. */
  | { readonly kind: "refused"; readonly length: number };

/** The nth call of a name since the program began, and what is done to it. */
export interface Point {
  readonly call: string;
  readonly occurrence: number;
  readonly fault: Fault;
  /** The call as it was recorded. */
  readonly text: string;
}

/**
 * What a call can answer on a machine that is short of something, or forbids something. None for those that cannot fail
 * where their arguments are right; close(2) is one: Linux releases the descriptor whatever it answers, and strace would keep it.
 */
const ERRNOS: Readonly<Record<string, readonly string[]>> = {
  access: ["EACCES"],
  accept4: ["EMFILE", "EINTR"],
  bind: ["EADDRINUSE", "EACCES"],
  clone3: ["EAGAIN"],
  connect: ["ECONNREFUSED", "EINTR"],
  epoll_create1: ["EMFILE"],
  epoll_ctl: ["ENOSPC"],
  epoll_pwait2: ["EINTR"],
  eventfd2: ["EMFILE"],
  flock: ["EINTR", "ENOLCK"],
  futex: ["EINTR"],
  getdents64: ["EIO"],
  getrandom: ["EINTR"],
  getsockopt: ["ENOBUFS"],
  link: ["ENOSPC", "EPERM"],
  listen: ["EADDRINUSE"],
  madvise: ["ENOMEM"],
  mkdir: ["ENOSPC", "EACCES"],
  mmap: ["ENOMEM"],
  mprotect: ["ENOMEM"],
  newfstatat: ["ENOMEM"],
  open: ["EMFILE"],
  openat: ["EMFILE", "EACCES"],
  read: ["EIO", "EINTR"],
  readlink: ["EIO"],
  recvfrom: ["ENOBUFS", "EINTR", "EAGAIN"],
  rename: ["ENOSPC", "EBUSY"],
  rmdir: ["EBUSY"],
  sendto: ["ENOBUFS", "EINTR", "EPERM"],
  setns: ["EPERM", "ENOMEM"],
  setsockopt: ["ENOBUFS"],
  socket: ["EMFILE", "ENOBUFS"],
  statx: ["ENOMEM"],
  unlink: ["EROFS", "EBUSY"],
  utimensat: ["EPERM"],
  write: ["ENOSPC", "EINTR"],
};

/** The calls of a recording, in their order. */
export function readRecording(path: string): SystemCall[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .flatMap((text) => {
      const name = /^(\w+)\(/u.exec(text)?.[1];
      return name === undefined ? [] : [{ name, text }];
    });
}

function errnosOf({ name, text }: SystemCall): readonly string[] {
  const creates = name === "openat" && text.includes("O_CREAT");
  return [...(ERRNOS[name] ?? []), ...(creates ? ["ENOSPC"] : [])];
}

/** The length of the first netlink message of a call that sends some. */
function messageLength({ name, text }: SystemCall): number | undefined {
  if (name !== "sendto") return undefined;
  const length = /nlmsg_len=(\d+)/u.exec(text)?.[1];
  return length === undefined ? undefined : Number(length);
}

/**
 * Every point from the program's own first call on (what comes before is the runtime's start). The program's first call
 * of a name is the first since it was executed, as strace counts.
 */
export function pointsOf(calls: readonly SystemCall[], isOwn: (call: SystemCall) => boolean): Point[] {
  const first = calls.findIndex((call) => isOwn(call));
  if (first === -1) throw new Error("the recording does not hold the program's own first call");
  const seen = new Map<string, number>();
  return calls.flatMap((call, i) => {
    const occurrence = (seen.get(call.name) ?? 0) + 1;
    seen.set(call.name, occurrence);
    if (i < first) return [];
    const length = messageLength(call);
    const faults: Fault[] = [
      { kind: "killed" },
      ...errnosOf(call).map((errno) => ({ kind: "failed", errno }) as const),
      ...(length === undefined ? [] : [{ kind: "refused", length } as const]),
    ];
    return faults.map((fault) => ({ call: call.name, occurrence, fault, text: call.text.slice(0, 160) }));
  });
}

/** The words before a command that record it. */
export function recording(path: string): string[] {
  return ["strace", "-qq", "-o", path, "-s", "80"];
}

/** The words before a command that tamper with it. */
export function tampering({ call, occurrence, fault }: Point): string[] {
  const how =
    fault.kind === "killed"
      ? "signal=KILL"
      : fault.kind === "failed"
        ? `error=${fault.errno}`
        : `poke_enter=@arg2=${hex(fault.length)}ff7f`; // nlmsg_len as it was, and a nlmsg_type above RTM_MAX
  return ["strace", "-qq", "-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${call}:${how}:when=${occurrence}`];
}

function hex(n: number): string {
  return Buffer.from(Uint32Array.of(n).buffer).toString("hex");
}

/** A point in words. */
export function describePoint({ call, occurrence, fault, text }: Point): string {
  const what = fault.kind === "failed" ? fault.errno : fault.kind;
  return `${what} at ${call} no. ${occurrence} (${text})`;
}
