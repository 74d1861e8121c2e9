// Handing over: a link that another program (Docker) moves into its container's namespace, renames and gives its
// addresses. Until it has done so the link is on the host; from then on the attachment is as any other.
import { listAddresses } from "../kernel/addresses.ts";
import { findLink, listLinks } from "../kernel/links.ts";
import { formatCidr, parseCidr } from "../address/cidr.ts";
import type { Plan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import type { LinkStep } from "../plan/step.ts";
import { aliasOf } from "./marks.ts";
import type { Key } from "./key.ts";
import { type AttachmentRecord, removeRecord, writeRecord } from "./record.ts";

/** What of a plan can be done before the container's namespace exists: the host's part, and the link on the host. */
export function planOnHost(plan: Plan, key: Key): Plan {
  return plan.flatMap((step): Plan => {
    if (step.type === "link") return [{ ...step, where: "host", name: key.ifName, alias: aliasOf(key) }];
    return step.where === "container" ? [] : [step];
  });
}

function linkOf(record: AttachmentRecord): LinkStep | undefined {
  return record.plan.find((s) => s.type === "link");
}

/**
 * Whether the other program is done: the link has left the host, is up in the namespace under another name, and has its
 * addresses, which are checked. Then the record is the attachment's in that namespace, under the key that it has there.
 * @returns the new record, in whose plan what is to be done in the namespace is missing yet (see repair.ts); undefined
 * where the other program is not done. Throws `SysError`, `Failure` (`io`).
 */
export function takeOver(record: AttachmentRecord, netns: string): AttachmentRecord | undefined {
  const step = linkOf(record);
  if (step === undefined) return undefined;
  using places = Places.find(netns);
  if (places.container === undefined || findLink(places.host.netlink, step.name) !== undefined) return undefined;
  const nl = places.container.netlink;
  const link = listLinks(nl).find((l) => l.alias === step.alias);
  if (link === undefined || !link.up || link.name === step.name) return undefined;
  const settled = listAddresses(nl, link.index).filter((a) => !a.tentative);
  const addresses = new Set(settled.map((a) => formatCidr(a.cidr)));
  if (!(record.allocation?.ips ?? []).every(({ address }) => addresses.has(canonical(address)))) return undefined;
  const { inTransit: _, ...rest } = record;
  const { alias: __, ...made } = step;
  const taken: AttachmentRecord = {
    ...rest,
    key: { ...record.key, ifName: link.name },
    holder: record.key,
    netns,
    netnsInode: places.container.inode ?? 0,
    plan: record.plan.map((s) => (s.type === "link" ? { ...made, where: "container", name: link.name } : s)),
  };
  writeRecord(taken);
  removeRecord(record.key);
  return taken;
}

function canonical(address: string): string {
  const cidr = parseCidr(address);
  return cidr === undefined ? address : formatCidr(cidr);
}

/**
 * The other program gave up on its way, or is not done: where the link is in the namespace already, detaching will find it
 * there too. Throws `SysError`, `Failure` (`io`).
 */
export function expectThere(record: AttachmentRecord, netns: string): void {
  const step = linkOf(record);
  using places = Places.find(netns);
  const nl = places.container?.netlink;
  const link = nl === undefined ? undefined : listLinks(nl).find((l) => l.alias === step?.alias);
  if (step === undefined || link === undefined) return;
  const { alias: _, ...made } = step;
  writeRecord({
    ...record,
    netns,
    netnsInode: places.container?.inode ?? 0,
    plan: [...record.plan, { ...made, where: "container", name: link.name }],
  });
}

/** The other program takes the link back to the host, under its former name: detaching will find it in either place. */
export function expectBack(record: AttachmentRecord, name: string): void {
  const step = linkOf(record);
  const onHost: Plan = step === undefined ? [] : [{ ...step, where: "host", name }];
  writeRecord({ ...record, inTransit: true, plan: [...record.plan, ...onHost] });
}
