// What must be done so that a host has what a site file wants.
import { withoutPrefix } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { keyFileName } from "../attachment/key.ts";
import { type AttachmentRecord, isOrphan } from "../attachment/record.ts";
import { Failure } from "../report/failure.ts";
import type { Wanted } from "./site-file.ts";

/** One thing to do, or to leave. */
export type Change =
  | { readonly todo: "keep"; readonly wanted: Wanted; readonly record: AttachmentRecord }
  | { readonly todo: "attach"; readonly wanted: Wanted }
  /** It is there, but not as it is wanted: it is detached first. */
  | { readonly todo: "replace"; readonly wanted: Wanted; readonly record: AttachmentRecord; readonly why: string }
  /** The file had it once and has it no more. */
  | { readonly todo: "detach"; readonly record: AttachmentRecord; readonly why: string };

/** Why a recorded attachment is not the wanted one; undefined where it is. */
function deviation(record: AttachmentRecord, wanted: Wanted): string | undefined {
  if (isOrphan(record)) return "its namespace is gone";
  if (record.allocation === undefined) return "it was never finished";
  if (record.netns !== wanted.netns) return `it is in ${record.netns}, and shall be in ${wanted.netns}`;
  if (record.config !== wanted.text || record.kind !== wanted.kind) return "its network is configured otherwise";
  const has = record.allocation.ips.map((lease) => withoutPrefix(lease.address));
  const lacking = wanted.ips.map((ip) => parseIp(withoutPrefix(ip)) ?? ip).filter((ip) => !has.includes(ip));
  if (lacking.length > 0) return `it has ${has.join(", ") || "no address"}, and shall have ${lacking.join(", ")}`;
  const link = record.plan.find((step) => step.type === "link");
  const mac = link?.type === "link" ? link.mac : undefined;
  if (wanted.mac !== undefined && mac !== wanted.mac) return `its MAC is ${mac ?? "?"}, and shall be ${wanted.mac}`;
  return undefined;
}

/**
 * The difference between a site and the host's records. What was attached by other means than this file is not touched:
 * where the file wants the same key otherwise, that is a failure.
 * @param site the file's path, under which records remember it
 */
export function differenceOf(
  site: string,
  wanted: readonly Wanted[],
  records: readonly AttachmentRecord[],
): { changes: Change[]; failures: Failure[] } {
  const byKey = new Map(records.map((r) => [keyFileName(r.key), r]));
  const failures: Failure[] = [];
  const changes: Change[] = [];
  const named = new Set<string>();
  for (const w of wanted) {
    const id = keyFileName(w.key);
    named.add(id);
    const record = byKey.get(id);
    const why = record === undefined ? undefined : deviation(record, w);
    if (record === undefined) changes.push({ todo: "attach", wanted: w });
    else if (why === undefined) changes.push({ todo: "keep", wanted: w, record });
    else if (record.site === site) changes.push({ todo: "replace", wanted: w, record, why });
    else {
      failures.push(
        new Failure("exists", `attach ${id.replace(/\.json$/u, "").replaceAll(":", "/")}: it is there, but ${why}`, {
          advice: "It was not attached by this file: detach it by hand, or name another interface.",
        }),
      );
    }
  }
  for (const record of records.filter((r) => r.site === site && !named.has(keyFileName(r.key)))) {
    changes.push({ todo: "detach", record, why: "the file has it no more" });
  }
  return { changes: changes.toSorted((a, b) => turnOf(a) - turnOf(b)), failures };
}

/** What gives addresses back comes first, then what asks for certain ones: nobody shall have got them before. */
function turnOf(change: Change): number {
  if (change.todo === "detach") return 0;
  return change.wanted.ips.length > 0 ? 1 : 2;
}
