import { Failure } from "../report/failure.ts";

/** What identifies an attachment. */
export interface Key {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
}

/** A key in words, as errors and `berth ls` show it. */
export function describeKey(key: Key): string {
  return `${key.network}/${key.containerId}/${key.ifName}`;
}

/** Longest file name that Linux file systems take, bytes, less the record's ending and a temporary suffix. */
const MAX_FILE_NAME = 240;

function bad(what: string, value: string, rule: string): never {
  throw new Failure("request", `use ${JSON.stringify(value.slice(0, 80))} as ${what}: ${rule}`);
}

/**
 * Checks the parts of a key against CNI spec 1.1.0 (section 2, "Parameters") and the kernel's rule for interface names
 * (net/core/dev.c, dev_valid_name). Throws `Failure` (`request`).
 */
export function checkKey(key: Key): Key {
  if (!/^[a-zA-Z0-9][\w.-]*$/u.test(key.network)) {
    bad("a network name", key.network, "it must begin with a letter or digit and hold letters, digits, _ . - only");
  }
  if (!/^[a-zA-Z0-9][\w.-]*$/u.test(key.containerId)) {
    bad("a container id", key.containerId, "it must begin with a letter or digit and hold letters, digits, _ . - only");
  }
  if (!/^(?!\.{1,2}$)[\u0021-\u007e]{1,15}$/u.test(key.ifName) || /[/:]/u.test(key.ifName)) {
    bad("an interface name", key.ifName, "it must have 1 to 15 printable characters, no space, slash or colon");
  }
  const length = key.network.length + key.containerId.length + key.ifName.length;
  if (length > MAX_FILE_NAME) {
    bad(
      "a container id",
      key.containerId,
      `network, container id and interface name have ${length} characters together; ${MAX_FILE_NAME} are possible`,
    );
  }
  return key;
}

/** The record's file name: no part can hold a colon or a slash. */
export function keyFileName(key: Key): string {
  return `${key.network}:${key.containerId}:${key.ifName}.json`;
}

/** The key that a record's file name says; undefined where it is no record's. */
export function keyOfFileName(name: string): Key | undefined {
  const [, network, containerId, ifName] = /^([^:]+):([^:]+):([^:]+)\.json$/u.exec(name) ?? [];
  if (network === undefined || containerId === undefined || ifName === undefined) return undefined;
  return { network, containerId, ifName };
}

/** The key that a link's alias says (see `aliasOf` in marks.ts); undefined where it is no attachment's. */
export function keyOfAlias(alias: string): Key | undefined {
  const [, network, containerId, ifName] = /^berth:([^:/]+)\/([^/]+)\/([^/\s]+)(?: was [^/\s]+)?$/u.exec(alias) ?? [];
  if (network === undefined || containerId === undefined || ifName === undefined) return undefined;
  return { network, containerId, ifName };
}
