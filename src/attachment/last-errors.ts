// The last errors, for whoever comes later and asks what went wrong (`berth report`): a runtime often keeps none of them.
import { appendFile, makeDirectory, readOwnFile, renameFile, statusOf } from "../kernel/files.ts";
import { isObject, parseJson } from "../ipam/json.ts";
import type { Failure } from "../report/failure.ts";
import { callId } from "../report/log.ts";

const DIRECTORY = "/run/berth";
/** The present file, and the one before it. */
const FILE = `${DIRECTORY}/errors`;
const FORMER = `${DIRECTORY}/errors.old`;
/** Bytes that the present file may have before a new one is begun. */
const ENOUGH = 64 << 10;

/** An error as it is kept. */
export interface KeptError {
  /** ISO 8601. */
  readonly time: string;
  /** As it stands in logs, and in those of a cloud. */
  readonly id: string;
  /** What was called: `CNI ADD`, `berth attach`. */
  readonly call: string;
  readonly reason: string;
  readonly message: string;
  readonly advice?: string;
}

/** Keeps an error. Never throws: where it cannot be kept, it was still told to the caller. */
export function keepError(call: string, { reason, message, advice }: Failure): void {
  const kept: KeptError = {
    time: new Date().toISOString(),
    id: callId(),
    call,
    reason,
    message,
    ...(advice === undefined ? {} : { advice }),
  };
  try {
    makeDirectory(DIRECTORY, 0o700);
    if ((statusOf(FILE, "see")?.size ?? 0) > ENOUGH) renameFile(FILE, FORMER); // two at once lose some old ones
    appendFile(FILE, `${JSON.stringify(kept)}\n`, 0o600);
  } catch {
    // a full disk, or no root
  }
}

function read(path: string): KeptError[] {
  const lines = (readOwnFile(path) ?? "").split("\n").filter((line) => line !== "");
  return lines.flatMap((line) => {
    try {
      const json = parseJson(line, "read it");
      return isObject(json) && typeof json["message"] === "string" ? [json as unknown as KeptError] : [];
    } catch {
      return []; // cut short
    }
  });
}

/** The last errors, oldest first. Throws `SysError` where they cannot be read. */
export function lastErrors(): KeptError[] {
  return [...read(FORMER), ...read(FILE)];
}
