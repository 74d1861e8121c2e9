// An ipvlan's mode belongs to its parent: a second mode switches all ipvlan links of that parent, without a word, and
// the former ones no longer talk as they did. So it is refused.
import type { IpvlanMode } from "../kernel/link-kinds.ts";
import { type Link, listLinksOfKind } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import type { Where } from "../plan/step.ts";
import { Failure } from "../report/failure.ts";
import { describeKey, type Key } from "./key.ts";
import { type AttachmentRecord, isOrphan, listRecords } from "./record.ts";

/** Whose ipvlan it is, and the mode that it has. */
interface User {
  readonly who: string;
  readonly mode: string;
}

/** The mode that an attachment has, or is about to have: a record without a plan is of one that is being made. */
function modeOf({ plan, config }: AttachmentRecord): string {
  const step = plan.find((s) => s.type === "link");
  if (step?.detail.kind === "ipvlan") return step.detail.mode;
  const { mode } = JSON.parse(config) as { mode?: string };
  return mode ?? "l2";
}

/** An attachment that has the parent in another mode. As all that are there agree, the first that is alive tells. */
function otherAttachment(parent: string, mode: IpvlanMode, own: Key): User | undefined {
  const name = describeKey(own);
  const first = listRecords(() => {}).find(
    (r) => r.kind === "ipvlan" && r.parent === parent && describeKey(r.key) !== name && !isOrphan(r),
  );
  if (first === undefined || modeOf(first) === mode) return undefined;
  return { who: `the attachment ${describeKey(first.key)}`, mode: modeOf(first) };
}

/** A link in the parent's own namespace, as one that an administrator made. */
function otherLink(nl: Netlink, parent: Link, mode: IpvlanMode): User | undefined {
  for (const { name, parentIndex, parentElsewhere, detail } of listLinksOfKind(nl, "ipvlan")) {
    if (parentIndex !== parent.index || parentElsewhere || detail?.kind !== "ipvlan" || detail.mode === mode) continue;
    return { who: `the link ${name}`, mode: detail.mode };
  }
  return undefined;
}

/**
 * Throws `Failure` (`config`) where the parent's ipvlan links have another mode than a new one would, naming who uses it.
 * @param nl a socket in the parent's namespace
 */
export function requireMode(nl: Netlink, parent: Link, where: Where, mode: IpvlanMode, own: Key): void {
  const user = (where === "host" ? otherAttachment(parent.name, mode, own) : undefined) ?? otherLink(nl, parent, mode);
  if (user === undefined) return;
  throw new Failure(
    "config",
    `make ipvlan ${own.ifName} in mode ${mode} on ${parent.name}: ${user.who} uses it in mode ${user.mode}, and all ipvlan links of a parent have one mode`,
    {
      advice: `Set "mode" to "${user.mode}", use another parent (as a VLAN of ${parent.name}), or detach what is there first: the kernel would switch it to ${mode} too.`,
    },
  );
}
