// A guest that comes and goes: of two hosts between which a virtual machine moves, one has its link up and a way to it.
import type { ProcessIdentity } from "../kernel/processes.ts";
import { announceAddresses } from "../plan/announce.ts";
import { Places } from "../plan/places.ts";
import { Failure } from "../report/failure.ts";
import { addressesOf } from "./allocation.ts";
import { describeKey, type Key } from "./key.ts";
import { type AttachmentRecord, lockAttachment, readRecord, writeRecord } from "./record.ts";
import { enforce } from "./repair.ts";

function withHeld(record: AttachmentRecord, held: boolean): AttachmentRecord {
  if (record.guest === undefined) {
    throw new Failure("request", `switch ${describeKey(record.key)}: it is a container's, which does not move`);
  }
  if ((record.guest.held === true) === held) return record;
  const { held: _, ...guest } = record.guest;
  return { ...record, guest: held ? { ...guest, held } : guest };
}

/**
 * The guest runs here now: its link is set up, its addresses are announced, and the host gets its way to it. Throws
 * `Failure` (`missing` where there is no such attachment, `request` where it is a container's).
 */
export async function arrive(key: Key): Promise<void> {
  await enforce(key, "host", (current) => withHeld(current, false));
  announceGuest(key);
}

/** The guest runs here no longer, or not yet: its link is set down, and the host's way to it is taken away. Throws as {@link arrive}. */
export async function leave(key: Key): Promise<void> {
  await enforce(key, "host", (current) => withHeld(current, true));
}

/** The process that an attachment is for from now on; see `GuestRecord`. Throws `Failure` (`missing`). */
export async function assign(key: Key, process: ProcessIdentity): Promise<void> {
  using _lock = await lockAttachment(key);
  const record = readRecord(key);
  if (record?.guest === undefined) throw new Failure("missing", `use ${describeKey(key)}: it is detached`);
  writeRecord({ ...record, guest: { ...record.guest, process } });
}

/** Tells the LAN once more where the guest is; nothing where it is not here. Throws `Failure`. */
export function announceGuest(key: Key): void {
  const record = readRecord(key);
  if (record?.guest === undefined || record.guest.held === true || record.guest.foreignLink === true) return;
  using places = Places.find(record.netns);
  announceAddresses(places, { where: "container", link: key.ifName, addresses: addressesOf(record.allocation) });
}
