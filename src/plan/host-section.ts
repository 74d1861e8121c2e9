import type { Step } from "./step.ts";

/** Takes the lock under which the host's part of a plan is changed: what attachments of one parent share is there. */
export type LockHost = () => Disposable;

/**
 * Holds the host's lock while steps of the host are at work and no longer: a container's part may take seconds (duplicate
 * address detection), and others of the same parent shall not wait for it.
 */
export class HostSection implements Disposable {
  readonly #lockHost: LockHost;
  #held: Disposable | undefined;

  constructor(lockHost: LockHost | undefined) {
    this.#lockHost = lockHost ?? ((): Disposable => ({ [Symbol.dispose]: (): void => {} }));
  }

  /** The next step acts there. `flush` sends what is queued: before the lock is taken, and before it is given back. */
  enter(where: Step["where"], flush: () => void): void {
    if ((where === "host") === (this.#held !== undefined)) return;
    flush();
    if (where === "host") this.#held = this.#lockHost();
    else this[Symbol.dispose]();
  }

  /** Gives the lock back, if it is held. */
  [Symbol.dispose](): void {
    this.#held?.[Symbol.dispose]();
    this.#held = undefined;
  }
}
