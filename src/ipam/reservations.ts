// host-local's reservations on disk, shared with the standard plugin: a file an address, named by the address, holding
// "<container id>\r\n<interface>" (plugins/ipam/host-local/backend/disk of containernetworking-plugins).
//
// Berth writes a reservation whole: first to .berth/<boot id>/<address>, which is then hard-linked to <address>. So no
// reader ever sees an empty one, and the side file (the same inode) tells that Berth made it, and during which boot. The
// standard plugin, which walks the directory with all below it, removes both when it releases them.
//
// An address that another machine on the LAN was seen to have is in quarantine: a reservation of nobody's, and a file
// .berth/quarantine/<address> whose time of modification is the end of it, and whose content is its length in seconds. The
// standard plugin keeps off it for good.
import { parseIp } from "../address/ip.ts";
import { Errno, SysError } from "../kernel/errno.ts";
import {
  isMissing,
  isThere,
  kindOf,
  linkFile,
  listDirectory,
  makeDirectory,
  readFileIfThere,
  removeDirectory,
  removeFile,
  setModified,
  statusOf,
  writeFile,
} from "../kernel/files.ts";
import { lockFile } from "../kernel/locks.ts";
import { bootId } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";
import type { Holder } from "./provider.ts";

const SIDE = ".berth";
const QUARANTINE = `${SIDE}/quarantine`;
/** What stands in the place of a container id. No container id holds a space. */
const IN_QUARANTINE = "in quarantine";
/** What stands in the place of a container id where a reservation is no file, as a link to another is none. */
const NO_FILE = "no file";
/** Bytes. A longer file is not read to see whether it is blank: all that is known to leave one behind leaves 0 bytes. */
const MAX_BLANK = 16;

/** The file's content; undefined where it is missing. A link, or whatever else is no file, is somebody's: who, is not known. */
function read(path: string): string | undefined {
  const kind = kindOf(path);
  if (kind === undefined) return undefined;
  return kind === "file" ? readFileIfThere(path, "refuse") : NO_FILE;
}

function isExisting(e: unknown): boolean {
  return e instanceof SysError && e.errno === Errno.EEXIST;
}

/** A text that becomes part of a path or a file's line. Throws `Failure` (`request`). */
function checkName(what: string, text: string): string {
  if (/^[^/\0\r\n]+$/u.test(text) && text.trim() !== "" && text !== "." && text !== "..") return text;
  throw new Failure("request", `keep reservations for ${what} ${JSON.stringify(text.slice(0, 80))}: that is no name`, {
    advice: "It must not be empty, . or .., nor hold a slash, a line break or NUL.",
  });
}

/** A holder as reservations write it. Throws `Failure` (`request`) for a holder that cannot be written so. */
export function contentOf(holder: Holder): string {
  const id = checkName("container id", holder.containerId).trim();
  return `${id}\r\n${checkName("interface", holder.ifName).trim()}`;
}

/** Who holds an address. */
export interface Reservation {
  readonly ip: string;
  /** The file's content, trimmed: container id and interface, or the id alone in the old form. */
  readonly content: string;
}

/** True for the content of an address in quarantine. */
export function isQuarantine(content: string): boolean {
  return content.startsWith(`${IN_QUARANTINE}\r\n`);
}

/**
 * True for the content of a reservation that a caller keeps outside of any attachment, and releases itself (Docker asks
 * for addresses before there is a container). No container id holds a colon.
 */
export function isCallers(content: string): boolean {
  return /^[a-z]+:/u.test(content);
}

/** Container id and interface of a reservation's content, in words. */
export function describeHolder(content: string): string {
  const [id = "", ifName] = content.split("\r\n");
  if (content === NO_FILE) return "something that is no file";
  if (isQuarantine(content)) return `${ifName}, which is why it is in quarantine,`;
  return ifName === undefined ? `container ${id}` : `container ${id} (${ifName})`;
}

/**
 * The reservations of one network. What changes them wants {@link lock} held. The methods throw system errors as they
 * come; the caller knows what it was about.
 */
export class Reservations {
  readonly directory: string;
  #boot: string | undefined;

  /**
   * Touches nothing yet. Throws `Failure` (`request`) for a network whose name is no file name.
   * @param dataDir the state's directory; the network's is below it
   */
  constructor(dataDir: string, network: string) {
    this.directory = `${dataDir}/${checkName("network", network)}`;
  }

  #path(name: string): string {
    return `${this.directory}/${name}`;
  }

  #side(): string {
    this.#boot ??= bootId();
    return this.#path(`${SIDE}/${this.#boot}`);
  }

  /** Makes the directory where it is missing, waits for the lock that the standard plugin takes too, and tidies up. */
  lock(): Disposable {
    const lock = this.#lockFile();
    try {
      this.#releaseFormerBoots();
      for (const ip of this.#ended()) this.#endQuarantine(ip);
    } catch (e) {
      lock[Symbol.dispose]();
      throw e;
    }
    return lock;
  }

  #lockFile(): Disposable {
    const path = this.#path("lock");
    try {
      return lockFile(path);
    } catch (e) {
      if (!(e instanceof SysError && e.errno === Errno.ENOENT)) throw e;
      makeDirectory(this.directory);
      return lockFile(path);
    }
  }

  /** {@link lock}, unless nothing was ever reserved: then undefined, and nothing is made. */
  lockIfPresent(): Disposable | undefined {
    return isThere(this.directory) ? this.lock() : undefined;
  }

  /** Makes a directory of Berth's own; where a link leads elsewhere it is refused. */
  #makeSide(path: string): void {
    this.#refuseLinks();
    makeDirectory(path, 0o700);
  }

  #refuseLinks(): void {
    for (const path of [this.#path(SIDE), this.#side(), this.#path(QUARANTINE)])
      if (kindOf(path) === "link") throw new SysError(`use ${path}`, Errno.ELOOP);
  }

  /** Side directories of other boots. While there is one of this boot there are no others: it is made after they are gone. */
  #formerBoots(): string[] {
    const side = this.#path(SIDE);
    this.#refuseLinks();
    if (isThere(this.#side()) || !isThere(side)) return [];
    const boots = listDirectory(side, "refuse").filter(
      (entry) => entry.directory && `${SIDE}/${entry.name}` !== QUARANTINE,
    );
    return boots.map((entry) => `${side}/${entry.name}`);
  }

  /**
   * Addresses that Berth reserved during the boot that a side directory is of: both names are one file. Of a former boot's
   * the containers are gone.
   */
  #reservedIn(directory: string): string[] {
    const names = listDirectory(directory, "refuse").map((entry) => entry.name);
    return names.filter((ip) => {
      const made = statusOf(`${directory}/${ip}`, "see");
      const now = statusOf(this.#path(ip), "see");
      return made !== undefined && now?.inode === made.inode && now.device === made.device;
    });
  }

  #releaseFormerBoots(): void {
    for (const former of this.#formerBoots()) {
      for (const ip of this.#reservedIn(former)) removeFile(this.#path(ip));
      removeDirectory(former);
    }
  }

  /** Addresses whose quarantine is over. */
  #ended(): string[] {
    const directory = this.#path(QUARANTINE);
    if (!isThere(directory)) return []; // the usual case, for which what lists directories need not be linked
    const names = listDirectory(directory, "refuse").map((entry) => entry.name);
    return names.filter((ip) => {
      const left = (statusOf(`${directory}/${ip}`, "see")?.modified ?? 0) - Date.now();
      if (left <= 0) return true;
      // more is left than there was: the clock was set back, and nothing says by how much
      const length = Number(read(`${directory}/${ip}`));
      return length > 0 && left > length * 1000;
    });
  }

  #endQuarantine(ip: string): void {
    if (isQuarantine(this.holderOf(ip) ?? "")) this.release(ip);
    removeFile(this.#path(`${QUARANTINE}/${ip}`));
  }

  /**
   * Takes an address from its holder and hands it out to nobody for some time.
   * @param by who has it, in words
   * @param seconds for how long
   */
  quarantine(ip: string, by: string, seconds: number): void {
    this.#makeSide(this.#path(QUARANTINE));
    const mark = this.#path(`${QUARANTINE}/${ip}`);
    writeFile(mark, `${seconds}`, { mode: 0o600 });
    setModified(mark, Date.now() + seconds * 1000);
    this.release(ip);
    this.reserve(ip, `${IN_QUARANTINE}\r\n${by}`);
  }

  /** Reserves an address. False where somebody has it; a reservation without content (a crash) is nobody's. */
  reserve(ip: string, content: string): boolean {
    const path = this.#path(ip);
    const now = read(path);
    if (now !== undefined && !isBlank(now)) return false;
    const side = `${this.#side()}/${ip}`;
    try {
      this.#writeSide(side, content);
      if (now !== undefined) removeFile(path);
      linkFile(side, path);
      return true;
    } catch (e) {
      removeFile(side);
      if (isExisting(e)) return false; // by somebody who did not take the lock
      throw e;
    }
  }

  #writeSide(side: string, content: string): void {
    const write = (): void => writeFile(side, content, { mode: 0o600, only: "new" });
    try {
      write();
    } catch (e) {
      // EEXIST: what lies here has lost its other name. It is not written to: it may be somebody's who looks at it just now
      if (isExisting(e)) removeFile(side);
      else if (isMissing(e)) this.#makeSide(this.#side());
      else throw e;
      write();
    }
  }

  /** Removes side files of this boot that have no other name: of processes that were killed before the address was theirs. */
  tidy(): void {
    const side = this.#side();
    for (const { name } of listDirectory(side)) if (!isThere(this.#path(name))) removeFile(`${side}/${name}`);
  }

  /** True where {@link reserve} would succeed under the lock. */
  isFree(ip: string): boolean {
    const holder = this.holderOf(ip);
    if (holder === undefined || (isQuarantine(holder) && this.#ended().includes(ip))) return true;
    return this.#formerBoots().some((former) => this.#reservedIn(former).includes(ip));
  }

  /** The content of an address's reservation; undefined where nobody has it. */
  holderOf(ip: string): string | undefined {
    const content = read(this.#path(ip));
    return content === undefined || isBlank(content) ? undefined : content.trim();
  }

  /** The names of all files but those that {@link lock} would release, reservations among them: no file is read. */
  names(): Set<string> {
    const names = new Set(listDirectory(this.directory).map((entry) => entry.name));
    for (const former of this.#formerBoots()) for (const ip of this.#reservedIn(former)) names.delete(ip);
    for (const ip of this.#ended()) if (isQuarantine(this.holderOf(ip) ?? "")) names.delete(ip);
    return names;
  }

  /** True for a reservation without content, as a crash leaves it. Reads no file that is too long to be one. */
  isBlank(ip: string): boolean {
    const status = statusOf(this.#path(ip), "see");
    return status?.kind === "file" && status.size <= MAX_BLANK && isBlank(read(this.#path(ip)) ?? "");
  }

  /** Every reservation with its content, empty for one without; in no order. */
  list(): Reservation[] {
    return [...this.names()].flatMap((ip) =>
      parseIp(ip) === ip ? [{ ip, content: (read(this.#path(ip)) ?? "").trim() }] : [],
    );
  }

  /** What Berth reserved during this boot, and when, milliseconds since the epoch: what other programs reserved is not told. */
  made(): (Reservation & { readonly modified: number })[] {
    const side = this.#side();
    return this.#reservedIn(side).flatMap((ip) => {
      const modified = statusOf(`${side}/${ip}`)?.modified;
      const content = this.holderOf(ip);
      return modified === undefined || content === undefined ? [] : [{ ip, content, modified }];
    });
  }

  /** Releases an address, whoever has it. */
  release(ip: string): void {
    removeFile(this.#path(ip));
    removeFile(`${this.#side()}/${ip}`);
  }

  /**
   * Releases the holder's addresses: those of `hint` where the caller knows them all, else whatever the directory holds.
   * As the standard plugin does, a reservation in the old form (the container id alone) counts where there is no other.
   */
  releaseHolder(holder: Holder, hint: readonly string[]): string[] {
    const content = contentOf(holder);
    const found: string[] = [];
    for (const ip of hint) if (this.holderOf(ip) === content) found.push(ip);
    if (hint.length === 0 || found.length < hint.length) {
      this.tidy();
      const all = this.list();
      const own = all.filter((r) => r.content === content);
      const counted = own.length > 0 ? own : all.filter((r) => r.content === holder.containerId.trim());
      found.splice(0, found.length, ...counted.map((r) => r.ip));
    }
    for (const ip of found) this.release(ip);
    return found;
  }

  /** The address that was handed out last from a set of ranges. */
  last(setIndex: number): string | undefined {
    const text = read(this.#path(`last_reserved_ip.${setIndex}`));
    return text === undefined ? undefined : parseIp(text.trim());
  }

  /** Remembers the address that was handed out last from a set of ranges. */
  remember(setIndex: number, ip: string): void {
    writeFile(this.#path(`last_reserved_ip.${setIndex}`), ip, { mode: 0o600 });
  }
}

function isBlank(content: string): boolean {
  return /^[\s\0]*$/u.test(content);
}
