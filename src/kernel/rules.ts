// Policy routing rules over rtnetlink: RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE (include/uapi/linux/fib_rules.h).
import type { Cidr } from "../address/cidr.ts";
import { type Family, ipToBytes } from "../address/ip.ts";
import { Attributes, Writer } from "./attributes.ts";
import { addressFamily, familyOf, readIp } from "./families.ts";
import { type Netlink, NLM_F_CREATE, NLM_F_EXCL, type Request } from "./netlink.ts";
import { RTPROT_BERTH } from "./protocol.ts";

const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const FRA_DST = 1;
const FRA_SRC = 2;
const FRA_PRIORITY = 6;
const FRA_TABLE = 15;
const FRA_PROTOCOL = 21;
const FR_ACT_TO_TBL = 1;
const FIB_RULE_HDR = 12;

/** A rule that looks a table up for some sources or destinations. */
export interface Rule {
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly from?: Cidr;
  readonly to?: Cidr;
}

/** A rule as the kernel has it. */
export interface InstalledRule extends Rule {
  /** Who made it: 2 the kernel, 98 Berth. */
  readonly protocol: number;
}

function side(word: string, cidr: Cidr | undefined): string {
  return cidr === undefined ? "" : ` ${word} ${cidr.ip}/${cidr.prefix}`;
}

function describe(rule: Rule): string {
  return `priority ${rule.priority}${side("from", rule.from)}${side("to", rule.to)} table ${rule.table}`;
}

function body(rule: Rule): Uint8Array {
  const w = new Writer()
    .u8(addressFamily(rule.family))
    .u8(rule.to?.prefix ?? 0)
    .u8(rule.from?.prefix ?? 0)
    .u8(0)
    .u8(rule.table < 256 ? rule.table : 0)
    .u8(0)
    .u8(0)
    .u8(FR_ACT_TO_TBL)
    .u32(0);
  if (rule.to !== undefined) w.attribute(FRA_DST, ipToBytes(rule.to.ip));
  if (rule.from !== undefined) w.attribute(FRA_SRC, ipToBytes(rule.from.ip));
  w.attributeU32(FRA_PRIORITY, rule.priority).attributeU32(FRA_TABLE, rule.table);
  return w.attributeU8(FRA_PROTOCOL, RTPROT_BERTH).bytes();
}

/** Adds a rule with Berth's protocol number; EEXIST where there is the same one. */
export function newRule(rule: Rule): Request {
  return {
    what: `add rule ${describe(rule)}`,
    type: RTM_NEWRULE,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: body(rule),
  };
}

/** Deletes a rule if it carries Berth's protocol number; ENOENT where there is no such rule of Berth's. */
export function deleteRule(rule: Rule): Request {
  return { what: `delete rule ${describe(rule)}`, type: RTM_DELRULE, flags: 0, body: body(rule) };
}

/** The rules of the socket's namespace that look a table up. Throws `SysError`. */
export function listRules(nl: Netlink, family: Family): InstalledRule[] {
  const request = new Writer().u8(addressFamily(family)).u8(0).u8(0).u8(0).u8(0).u8(0).u8(0).u8(0).u32(0).bytes();
  return nl
    .dump({ what: "list rules", type: RTM_GETRULE, flags: 0, body: request })
    .map(parseRule)
    .filter((r) => r !== undefined);
}

/** Reads an RTM_NEWRULE message's payload; undefined for other families and for rules that look no table up. */
export function parseRule(payload: Uint8Array): InstalledRule | undefined {
  const family = familyOf(payload[0] ?? 0);
  if (family === undefined || payload.length < FIB_RULE_HDR || payload[7] !== FR_ACT_TO_TBL) return undefined;
  const a = new Attributes(payload, FIB_RULE_HDR);
  const [to, from] = [readIp(a.bytes(FRA_DST)), readIp(a.bytes(FRA_SRC))];
  return {
    family,
    priority: a.u32(FRA_PRIORITY) ?? 0,
    table: a.u32(FRA_TABLE) ?? payload[4] ?? 0,
    protocol: a.u8(FRA_PROTOCOL) ?? 0,
    ...(to === undefined ? {} : { to: { ip: to, prefix: payload[1] ?? 0 } }),
    ...(from === undefined ? {} : { from: { ip: from, prefix: payload[2] ?? 0 } }),
  };
}
