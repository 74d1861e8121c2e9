// How a link tells whose it is without any record: by its alias.
import type { Link } from "../kernel/links.ts";
import { LINK_GROUP_BERTH } from "../kernel/protocol.ts";
import type { DeviceStep, FormerLink } from "../plan/step.ts";
import { describeKey, type Key } from "./key.ts";

/** IFALIASZ of include/uapi/linux/if.h, less the NUL. */
const MAX_ALIAS = 255;
/** " was ", and the longest name of a link. */
const MAX_WAS = 20;

/** The alias of an attachment's link: it names the attachment without any record. */
export function aliasOf(key: Key): string {
  return `berth:${describeKey(key)}`.slice(0, MAX_ALIAS);
}

/** The alias of a NIC that was moved: it tells what it was called. */
export function deviceAlias(key: Key, former: string): string {
  const was = ` was ${former}`;
  return aliasOf(key).slice(0, MAX_ALIAS - MAX_WAS) + was;
}

/** What a NIC is before it is moved. */
export function formerLink({ name, mac, mtu, up, group, alias, kind }: Link): FormerLink {
  return { name, ...(mac === undefined ? {} : { mac }), mtu, up, group, alias, physical: kind === undefined };
}

/** The step that gives back a NIC that was moved, by its marks alone: its alias tells what it was called. Undefined for any other link. */
export function markedDevice(link: Link): DeviceStep | undefined {
  const [, name] = /^berth:.* was ([^\s/:]{1,15})$/u.exec(link.alias) ?? [];
  if (name === undefined || link.group !== LINK_GROUP_BERTH) return undefined;
  const former = { ...formerLink(link), name, up: false, group: 0, alias: "" };
  return { type: "device", where: "container", name: link.name, former, alias: link.alias };
}
