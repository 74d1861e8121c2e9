// What the bench builds once and keeps: files and directories whose names hold a hash of all that they were made from.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { homedir } from "node:os";
import { lockFile } from "../../src/kernel/locks.ts";

/** Where it is kept: BERTH_VM_STATE, else /var/cache/berth-vm for root, else berth-vm in the user's cache directory. */
export const stateDirectory =
  process.env["BERTH_VM_STATE"] ??
  (process.getuid?.() === 0
    ? "/var/cache/berth-vm"
    : `${process.env["XDG_CACHE_HOME"] ?? `${homedir()}/.cache`}/berth-vm`);
/** So many versions of one thing stay, for worktrees that are used in turn, and all that a run may still be using. */
const VERSIONS = 3;
const IN_USE_MS = 4 * 3600 * 1000;

/** A key for {@link kept}: texts and files' contents, in this order. */
export function hash(...parts: readonly (string | Uint8Array)[]): string {
  const h = new Bun.CryptoHasher("sha256");
  for (const p of parts) h.update(`${p.length}:`).update(p);
  return h.digest("hex").slice(0, 16);
}

/**
 * The path of what `build` makes, made now where this key was not made before. `build` is given a path that does not exist
 * yet; what it writes there appears under the final name as a whole or not at all. Others that want the same wait.
 */
export async function kept(name: string, key: string, build: (path: string) => Promise<void> | void): Promise<string> {
  mkdirSync(stateDirectory, { recursive: true });
  const path = `${stateDirectory}/${name}.${key}`;
  using _lock = lockFile(`${stateDirectory}/${name}.lock`);
  if (!existsSync(path)) {
    const unfinished = `${stateDirectory}/${name}.new`;
    rmSync(unfinished, { recursive: true, force: true });
    await build(unfinished);
    renameSync(unfinished, path);
  }
  const now = new Date();
  utimesSync(path, now, now);
  const versions = readdirSync(stateDirectory)
    .filter((f) => new RegExp(`^${name}\\.[0-9a-f]{16}$`, "u").test(f))
    .map((f) => ({ path: `${stateDirectory}/${f}`, used: statSync(`${stateDirectory}/${f}`).mtimeMs }))
    .toSorted((a, b) => b.used - a.used);
  for (const { path: old, used } of versions.slice(VERSIONS))
    if (now.getTime() - used > IN_USE_MS) rmSync(old, { recursive: true, force: true });
  return path;
}
