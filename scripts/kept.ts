// What takes long to make is made once and kept: files and directories whose names hold a hash of all that they were made from.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { lockFile } from "../src/kernel/locks.ts";

/** A key for {@link Store.get}: texts and files' contents, in this order. */
export function hash(...parts: readonly (string | Uint8Array)[]): string {
  const h = new Bun.CryptoHasher("sha256");
  for (const p of parts) h.update(`${p.length}:`).update(p);
  return h.digest("hex").slice(0, 16);
}

/** A directory of such things. */
export class Store {
  readonly directory: string;
  readonly #versions: number;
  readonly #inUseMs: number;

  /**
   * @param versions so many versions of one thing stay
   * @param inUseMs and so long after it was last asked for does each, as whoever asked may be using it still; milliseconds
   */
  constructor(directory: string, versions: number, inUseMs = 0) {
    this.directory = directory;
    this.#versions = versions;
    this.#inUseMs = inUseMs;
  }

  /**
   * The path of what `build` makes, made now where this key was not made before. `build` is given a path that does not exist
   * yet; what it writes there appears under the final name as a whole or not at all. Others that want the same wait.
   */
  async get(name: string, key: string, build: (path: string) => Promise<void> | void): Promise<string> {
    mkdirSync(this.directory, { recursive: true });
    const path = `${this.directory}/${name}.${key}`;
    using _lock = lockFile(`${this.directory}/${name}.lock`);
    if (!existsSync(path)) {
      const unfinished = `${this.directory}/${name}.new`;
      rmSync(unfinished, { recursive: true, force: true });
      await build(unfinished);
      renameSync(unfinished, path);
    }
    const now = new Date();
    utimesSync(path, now, now);
    const versions = readdirSync(this.directory)
      .filter((f) => new RegExp(`^${name}\\.[0-9a-f]{16}$`, "u").test(f))
      .map((f) => ({ path: `${this.directory}/${f}`, used: statSync(`${this.directory}/${f}`).mtimeMs }))
      .toSorted((a, b) => b.used - a.used);
    for (const { path: old, used } of versions.slice(this.#versions))
      if (now.getTime() - used >= this.#inUseMs) rmSync(old, { recursive: true, force: true });
    return path;
  }
}
