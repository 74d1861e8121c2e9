// host-local's reservations on disk, shared with the standard plugin: a file an address, named by the address, holding
// "<container id>\r\n<interface>" (plugins/ipam/host-local/backend/disk of containernetworking-plugins).
//
// Berth writes a reservation whole: first to .berth/<boot id>/<address>, which is then hard-linked to <address>. So no
// reader ever sees an empty one, and the side file (the same inode) tells that Berth made it, and during which boot. The
// standard plugin, which walks the directory with all below it, removes both when it releases them.
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { parseIp } from "../address/ip.ts";
import { lockFile } from "../kernel/locks.ts";
import { bootId } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";
import type { Holder } from "./provider.ts";

const SIDE = ".berth";

function errnoOf(e: unknown): string {
  return e instanceof Error && "code" in e ? String(e.code) : "";
}

function quietly<T>(f: () => T): T | undefined {
  try {
    return f();
  } catch (e) {
    if (errnoOf(e) === "ENOENT") return undefined;
    throw e;
  }
}

/** A holder as reservations write it. */
function contentOf(holder: Holder): string {
  return `${holder.containerId}\r\n${holder.ifName}`;
}

/** Who holds an address. */
export interface Reservation {
  readonly ip: string;
  /** The file's content, trimmed: container id and interface, or the id alone in the old form. */
  readonly content: string;
}

/** Container id and interface of a reservation's content, in words. */
export function describeHolder(content: string): string {
  const [id = "", ifName] = content.split("\r\n");
  return ifName === undefined ? id : `${id} (${ifName})`;
}

/** The reservations of one network; every method wants {@link lock} held. All throw `Failure` (`io`) or system errors. */
export class Reservations {
  readonly #directory: string;
  #side: string | undefined;

  /** @param dataDir the state's directory; the network's is below it */
  constructor(dataDir: string, network: string) {
    if (!/^[^/\0\n]+$/u.test(network) || network === "." || network === "..") {
      throw new Failure("request", `keep reservations of network ${JSON.stringify(network)}: that is no file name`);
    }
    this.#directory = `${dataDir}/${network}`;
  }

  /** Makes the directory and waits for the lock that the standard plugin takes too. */
  lock(): Disposable {
    try {
      try {
        return lockFile(`${this.#directory}/lock`);
      } catch {
        mkdirSync(this.#directory, { recursive: true, mode: 0o755 });
        return lockFile(`${this.#directory}/lock`);
      }
    } catch (e) {
      throw this.#io("lock", e);
    }
  }

  /** {@link lock}, unless nothing was ever reserved: then undefined. */
  lockIfPresent(): Disposable | undefined {
    if (quietly(() => statSync(this.#directory)) === undefined) return undefined;
    return this.lock();
  }

  #io(doing: string, e: unknown): Failure {
    return new Failure("io", `${doing} ${this.#directory}: ${e instanceof Error ? e.message : String(e)}`, {
      advice: "The IPAM's data directory must be writable for root (key ipam.dataDir).",
      cause: e,
    });
  }

  /** This boot's side directory; when it is new, what Berth reserved before this boot is released. */
  #sideDirectory(): string {
    if (this.#side !== undefined) return this.#side;
    const side = `${this.#directory}/${SIDE}/${bootId()}`;
    try {
      if (quietly(() => statSync(side)) === undefined) {
        mkdirSync(`${this.#directory}/${SIDE}`, { recursive: true, mode: 0o700 });
        this.#releaseFormerBoots();
        mkdirSync(side, { mode: 0o700 });
      }
    } catch (e) {
      throw this.#io("prepare", e);
    }
    this.#side = side;
    return side;
  }

  #releaseFormerBoots(): void {
    for (const boot of readdirSync(`${this.#directory}/${SIDE}`)) {
      const former = `${this.#directory}/${SIDE}/${boot}`;
      for (const ip of readdirSync(former)) {
        const [ours, now] = [statSync(`${former}/${ip}`), quietly(() => statSync(`${this.#directory}/${ip}`))];
        if (now?.ino === ours.ino && now.dev === ours.dev) unlinkSync(`${this.#directory}/${ip}`);
      }
      rmSync(former, { recursive: true, force: true });
    }
  }

  /** Reserves an address. False where somebody has it; a reservation without content (a crash) is nobody's. */
  reserve(ip: string, holder: Holder): boolean {
    const side = `${this.#sideDirectory()}/${ip}`;
    const path = `${this.#directory}/${ip}`;
    try {
      if (quietly(() => statSync(path)) !== undefined) {
        if (readFileSync(path, "utf8").trim() !== "") return false;
        unlinkSync(path);
      }
      // what the side file held belongs to a reservation that is gone: its other name is
      writeFileSync(side, contentOf(holder), { mode: 0o600 });
      linkSync(side, path);
      return true;
    } catch (e) {
      throw this.#io(`reserve ${ip} in`, e);
    }
  }

  /** Who has an address; undefined where nobody has. */
  holderOf(ip: string): string | undefined {
    const content = quietly(() => readFileSync(`${this.#directory}/${ip}`, "utf8"))?.trim();
    return content === "" ? undefined : content;
  }

  /** The addresses that are reserved, by name alone: no file is read. */
  taken(): Set<string> {
    const names = quietly(() => readdirSync(this.#directory)) ?? [];
    return new Set(names.filter((name) => parseIp(name) === name));
  }

  /** Every reservation with its holder. */
  list(): Reservation[] {
    return [...this.taken()].flatMap((ip) => {
      const content = this.holderOf(ip);
      return content === undefined ? [] : [{ ip, content }];
    });
  }

  /** Releases an address if it is still this holder's; true where it was. */
  release(ip: string, content: string): boolean {
    if (this.holderOf(ip) !== content) return false;
    try {
      unlinkSync(`${this.#directory}/${ip}`);
      rmSync(`${this.#sideDirectory()}/${ip}`, { force: true });
    } catch (e) {
      throw this.#io(`release ${ip} in`, e);
    }
    return true;
  }

  /**
   * Releases the holder's addresses: those of `hint` where the caller knows them all, else whatever the directory holds.
   * As the standard plugin does, a reservation in the old form (the container id alone) counts where there is no other.
   */
  releaseHolder(holder: Holder, hint: readonly string[]): string[] {
    const content = contentOf(holder);
    const hinted = hint.filter((ip) => this.release(ip, content));
    if (hint.length > 0 && hinted.length === hint.length) return hinted;
    const all = this.list();
    const own = all.filter((r) => r.content === content);
    const found = own.length > 0 || hinted.length > 0 ? own : all.filter((r) => r.content === holder.containerId);
    return [...hinted, ...found.filter((r) => this.release(r.ip, r.content)).map((r) => r.ip)];
  }

  /** True where the content of a reservation is this holder's. */
  isHeldBy(content: string, holder: Holder): boolean {
    return content === contentOf(holder) || content === holder.containerId;
  }

  /** The address that was handed out last from a set of ranges. */
  last(setIndex: number): string | undefined {
    const text = quietly(() => readFileSync(`${this.#directory}/last_reserved_ip.${setIndex}`, "utf8"));
    return text === undefined ? undefined : parseIp(text.trim());
  }

  /** Remembers the address that was handed out last from a set of ranges. */
  remember(setIndex: number, ip: string): void {
    const path = `${this.#directory}/last_reserved_ip.${setIndex}`;
    try {
      writeFileSync(path, ip, { mode: 0o600 });
    } catch (e) {
      throw this.#io("note the last address in", e);
    }
  }
}
