// A token on disk, so that not every attachment logs in: it is as good as a password until it expires.
import { isObject, stringsOf } from "../ipam/json.ts";
import { makeDirectory, readSecretFile, removeDirectory, removeFile, renameFile, writeFile } from "../kernel/files.ts";
import { tryLockFile } from "../kernel/locks.ts";
import type { Credentials } from "./credentials.ts";

/** What Keystone granted. */
export interface Grant {
  readonly token: string;
  /** Milliseconds since 1970. */
  readonly expires: number;
  readonly projectId: string;
  /** The network service, with its version: `https://cloud:9696/v2.0`. */
  readonly endpoint: string;
  /** Aliases of the network service's extensions. */
  readonly extensions: readonly string[];
}

const DIRECTORY = "/run/berth/tokens";
/** A token that expires within this time, milliseconds, is not used any more: an ADD must get through with it. */
const MARGIN_MS = 120_000;
/** How long a process waits for another one that logs in, milliseconds: then it logs in itself. */
const WAIT_MS = 15_000;
/** How often it looks, milliseconds. */
const POLL_MS = 10;

/** Whatever is there; what cannot be removed is not read either, or refused again. */
function remove(path: string): void {
  try {
    removeFile(path);
  } catch {
    removeAll(path);
  }
}

function removeAll(path: string): void {
  try {
    removeDirectory(path);
  } catch {
    // nothing depends on it
  }
}

/** The token of one user on one cloud. What cannot be read or written is as good as absent: then Keystone is asked. */
export class TokenCache {
  /** Of the token's file. */
  readonly path: string;

  constructor(credentials: Credentials) {
    // whoever cannot prove anew what the token was granted for does not find it; the name tells nothing
    const { source: _, ...identity } = credentials;
    this.path = `${DIRECTORY}/${new Bun.CryptoHasher("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, 32)}`;
  }

  /** The token; undefined where there is none that is valid for a while, or another user could have put it there. */
  read(): Grant | undefined {
    try {
      const text = readSecretFile(this.path);
      if (text === undefined) return undefined;
      const json: unknown = JSON.parse(text);
      if (!isObject(json)) return undefined;
      const { token, expires, projectId, endpoint } = json;
      if (typeof token !== "string" || typeof expires !== "number" || expires - Date.now() < MARGIN_MS)
        return undefined;
      if (typeof projectId !== "string" || typeof endpoint !== "string") return undefined;
      return { token, expires, projectId, endpoint, extensions: stringsOf(json["extensions"]) };
    } catch {
      return undefined;
    }
  }

  /** Waits for whoever logs in; undefined where that takes too long, or there can be no lock. */
  async lock(): Promise<Disposable | undefined> {
    for (const end = performance.now() + WAIT_MS; performance.now() < end; await Bun.sleep(POLL_MS)) {
      try {
        makeDirectory(DIRECTORY, 0o700);
        const lock = tryLockFile(`${this.path}.lock`);
        if (lock !== undefined) return lock;
      } catch {
        return undefined;
      }
    }
    return undefined;
  }

  /** Keeps a token, readable for this user only. */
  write(grant: Grant): void {
    const fresh = `${this.path}.${process.pid}.new`;
    try {
      makeDirectory(DIRECTORY, 0o700);
      writeFile(fresh, JSON.stringify(grant), { mode: 0o600, only: "new" });
      renameFile(fresh, this.path);
    } catch {
      remove(fresh);
    }
  }

  /** Removes it: it was refused. */
  forget(): void {
    remove(this.path);
  }
}
