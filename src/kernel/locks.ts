import { Errno, SysError } from "./errno.ts";
import { close, flock, LOCK_EX, LOCK_NB, open } from "./libc.ts";

const O_RDWR = 2;
const O_CREAT = 0o100;
const O_NOFOLLOW = 0o400000;

/** An exclusive lock on a file, held until disposed of or until the process ends, however it ends. */
class FileLock implements Disposable {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  [Symbol.dispose](): void {
    close(this.#fd);
  }
}

/**
 * Waits for an exclusive flock(2) on a file, which is created (mode 0600) where it is missing; a symbolic link is refused.
 * The call blocks the thread. Throws `SysError`.
 * @example using lock = lockFile("/run/berth/lock");
 */
export function lockFile(path: string): Disposable {
  return locked(path, LOCK_EX);
}

/** {@link lockFile} without waiting: undefined where another process, or another lock of this one, has it. Throws `SysError`. */
export function tryLockFile(path: string): Disposable | undefined {
  try {
    return locked(path, LOCK_EX | LOCK_NB);
  } catch (e) {
    if (e instanceof SysError && e.errno === Errno.EAGAIN) return undefined;
    throw e;
  }
}

function locked(path: string, operation: number): Disposable {
  const fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    flock(fd, operation);
  } catch (e) {
    close(fd);
    throw e;
  }
  return new FileLock(fd);
}
