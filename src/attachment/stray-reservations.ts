// Reservations of containers that are gone and left no record: told apart from others' by Berth's own second name of the file.
import { DATA_DIR } from "../ipam/host-local.ts";
import { contentOf, describeHolder, isCallers, isQuarantine, Reservations } from "../ipam/reservations.ts";
import { isThere, listDirectory } from "../kernel/files.ts";
import { quote } from "../plan/shell.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import type { Key } from "./key.ts";
import { listRecords } from "./record.ts";
import type { Unrecorded } from "./strays.ts";

/** A reservation that nobody needs. */
export interface StrayReservation {
  readonly dataDir: string;
  readonly network: string;
  readonly ip: string;
  /** Container id and interface as the reservation has them. */
  readonly content: string;
}

/** What a search needs to know. */
export interface Search {
  /** Where reservations are, beside the standard plugin's own place. */
  readonly dataDirs: readonly string[];
  /** Attachments that live without a record. */
  readonly unrecorded: readonly Unrecorded[];
  /** A reservation that is younger is not judged, milliseconds. */
  readonly graceMs: number;
  /** Milliseconds since the epoch. One from the future, as after a clock was set back, is young. */
  readonly now: number;
}

function holderOf(network: string, content: string): string {
  return `${network} ${content}`;
}

/**
 * Reservations that Berth made during this boot, older than the grace period, whose container id and interface name have
 * neither a record nor a living link. Those of Docker, those in quarantine and those of other programs are not among them.
 * @param failed gets what keeps a network from being judged
 */
export function findStrayReservations(search: Search, failed: (failure: Failure) => void): StrayReservation[] {
  const found: (StrayReservation & { readonly modified: number })[] = [];
  for (const dataDir of new Set([DATA_DIR, ...search.dataDirs])) {
    for (const { name: network, directory } of listDirectory(dataDir)) {
      if (!directory) continue;
      try {
        for (const r of new Reservations(dataDir, network).made()) found.push({ dataDir, network, ...r });
      } catch (e) {
        failed(asFailure(e, `look for reservations in ${dataDir}/${network}`));
      }
    }
  }
  // what was reserved by now has a record since before
  let whole = true;
  const recorded = listRecords((f) => {
    whole = false;
    failed(f);
  }).map((r) => r.key);
  if (!whole) return [];
  const needed = new Set([...recorded, ...search.unrecorded.map((u) => u.key)].map(neededBy));
  return found.filter(({ network, content, modified }) => {
    if (isQuarantine(content) || isCallers(content) || search.now - modified < search.graceMs) return false;
    return !needed.has(holderOf(network, content));
  });
}

function neededBy(key: Key): string {
  return holderOf(key.network, contentOf(key));
}

/** A stray reservation in words. */
export function describeReservation({ ip, network, content }: StrayReservation): string {
  return `reservation of ${ip} on ${network} for ${describeHolder(content)}`;
}

/** The commands that would release it. */
export function explainRelease({ dataDir, network, ip }: StrayReservation): string[] {
  const directory = quote(`${dataDir}/${network}`);
  return [`rm -f ${directory}/${ip} ${directory}/.berth/*/${ip}`];
}

/** Releases it, unless it is another's by now. Throws `Failure`, `SysError`. */
export function releaseStray({ dataDir, network, ip, content }: StrayReservation): void {
  const reservations = new Reservations(dataDir, network);
  if (!isThere(reservations.directory)) return;
  using _lock = reservations.lock();
  if (reservations.holderOf(ip) === content) reservations.release(ip);
}
