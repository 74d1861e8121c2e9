// Several writes at once, by the C library's own threads (aio(7)): each may wait in the kernel, and they wait together.
import { dlopen, FFIType, ptr } from "bun:ffi";
import { Errno } from "./errno.ts";
import { lastErrno } from "./libc.ts";

const { i32, i64, ptr: pointer } = FFIType;
/** A link's deletion waits some 15 ms and computes nothing. The more wait together, the less each takes, up to about this many. */
const THREADS = 400;

// struct aiocb of glibc on 64-bit machines (aio.h, bits/types/sigevent_t.h)
const AIOCB = 168;
const AIO_FILDES = 0;
const AIO_BUF = 16;
const AIO_NBYTES = 24;
const SIGEV_NOTIFY = 44;
const SIGEV_NONE = 1;
// struct aioinit
const AIOINIT = 64;
const AIO_THREADS = 0;
const AIO_NUM = 4;

/** A write to be carried out. */
export interface Write {
  readonly fd: number;
  readonly bytes: Uint8Array;
}

function load() {
  try {
    const { symbols } = dlopen("libc.so.6", {
      aio_init: { args: [pointer], returns: FFIType.void },
      aio_write: { args: [pointer], returns: i32 },
      aio_error: { args: [pointer], returns: i32 },
      aio_return: { args: [pointer], returns: i64 },
      aio_suspend: { args: [pointer, i32, pointer], returns: i32 },
    });
    const init = new Uint8Array(AIOINIT);
    new DataView(init.buffer).setInt32(AIO_THREADS, THREADS, true);
    new DataView(init.buffer).setInt32(AIO_NUM, THREADS, true);
    symbols.aio_init(ptr(init));
    return symbols;
  } catch {
    return undefined; // glibc before 2.34 has them elsewhere
  }
}

let library: ReturnType<typeof load> | "not loaded" = "not loaded";

/**
 * Carries out writes to different descriptors at once; returns when all have ended.
 * @returns for each its errno, 0 where it succeeded; undefined where this C library cannot do so: then nothing was written
 */
export function writeTogether(writes: readonly Write[]): number[] | undefined {
  if (library === "not loaded") library = load();
  const c = library;
  if (c === undefined) return undefined;
  const blocks = new Uint8Array(AIOCB * writes.length);
  const v = new DataView(blocks.buffer);
  const start = ptr(blocks);
  const errnos = writes.map(({ fd, bytes }, i) => {
    const at = i * AIOCB;
    v.setInt32(at + AIO_FILDES, fd, true);
    v.setBigUint64(at + AIO_BUF, BigInt(ptr(bytes)), true);
    v.setBigUint64(at + AIO_NBYTES, BigInt(bytes.length), true);
    v.setInt32(at + SIGEV_NOTIFY, SIGEV_NONE, true);
    return c.aio_write(ptr(blocks, at)) === 0 ? undefined : lastErrno();
  });
  return errnos.map((errno, i) => {
    if (errno !== undefined) return errno;
    const block = ptr(blocks, i * AIOCB);
    const list = new Uint8Array(BigUint64Array.of(BigInt(start + i * AIOCB)).buffer);
    for (;;) {
      const now = c.aio_error(block);
      if (now === Errno.EINPROGRESS) {
        c.aio_suspend(ptr(list), 1, null);
        continue;
      }
      c.aio_return(block); // ends the request: its memory is ours again
      return now;
    }
  });
}
