// Watching: attachments are repaired as soon as the kernel says that something has changed, and what keeps them from
// working is said when it begins and when it is over.
import { statusOf } from "../kernel/files.ts";
import { findLink } from "../kernel/links.ts";
import { Monitor, introduce } from "../kernel/monitor.ts";
import { findNamespace } from "../kernel/namespaces.ts";
import { Netlink } from "../kernel/netlink.ts";
import { Places } from "../plan/places.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { Announcements } from "./announcements.ts";
import { hostAccessOf } from "./host-access.ts";
import { describeKey, type Key } from "./key.ts";
import { type Attached, deadParent, strayRoutes } from "./obstacles.ts";
import { takenTaps } from "./outside-obstacles.ts";
import { ATTACHMENTS, type AttachmentRecord, isOrphan, listRecords } from "./record.ts";
import { configOf } from "./recorded-config.ts";
import { repair } from "./repair.ts";

/** Nothing heard for so long, milliseconds: everything is looked at all the same. */
const PATIENCE_MS = 60_000;
/** Attachments that come without a change on the host, and announcements that are due, are noticed within this time. */
const TICK_MS = 500;
/** The kernel does not tell when a program opens a tap device: so often it is looked for, milliseconds. */
const TAPS_MS = 5000;
/** After so many turns memory that is no longer used is given back: it takes some 5 ms. */
const TIDY_TURNS = 20;
/** An attachment that is younger than this when it is first seen has just come, milliseconds. */
const NEW_MS = 60_000;
/** Looks that fail each in another way for so long are no race any more, milliseconds. */
const RACE_MS = 5000;

/** What a watch has to say. */
export interface WatchReport {
  /** Something was mended: what did not hold. */
  mended(key: Key, sentence: string): void;
  /** Something keeps the attachment from working that cannot be mended here. */
  hindered(key: Key, sentence: string): void;
  /** What was said by {@link hindered} is over. */
  over(key: Key, sentence: string): void;
  /** Something could not be mended, and not a moment later either. Said once, until it changes. */
  failed(key: Key, failure: Failure): void;
}

/** Repairs everything now and whenever something changes, until the process ends. Throws `SysError` where it cannot listen. */
export async function watch(report: WatchReport): Promise<never> {
  using monitor = new Monitor();
  using nl = new Netlink();
  const watched = new Watched(report);
  let [lookedAt, tapsAt, turns, state] = [-Infinity, -Infinity, 0, ""];
  for (let heard = true; ; heard = monitor.wait(TICK_MS)) {
    const now = performance.now();
    const before = state;
    state = stateOfRecords();
    const everything = heard || state !== before || now - lookedAt >= PATIENCE_MS || watched.inDoubt;
    const taps = now - tapsAt >= TAPS_MS;
    if (everything) lookedAt = now;
    if (taps) tapsAt = now;
    if (everything || taps) {
      const records = listRecords(() => {}).filter((r) => r.allocation !== undefined && !isOrphan(r));
      watched.forgetAllBut(records);
      for (const record of records) {
        if (everything) listenIn(nl, record);
        if (everything) await watched.mend(record);
        if (taps) watched.lookAtTaps(record);
      }
    }
    watched.announce();
    if (++turns % TIDY_TURNS === 0) Bun.gc(true); // the runtime would do so by itself in its leisure, which it never has here
  }
}

/** Changes whenever a record is written or removed. */
function stateOfRecords(): string {
  const status = statusOf(ATTACHMENTS);
  return `${status?.modified} ${status?.inode}`;
}

function listenIn(nl: Netlink, record: AttachmentRecord): void {
  using namespace = findNamespace(record.netns);
  if (namespace !== undefined) introduce(nl, namespace);
}

/** What was said of an attachment, so that it is said once. */
interface Said {
  failure: string | undefined;
  /** How the last look failed where that was not said, and since when each one has. */
  doubt: { readonly failure: string; readonly since: number } | undefined;
  obstacles: readonly string[];
  taps: readonly string[];
}

class Watched {
  readonly #report: WatchReport;
  readonly #announcements = new Announcements();
  readonly #said = new Map<string, Said>();

  constructor(report: WatchReport) {
    this.#report = report;
  }

  #saidOf(record: AttachmentRecord): Said {
    const name = describeKey(record.key);
    const known = this.#said.get(name);
    if (known !== undefined) return known;
    const said: Said = { failure: undefined, doubt: undefined, obstacles: [], taps: [] };
    this.#said.set(name, said);
    if (Date.now() - Date.parse(record.created) < NEW_MS) this.#announcements.schedule(record);
    return said;
  }

  /** Whether a look failed and another one must tell if that is so, or only was while something changed under it. */
  get inDoubt(): boolean {
    for (const { doubt } of this.#said.values()) if (doubt !== undefined) return true;
    return false;
  }

  /** Attachments that are gone; their key may come back as another one. */
  forgetAllBut(records: readonly AttachmentRecord[]): void {
    const present = new Set(records.map((r) => describeKey(r.key)));
    for (const name of this.#said.keys()) if (!present.has(name)) this.#said.delete(name);
  }

  /** Makes an attachment hold, and says what still is in its way. */
  async mend(record: AttachmentRecord): Promise<void> {
    const said = this.#saidOf(record);
    try {
      const { found } = await repair(record, "host");
      for (const sentence of found) this.#report.mended(record.key, sentence);
      [said.failure, said.doubt] = [undefined, undefined];
      const obstacles = obstaclesOf(record);
      this.#tell(record, said.obstacles, obstacles);
      // who could not hear it while something was in the way shall hear it now
      if (found.length > 0 || said.obstacles.some((o) => !obstacles.includes(o))) this.#announcements.schedule(record);
      said.obstacles = obstacles;
    } catch (e) {
      const failure = asFailure(e, `repair ${describeKey(record.key)}`);
      const { doubt } = said;
      said.doubt = undefined;
      if (failure.reason === "missing" || said.failure === failure.message) return; // detached meanwhile, or known
      const now = performance.now();
      if (doubt?.failure !== failure.message && now - (doubt?.since ?? now) < RACE_MS) {
        said.doubt = { failure: failure.message, since: doubt?.since ?? now };
        return;
      }
      said.failure = failure.message;
      this.#report.failed(record.key, failure);
    }
  }

  /** Says which programs have begun to take an attachment's frames, and which have ceased. */
  lookAtTaps(record: AttachmentRecord): void {
    const said = this.#saidOf(record);
    const taps = withAttached(record, takenTaps);
    this.#tell(record, said.taps, taps);
    said.taps = taps;
  }

  #tell({ key }: AttachmentRecord, before: readonly string[], now: readonly string[]): void {
    for (const sentence of now) if (!before.includes(sentence)) this.#report.hindered(key, sentence);
    for (const sentence of before) if (!now.includes(sentence)) this.#report.over(key, sentence);
  }

  /** Announces what is due. */
  announce(): void {
    this.#announcements.send((record, failure) => this.#report.failed(record.key, failure));
  }
}

function obstaclesOf(record: AttachmentRecord): string[] {
  return withAttached(record, (attached) => {
    const parent = findLink(attached.places.host.netlink, record.parent);
    return [...(parent === undefined ? [] : deadParent(parent)), ...strayRoutes(attached)];
  });
}

function withAttached(record: AttachmentRecord, look: (attached: Attached) => string[]): string[] {
  const { plan, allocation } = record;
  using places = Places.find(record.netns);
  if (allocation === undefined || places.container?.inode !== record.netnsInode) return [];
  return look({
    plan,
    places,
    allocation,
    hostAccess: hostAccessOf(configOf(record)) !== undefined,
  });
}
