// Deliveries: links that Docker was told of, and has to move into their containers. It does not say when it has: that is
// looked for, often at first (a container starts within seconds), then less.
import { announce } from "../attachment/announcements.ts";
import { takeOver } from "../attachment/handover.ts";
import { describeKey, type Key } from "../attachment/key.ts";
import { isOrphan, readRecord, recordsOf, removeRecord, writeRecord } from "../attachment/record.ts";
import { repair } from "../attachment/repair.ts";
import { isThere } from "../kernel/files.ts";
import { findLink } from "../kernel/links.ts";
import { Netlink } from "../kernel/netlink.ts";
import { openNamespace, processNamespacePath } from "../kernel/namespaces.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import type { Queue } from "./queue.ts";

/** How long to look how often, milliseconds. While the link is on the host a look costs some 15 µs. */
const PACES = [
  { until: 10_000, every: 2 },
  { until: 60_000, every: 20 },
  { until: Infinity, every: 500 },
] as const;

/** A link that is under way. */
interface Delivery {
  /** Of its record until it is there. */
  readonly key: Key;
  readonly endpoint: string;
  /** Path of the container's namespace, which may not exist yet. */
  readonly sandbox: string;
}

/** All that are under way. */
export class Deliveries {
  readonly #queue: Queue;
  readonly #failed: (failure: Failure) => void;
  /** In the host's namespace. */
  readonly #netlink = new Netlink();
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();

  /** @param failed gets what cannot be told to Docker any more */
  constructor(queue: Queue, failed: (failure: Failure) => void) {
    this.#queue = queue;
    this.#failed = failed;
  }

  /** Begins to look for a link. */
  expect(delivery: Delivery): void {
    this.forget(delivery.endpoint);
    this.#wait(delivery, performance.now());
  }

  /**
   * {@link expect} after the driver was started anew: its former process's namespace stood for the host. What arrived
   * meanwhile is finished. Throws `Failure`.
   * @returns true where the container's namespace is gone
   */
  async resume(delivery: Delivery): Promise<boolean> {
    const records = recordsOf(delivery.key.network, delivery.key.containerId);
    const settled = records.find((r) => r.inTransit !== true);
    const pending = records.find((r) => r.inTransit === true);
    if (settled !== undefined) {
      if (pending !== undefined) removeRecord(pending.key); // the former process could not say so any more
      if (isOrphan(settled)) return true;
      await repair(settled, "host");
      return false;
    }
    if (pending === undefined) return !isThere(delivery.sandbox);
    const netns = processNamespacePath(process.pid);
    using here = openNamespace(netns);
    writeRecord({ ...pending, netns, netnsInode: here.inode });
    this.expect(delivery);
    return false;
  }

  /** Looks no more. */
  forget(endpoint: string): void {
    clearTimeout(this.#timers.get(endpoint));
    this.#timers.delete(endpoint);
  }

  /** Looks for none any more. */
  end(): void {
    for (const endpoint of this.#timers.keys()) this.forget(endpoint);
    this.#netlink[Symbol.dispose]();
  }

  #wait(delivery: Delivery, since: number): void {
    const waited = performance.now() - since;
    const pace = PACES.find(({ until }) => waited < until)?.every ?? 500;
    const timer = setTimeout(() => {
      void this.#queue.run(async () => {
        if (this.#timers.get(delivery.endpoint) !== timer) return; // forgotten meanwhile
        try {
          if (findLink(this.#netlink, delivery.key.ifName) === undefined && (await arrived(delivery)))
            this.forget(delivery.endpoint);
          else this.#wait(delivery, since);
        } catch (e) {
          this.forget(delivery.endpoint);
          this.#failed(asFailure(e, `finish ${describeKey(delivery.key)} in ${delivery.sandbox}`));
        }
      });
    }, pace);
    this.#timers.set(delivery.endpoint, timer);
  }
}

/** True where there is nothing more to wait for. */
async function arrived({ key, sandbox }: Delivery): Promise<boolean> {
  const record = readRecord(key);
  if (record?.inTransit !== true) return true;
  const settled = takeOver(record, sandbox);
  if (settled === undefined) return false;
  await repair(settled, "host");
  announce(settled); // the link was up before it had been told to, and neighbours may know a former container's MAC
  return true;
}
