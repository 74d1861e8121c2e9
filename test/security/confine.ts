// Becomes a program that is confined as systemd confines a service: bun confine.ts SPEC PROGRAM ARGUMENT…
//
// What systemd does before it executes the service (src/core/execute.c, src/shared/seccomp-util.c): mounts made read-only, the
// bounding set of capabilities, no new privileges, system call filters; then execve(2).
import { dlopen, FFIType, ptr } from "bun:ffi";
import { readFileSync } from "node:fs";
import { CLONE_NEWNET, mount, MS_BIND, MS_REC, unshare } from "../../src/kernel/libc.ts";

/** How a program is confined. */
export interface Confinement {
  /** CapabilityBoundingSet, as CAP_NET_ADMIN. */
  readonly capabilities: readonly string[];
  /** SystemCallFilter: names and groups, as @system-service. */
  readonly systemCalls: readonly string[];
  /** RestrictAddressFamilies, as AF_UNIX. */
  readonly families: readonly string[];
  /** ProtectSystem=strict: where may be written all the same; absent: the host's mounts as they are. */
  readonly writable?: readonly string[];
}

const { i32, i64, u64, ptr: pointer } = FFIType;
const { symbols: c } = dlopen("libc.so.6", {
  prctl: { args: [i32, u64, u64, u64, u64], returns: i32 },
  syscall: { args: [i64, i64, pointer, i64, pointer, i64], returns: i64 },
  execve: { args: [pointer, pointer, pointer], returns: i32 },
});

const CLONE_NEWNS = 0x20000;
const MS_SLAVE = 0x80000;
const AT_FDCWD = -100;
const AT_RECURSIVE = 0x8000;
const MOUNT_SETATTR = 442;
const MOUNT_ATTR_RDONLY = 1;
const PR_SET_SECCOMP = 22;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
const LAST_CAPABILITY = 40;

/** include/uapi/linux/capability.h */
const capabilities: Readonly<Record<string, number>> = {
  CAP_CHOWN: 0,
  CAP_DAC_READ_SEARCH: 2,
  CAP_FOWNER: 3,
  CAP_NET_BROADCAST: 11,
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
  CAP_MKNOD: 27,
};
/** include/linux/socket.h */
const families: Readonly<Record<string, number>> = {
  AF_UNIX: 1,
  AF_INET: 2,
  AF_INET6: 10,
  AF_NETLINK: 16,
  AF_PACKET: 17,
};

function must(what: string, result: number | bigint): void {
  if (Number(result) !== 0) throw new Error(`${what} failed`);
}

function known(table: Readonly<Record<string, number>>, name: string): number {
  const number = table[name];
  if (number === undefined) throw new Error(`${name} is not known here`);
  return number;
}

/** The numbers of names and groups, for x86-64: as `systemd-analyze syscall-filter` of systemd 252 tells them. */
function systemCallsOf(names: readonly string[]): number[] {
  const text = readFileSync(`${import.meta.dir}/system-calls.json`, "utf8");
  const groups = JSON.parse(text) as Readonly<Record<string, Readonly<Record<string, number>>>>;
  const all = Object.assign({ bpf: 321 }, ...Object.values(groups)) as Record<string, number>;
  return names.flatMap((name) => (name.startsWith("@") ? Object.values(groups[name] ?? {}) : [known(all, name)]));
}

// struct sock_filter (include/uapi/linux/bpf_common.h, filter.h)
const LD = 0x20;
const JEQ = 0x15;
const RET = 0x06;
const ALLOW = 0x7fff0000;
const errno = (number: number): number => 0x00050000 | number;
const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97];
const ARCHITECTURE = 4;
const X86_64 = 0xc000003e;
const argument = (n: number): number => 16 + 8 * n; // its lower half
const [SOCKET, CLONE3, UNSHARE, SETNS] = [41, 435, 272, 308];

type Instruction = readonly [code: number, jumpIf: number, jumpElse: number, value: number];

/** If the call is this one, its argument must be one of these values. */
function only(call: number, index: number, values: readonly number[], otherwise: number): Instruction[] {
  const tests = values.map((v, i): Instruction => [JEQ, values.length - i, 0, v]);
  return [
    [JEQ, 0, tests.length + 3, call],
    [LD, 0, 0, argument(index)],
    ...tests,
    [RET, 0, 0, errno(otherwise)],
    [LD, 0, 0, 0],
  ];
}

function filterOf(spec: Confinement): Instruction[] {
  return [
    [LD, 0, 0, ARCHITECTURE],
    [JEQ, 1, 0, X86_64],
    [RET, 0, 0, errno(EPERM)], // SystemCallArchitectures=native
    [LD, 0, 0, 0],
    ...only(
      SOCKET,
      0,
      spec.families.map((f) => known(families, f)),
      EAFNOSUPPORT,
    ),
    ...only(UNSHARE, 0, [CLONE_NEWNET], EPERM), // RestrictNamespaces=net
    ...only(SETNS, 1, [CLONE_NEWNET], EPERM),
    [JEQ, 0, 1, CLONE3],
    [RET, 0, 0, errno(ENOSYS)], // its flags cannot be seen: as RestrictNamespaces does, so that clone is used
    ...systemCallsOf(spec.systemCalls).flatMap((call): Instruction[] => [
      [JEQ, 0, 1, call],
      [RET, 0, 0, ALLOW],
    ]),
    [RET, 0, 0, errno(EPERM)],
  ];
}

function install(filter: readonly Instruction[]): void {
  const code = new Uint8Array(filter.length * 8);
  const v = new DataView(code.buffer);
  filter.forEach(([op, jumpIf, jumpElse, value], i) => {
    v.setUint16(i * 8, op, true);
    v.setUint8(i * 8 + 2, jumpIf);
    v.setUint8(i * 8 + 3, jumpElse);
    v.setUint32(i * 8 + 4, value, true);
  });
  const program = new Uint8Array(16); // struct sock_fprog
  new DataView(program.buffer).setUint16(0, filter.length, true);
  new DataView(program.buffer).setBigUint64(8, BigInt(ptr(code)), true);
  must("the system call filter", c.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, BigInt(ptr(program)), 0, 0));
}

function setAttributes(path: string, set: number, clear: number): void {
  const attributes = new BigUint64Array([BigInt(set), BigInt(clear), 0n, 0n]); // struct mount_attr
  const text = Buffer.from(`${path}\0`);
  must(`mount_setattr ${path}`, c.syscall(MOUNT_SETATTR, AT_FDCWD, ptr(text), AT_RECURSIVE, ptr(attributes), 32));
}

/** Everything is read-only but what is named, and what ProtectSystem=strict leaves: /proc, /sys and /dev. */
function protect(writable: readonly string[]): void {
  unshare(CLONE_NEWNS);
  mount("none", "/", "", MS_REC | MS_SLAVE); // what the host mounts later is seen, what is mounted here is not passed on
  const kept = [...writable, "/proc", "/sys", "/dev"];
  for (const path of kept) mount(path, path, "", MS_BIND | MS_REC);
  setAttributes("/", MOUNT_ATTR_RDONLY, 0);
  for (const path of kept) setAttributes(path, 0, MOUNT_ATTR_RDONLY);
}

function pointers(texts: readonly string[], keep: Uint8Array[]): BigUint64Array {
  const list = new BigUint64Array(texts.length + 1);
  texts.forEach((text, i) => {
    const bytes = Buffer.from(`${text}\0`);
    keep.push(bytes);
    list[i] = BigInt(ptr(bytes));
  });
  return list;
}

function become(program: string, args: readonly string[]): never {
  const keep: Uint8Array[] = [];
  const environment = Object.entries(process.env).map(([k, v]) => `${k}=${v}`);
  const [argv, envp] = [pointers([program, ...args], keep), pointers(environment, keep)];
  const path = Buffer.from(`${program}\0`);
  c.execve(ptr(path), ptr(argv), ptr(envp));
  throw new Error(`execute ${program}, with ${keep.length} texts, failed`);
}

if (import.meta.main) {
  const [text = "", program = "", ...args] = process.argv.slice(2);
  const spec = JSON.parse(text) as Confinement;
  if (spec.writable !== undefined) protect(spec.writable);
  const kept = new Set(spec.capabilities.map((name) => known(capabilities, name)));
  for (let n = 0; n <= LAST_CAPABILITY; n++) if (!kept.has(n)) must(`drop ${n}`, c.prctl(PR_CAPBSET_DROP, n, 0, 0, 0));
  must("no new privileges", c.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  install(filterOf(spec));
  become(program, args);
}
