// Which address pairs of a VM's port are Berth's own, and who needs each: a pair itself cannot be marked. It outlives the
// host's boot, as pairs do. Changed only by who holds the port's lock.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import type { AddressPair } from "../plan/cloud.ts";

const DIRECTORY = "/var/lib/berth/pairs";
const MADE = "made";

function list(path: string): string[] | undefined {
  try {
    return readdirSync(path);
  } catch (e) {
    if (e instanceof Error && "code" in e && e.code === "ENOENT") return undefined;
    throw e;
  }
}

/** The ledger of one VM's port. */
export class PairLedger {
  readonly #directory: string;

  constructor(port: string) {
    this.#directory = `${DIRECTORY}/${port}`;
  }

  #path({ mac, ip }: AddressPair): string {
    return `${this.#directory}/${mac}_${ip.replace("/", "-")}`;
  }

  /** Somebody needs a pair. */
  use(pair: AddressPair, user: string): void {
    mkdirSync(this.#path(pair), { recursive: true, mode: 0o700 });
    writeFileSync(`${this.#path(pair)}/${user}`, "", { mode: 0o600 });
  }

  /** The pair is about to be made: it is Berth's to remove. */
  make(pair: AddressPair): void {
    writeFileSync(`${this.#path(pair)}/${MADE}`, "", { mode: 0o600 });
  }

  /**
   * Somebody no longer needs a pair.
   * @returns whether it is to be removed: nobody else needs it, and Berth made it. Where all of the ledger is gone, as with a
   *   disk that was not kept, whoever ends has made it
   */
  leave(pair: AddressPair, user: string): boolean {
    if (!this.exists()) return true;
    rmSync(`${this.#path(pair)}/${user}`, { force: true });
    const left = list(this.#path(pair)) ?? [];
    if (left.length === 0) this.forget(pair);
    return left.length === 1 && left[0] === MADE;
  }

  /** The pair is gone, or was never made: nothing is known of it any more. */
  forget(pair: AddressPair): void {
    rmSync(this.#path(pair), { recursive: true, force: true });
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
