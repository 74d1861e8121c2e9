// Which address pairs of a VM's port are Berth's own, and who needs each: a pair itself cannot be marked. It outlives the
// host's boot, as pairs do. Changed only by who holds the port's lock.
import { Errno, SysError } from "../kernel/errno.ts";
import { listDirectory, makeDirectory, removeDirectory, removeFile, kindOf, writeFile } from "../kernel/files.ts";
import type { AddressPair } from "../plan/cloud.ts";
import { Failure } from "../report/failure.ts";

const DIRECTORY = "/var/lib/berth/pairs";
const MADE = "made";

/** What is in a directory; undefined where there is none: neither a file nor a link in its place is one. */
function list(path: string): string[] | undefined {
  if (kindOf(path) !== "directory") return undefined;
  return listDirectory(path, "refuse").map((entry) => entry.name);
}

/** A text that becomes a file's name. Throws `Failure` (`decode`): a cloud's ids and addresses are of letters, digits and these signs. */
function part(text: string): string {
  if (/^[\w.:-]{1,200}$/u.test(text) && !/^\.{1,2}$/u.test(text)) return text;
  throw new Failure("decode", `keep address pairs for ${JSON.stringify(text)}: it is no id and no address`);
}

/** The ledger of one VM's port. */
export class PairLedger {
  readonly #directory: string;

  /** Throws `Failure` (`decode`) for a port whose id is none. */
  constructor(port: string) {
    this.#directory = `${DIRECTORY}/${part(port)}`;
  }

  #path({ mac, ip }: AddressPair): string {
    return `${this.#directory}/${part(`${mac}_${ip.replace("/", "-")}`)}`;
  }

  /** Somebody needs a pair. */
  use(pair: AddressPair, user: string): void {
    for (const path of [this.#directory, this.#path(pair)]) {
      if (kindOf(path) === "link") throw new SysError(`use ${path}`, Errno.ELOOP);
      makeDirectory(path, 0o700);
    }
    writeFile(`${this.#path(pair)}/${part(user)}`, "", { mode: 0o600 });
  }

  /** The pair is about to be made: it is Berth's to remove. */
  make(pair: AddressPair): void {
    writeFile(`${this.#path(pair)}/${MADE}`, "", { mode: 0o600 });
  }

  /**
   * Somebody no longer needs a pair.
   * @returns whether it is to be removed: nobody else needs it, and Berth made it. Where all of the ledger is gone, as with a
   *   disk that was not kept, whoever ends has made it
   */
  leave(pair: AddressPair, user: string): boolean {
    if (!this.exists()) return true;
    removeFile(`${this.#path(pair)}/${part(user)}`);
    const left = list(this.#path(pair)) ?? [];
    if (left.length === 0) this.forget(pair);
    return left.length === 1 && left[0] === MADE;
  }

  /** The pair is gone, or was never made: nothing is known of it any more. */
  forget(pair: AddressPair): void {
    removeDirectory(this.#path(pair));
  }

  /** Whether anything was ever written: else nothing is known of any pair. */
  exists(): boolean {
    return list(this.#directory) !== undefined;
  }

  /** All pairs that somebody needs or needed, with their users, and whether Berth made them. */
  entries(): { readonly pair: AddressPair; readonly made: boolean; readonly users: readonly string[] }[] {
    return (list(this.#directory) ?? []).toSorted().map((name) => {
      const [mac = "", ip = ""] = name.split("_");
      const inside = list(`${this.#directory}/${name}`) ?? [];
      return {
        pair: { mac, ip: ip.replace("-", "/") },
        made: inside.includes(MADE),
        users: inside.filter((u) => u !== MADE),
      };
    });
  }
}
