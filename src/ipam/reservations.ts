// host-local's reservations on disk, shared with the standard plugin: a file an address, named by the address, holding
// "<container id>\r\n<interface>" (plugins/ipam/host-local/backend/disk of containernetworking-plugins).
//
// Berth writes a reservation whole: first to .berth/<boot id>/<address>, which is then hard-linked to <address>. So no
// reader ever sees an empty one, and the side file (the same inode) tells that Berth made it, and during which boot. The
// standard plugin, which walks the directory with all below it, removes both when it releases them.
//
// An address that another machine on the LAN was seen to have is in quarantine: a reservation of nobody's, and a file
// .berth/quarantine/<address> whose time of modification is the end of it. The standard plugin keeps off it for good.
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { parseIp } from "../address/ip.ts";
import { Errno, SysError } from "../kernel/errno.ts";
import { lockFile } from "../kernel/locks.ts";
import { bootId } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";
import type { Holder } from "./provider.ts";

const SIDE = ".berth";
const QUARANTINE = `${SIDE}/quarantine`;
/** What stands in the place of a container id. No container id holds a space. */
const IN_QUARANTINE = "in quarantine";
/** Bytes. A longer file is not read to see whether it is blank: all that is known to leave one behind leaves 0 bytes. */
const MAX_BLANK = 16;

function codeOf(e: unknown): string {
  return e instanceof Error && "code" in e ? String(e.code) : "";
}

/** The file's content; undefined where it is missing. */
function read(path: string): string | undefined {
  // looking first costs 2 µs, an exception 30 µs
  if (!existsSync(path)) return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch (e) {
    if (codeOf(e) === "ENOENT") return undefined;
    throw e;
  }
}

function isMissing(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) === undefined;
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

/** Container id and interface of a reservation's content, in words. */
export function describeHolder(content: string): string {
  const [id = "", ifName] = content.split("\r\n");
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
      mkdirSync(this.directory, { recursive: true, mode: 0o755 });
      return lockFile(path);
    }
  }

  /** {@link lock}, unless nothing was ever reserved: then undefined, and nothing is made. */
  lockIfPresent(): Disposable | undefined {
    return isMissing(this.directory) ? undefined : this.lock();
  }

  /** Side directories of other boots. While there is one of this boot there are no others: it is made after they are gone. */
  #formerBoots(): string[] {
    const side = this.#path(SIDE);
    if (!isMissing(this.#side()) || isMissing(side)) return [];
    const entries = readdirSync(side, { withFileTypes: true });
    const boots = entries.filter((entry) => entry.isDirectory() && `${SIDE}/${entry.name}` !== QUARANTINE);
    return boots.map((entry) => `${side}/${entry.name}`);
  }

  /** Addresses that Berth reserved before the last boot: the containers that held them are gone. */
  #staleIn(former: string): string[] {
    return readdirSync(former).filter((ip) => {
      const made = statSync(`${former}/${ip}`, { throwIfNoEntry: false });
      const now = statSync(this.#path(ip), { throwIfNoEntry: false });
      return made !== undefined && now?.ino === made.ino && now.dev === made.dev;
    });
  }

  #releaseFormerBoots(): void {
    for (const former of this.#formerBoots()) {
      for (const ip of this.#staleIn(former)) unlinkSync(this.#path(ip));
      rmSync(former, { recursive: true, force: true });
    }
  }

  /** Addresses whose quarantine is over. */
  #ended(): string[] {
    const directory = this.#path(QUARANTINE);
    if (!existsSync(directory)) return [];
    const over = (ip: string): boolean =>
      (statSync(`${directory}/${ip}`, { throwIfNoEntry: false })?.mtimeMs ?? 0) <= Date.now();
    return readdirSync(directory).filter(over);
  }

  #endQuarantine(ip: string): void {
    if (isQuarantine(this.holderOf(ip) ?? "")) this.release(ip);
    rmSync(this.#path(`${QUARANTINE}/${ip}`), { force: true });
  }

  /**
   * Takes an address from its holder and hands it out to nobody for some time.
   * @param by who has it, in words
   * @param until milliseconds since the epoch
   */
  quarantine(ip: string, by: string, until: number): void {
    mkdirSync(this.#path(QUARANTINE), { recursive: true, mode: 0o700 });
    const mark = this.#path(`${QUARANTINE}/${ip}`);
    writeFileSync(mark, "", { mode: 0o600 });
    utimesSync(mark, until / 1000, until / 1000);
    this.release(ip);
    this.reserve(ip, `${IN_QUARANTINE}\r\n${by}`);
  }

  #makeSide(): void {
    mkdirSync(this.#path(SIDE), { recursive: true, mode: 0o700 });
    mkdirSync(this.#side(), { mode: 0o700 });
  }

  /** Reserves an address. False where somebody has it; a reservation without content (a crash) is nobody's. */
  reserve(ip: string, content: string): boolean {
    const path = this.#path(ip);
    const now = read(path);
    if (now !== undefined && !isBlank(now)) return false;
    const side = `${this.#side()}/${ip}`;
    const write = (): void => writeFileSync(side, content, { mode: 0o600, flag: "wx" });
    try {
      write();
    } catch (e) {
      // EEXIST: what lies here has lost its other name. It is not written to: it may be somebody's who looks at it just now
      if (codeOf(e) === "EEXIST") unlinkSync(side);
      else if (codeOf(e) === "ENOENT") this.#makeSide();
      else throw e;
      write();
    }
    if (now !== undefined) unlinkSync(path);
    try {
      linkSync(side, path);
      return true;
    } catch (e) {
      unlinkSync(side);
      if (codeOf(e) === "EEXIST") return false; // by somebody who did not take the lock
      throw e;
    }
  }

  /** True where {@link reserve} would succeed under the lock. */
  isFree(ip: string): boolean {
    const holder = this.holderOf(ip);
    if (holder === undefined || (isQuarantine(holder) && this.#ended().includes(ip))) return true;
    return this.#formerBoots().some((former) => this.#staleIn(former).includes(ip));
  }

  /** The content of an address's reservation; undefined where nobody has it. */
  holderOf(ip: string): string | undefined {
    const content = read(this.#path(ip));
    return content === undefined || isBlank(content) ? undefined : content.trim();
  }

  /** The names of all files but those that {@link lock} would release, reservations among them: no file is read. */
  names(): Set<string> {
    const names = new Set(isMissing(this.directory) ? [] : readdirSync(this.directory));
    for (const former of this.#formerBoots()) for (const ip of this.#staleIn(former)) names.delete(ip);
    for (const ip of this.#ended()) if (isQuarantine(this.holderOf(ip) ?? "")) names.delete(ip);
    return names;
  }

  /** True for a reservation without content, as a crash leaves it. Reads no file that is too long to be one. */
  isBlank(ip: string): boolean {
    const stat = statSync(this.#path(ip), { throwIfNoEntry: false });
    return stat !== undefined && stat.size <= MAX_BLANK && isBlank(read(this.#path(ip)) ?? "");
  }

  /** Every reservation with its content, empty for one without; in no order. */
  list(): Reservation[] {
    return [...this.names()].flatMap((ip) =>
      parseIp(ip) === ip ? [{ ip, content: (read(this.#path(ip)) ?? "").trim() }] : [],
    );
  }

  /** Releases an address, whoever has it. */
  release(ip: string): void {
    rmSync(this.#path(ip), { force: true });
    rmSync(`${this.#side()}/${ip}`, { force: true });
  }

  /**
   * Releases the holder's addresses: those of `hint` where the caller knows them all, else whatever the directory holds.
   * As the standard plugin does, a reservation in the old form (the container id alone) counts where there is no other.
   */
  releaseHolder(holder: Holder, hint: readonly string[]): string[] {
    const content = contentOf(holder);
    const found = hint.filter((ip) => this.holderOf(ip) === content);
    if (hint.length === 0 || found.length < hint.length) {
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
    writeFileSync(this.#path(`last_reserved_ip.${setIndex}`), ip, { mode: 0o600 });
  }
}

function isBlank(content: string): boolean {
  return /^[\s\0]*$/u.test(content);
}
