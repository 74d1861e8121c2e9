// Detaching many at once: the kernel waits some 15 ms for every link that is deleted, unless it is asked for many together.
import { deleteLink, findLink } from "../kernel/links.ts";
import { Netlink } from "../kernel/netlink.ts";
import { isOwn } from "../plan/link.ts";
import { Places } from "../plan/places.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { detachRecorded } from "./collect.ts";
import { describeKey } from "./key.ts";
import type { AttachmentRecord } from "./record.ts";

/** So many namespaces are open at a time: two descriptors each, of the 1024 that a process commonly may have. */
const TOGETHER = 400;

/** Deletes the attachments' own links, those that are there. What is left, or refused, is the ordinary way's. */
function deleteLinks(records: readonly AttachmentRecord[]): void {
  using stack = new DisposableStack();
  const requests: { nl: Netlink; request: ReturnType<typeof deleteLink> }[] = [];
  for (const record of records) {
    const step = record.plan.find((s) => s.type === "link");
    if (step?.type !== "link" || step.where !== "container") continue;
    const places = stack.use(Places.find(record.netns));
    if (places.container?.inode !== record.netnsInode) continue;
    const nl = places.container.netlink;
    const link = findLink(nl, step.name);
    if (link !== undefined && isOwn(link, step)) requests.push({ nl, request: deleteLink(link.index, step.name) });
  }
  Netlink.together(requests);
}

/**
 * Detaches by the records. Everything is tried whatever fails.
 * @param done is called for each when it is detached, or with what came of it instead
 */
export async function detachMany(
  records: readonly AttachmentRecord[],
  done: (record: AttachmentRecord, failure: Failure | undefined) => void,
): Promise<void> {
  for (let at = 0; at < records.length; at += TOGETHER) {
    const some = records.slice(at, at + TOGETHER);
    if (some.length > 1) deleteLinks(some);
    for (const record of some) {
      try {
        await detachRecorded(record);
        done(record, undefined);
      } catch (e) {
        done(record, asFailure(e, `detach ${describeKey(record.key)}`));
      }
    }
  }
}
