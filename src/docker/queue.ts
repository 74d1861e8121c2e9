// One call at a time: attachments take locks that block the whole thread, and one that waits within a call would never
// get the lock that another call of this process holds.

/** Runs asynchronous work in the order in which it came, one after the other. */
export class Queue {
  #last: Promise<unknown> = Promise.resolve();

  /** The work's own result; a failure of it does not keep what comes next from running. */
  run<T>(work: () => Promise<T> | T): Promise<T> {
    const mine = this.#last.then(work, work);
    this.#last = mine;
    return mine;
  }
}
