// Device nodes of macvtaps that no record knows of: those in Berth's own directory, and those elsewhere that are marked.
import { nodeAt } from "../kernel/device-nodes.ts";
import { listDirectory } from "../kernel/files.ts";
import { tapMajor } from "../kernel/taps.ts";
import type { TapStep } from "../plan/step.ts";
import { TAPS } from "../plan/taps-directory.ts";
import { type Key, keyOfAlias, keyOfFileName } from "./key.ts";
import { aliasOf } from "./marks.ts";
import type { AttachmentRecord } from "./record.ts";

/** A node of the host's, with whose it is. */
export interface SeenNode {
  readonly step: TapStep;
  readonly key: Key | undefined;
}

function namesIn(directory: string): string[] {
  try {
    return listDirectory(directory).map((entry) => entry.name);
  } catch {
    return []; // it was never made
  }
}

/** A macvtap's node that is Berth's; undefined for anything else. */
function seenAt(path: string, major: number): SeenNode | undefined {
  const node = nodeAt({ root: "/", path });
  if (node === undefined || node === "other" || node.device.major !== major) return undefined;
  const { owner, uid, gid, mode } = node;
  const name = path.startsWith(`${TAPS}/`) ? path.slice(TAPS.length + 1) : undefined;
  const key = owner === undefined ? keyOfFileName(`${name}.json`) : keyOfAlias(owner);
  if (key === undefined && name === undefined) return undefined;
  const step = { type: "tap", where: "host", tapOf: key?.ifName ?? "?", path, uid, gid, mode } as const;
  return { step: owner === undefined ? step : { ...step, owner }, key };
}

/**
 * The nodes on the host that are Berth's: all in its own directory; in /dev and at the places that are named, those that it
 * has marked. Throws `SysError`.
 */
export function ownNodes(places: readonly string[]): SeenNode[] {
  const major = tapMajor();
  if (major === undefined) return [];
  const paths = [TAPS, "/dev"].flatMap((directory) => namesIn(directory).map((name) => `${directory}/${name}`));
  return [...new Set([...paths, ...places])].flatMap((path) => seenAt(path, major) ?? []);
}

/** Those that neither a record claims, nor an attachment that is in use without one. */
export function strayNodes(
  nodes: readonly SeenNode[],
  records: readonly AttachmentRecord[],
  living: readonly Key[],
): TapStep[] {
  const claimed = new Set(
    records.flatMap((r) => r.plan.flatMap((s) => (s.type === "tap" && s.process === undefined ? [s.path] : []))),
  );
  const used = new Set(living.map(aliasOf));
  return nodes
    .filter(({ step, key }) => !claimed.has(step.path) && (key === undefined || !used.has(aliasOf(key))))
    .map(({ step }) => step);
}
