// Where the bench keeps what it builds.
import { homedir } from "node:os";
import { Store } from "../../scripts/kept.ts";

/** BERTH_VM_STATE, else /var/cache/berth-vm for root, else berth-vm in the user's cache directory; for worktrees that are used in turn. */
export const store = new Store(
  process.env["BERTH_VM_STATE"] ??
    (process.getuid?.() === 0
      ? "/var/cache/berth-vm"
      : `${process.env["XDG_CACHE_HOME"] ?? `${homedir()}/.cache`}/berth-vm`),
  3,
  2 * 3600 * 1000,
);
