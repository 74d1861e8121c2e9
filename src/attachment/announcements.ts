// Announcements that are repeated: one may get lost, and a switch may not be ready for the first.
import { announceAddresses } from "../plan/announce.ts";
import { Places } from "../plan/places.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { addressesOf } from "./allocation.ts";
import { describeKey } from "./key.ts";
import type { AttachmentRecord } from "./record.ts";

/** When an attachment's addresses are announced again, milliseconds after it came or was mended (RFC 5227: 2 s apart). */
const AFTER_MS = [1000, 3000, 10_000];

interface Due {
  readonly record: AttachmentRecord;
  /** `performance.now()` milliseconds, earliest first. */
  readonly times: number[];
}

/** What is still to be announced. */
export class Announcements {
  readonly #due = new Map<string, Due>();

  /** An attachment has come, was mended or can be heard again: it is announced anew. */
  schedule(record: AttachmentRecord): void {
    const now = performance.now();
    this.#due.set(describeKey(record.key), { record, times: AFTER_MS.map((after) => now + after) });
  }

  /** Announces what is due; `failed` gets what the kernel refused. */
  send(failed: (record: AttachmentRecord, failure: Failure) => void): void {
    const now = performance.now();
    for (const [name, { record, times }] of this.#due) {
      if ((times[0] ?? 0) > now) continue;
      times.shift();
      if (times.length === 0) this.#due.delete(name);
      try {
        announce(record);
      } catch (e) {
        failed(record, asFailure(e, `announce the addresses of ${name}`));
      }
    }
  }
}

/** Tells the LAN that an attachment's addresses are here, unless it is detached by now. Throws `Failure` (`kernel`). */
export function announce(record: AttachmentRecord): void {
  if (record.guest?.held === true || record.guest?.foreignLink === true) return; // it is not here, or its link is not ours
  using places = Places.find(record.netns);
  if (places.container?.inode !== record.netnsInode) return; // detached meanwhile
  announceAddresses(places, { where: "container", link: record.key.ifName, addresses: addressesOf(record.allocation) });
}
