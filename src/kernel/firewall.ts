// Firewalls as the kernel has them: which chains drop what no rule of theirs accepts. Nothing here changes any.
// include/uapi/linux/netfilter/nf_tables.h, linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h
import { readFile } from "./files.ts";
import { Attributes, Writer } from "./attributes.ts";
import { SysError } from "./errno.ts";
import { AF_INET, AF_INET6 } from "./families.ts";
import { close, getSocketOption, socket } from "./libc.ts";
import type { Namespace } from "./namespaces.ts";
import { Netlink } from "./netlink.ts";

/** Where a packet to or from the namespace's own programs meets a chain. */
type Hook = "prerouting" | "input" | "output" | "postrouting";

/** A chain that drops what none of its rules accepts. */
export interface StrictChain {
  /** `nft` tables (iptables-nft makes those too), or the older `iptables` and `ip6tables`. */
  readonly tool: "nft" | "iptables" | "ip6tables";
  /** As its tool names it: family, table and chain for nft; the chain for iptables. */
  readonly name: string;
  readonly hook: Hook;
}

const hooks: readonly (Hook | undefined)[] = ["prerouting", "input", undefined, "output", "postrouting"];

const NETLINK_NETFILTER = 12;
const NFT_MSG_GETCHAIN = (10 << 8) | 4; // NFNL_SUBSYS_NFTABLES
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFGENMSG = 4;
const NF_DROP = 0;
/** NFPROTO_…: the families whose chains IP packets of the namespace itself meet. */
const nftFamilies: ReadonlyMap<number, string> = new Map([
  [1, "inet"],
  [2, "ip"],
  [10, "ip6"],
]);

/**
 * The chains of a namespace (absent: this thread's) that drop by default what comes to or leaves from the namespace's own
 * programs. Empty where the kernel has no packet filter, or does not let us look.
 */
export function strictChains(namespace?: Namespace): StrictChain[] {
  return namespace === undefined ? strictChainsHere() : namespace.run(strictChainsHere);
}

function strictChainsHere(): StrictChain[] {
  return [...nftChains(), ...legacies.flatMap(legacyChains)];
}

function nftChains(): StrictChain[] {
  const body = new Writer().u8(0).u8(0).u16(0).bytes();
  let payloads;
  try {
    using nl = new Netlink({ protocol: NETLINK_NETFILTER });
    payloads = nl.dump({ what: "list nftables chains", type: NFT_MSG_GETCHAIN, flags: 0, body });
  } catch (e) {
    if (e instanceof SysError) return []; // no nftables in this kernel
    throw e;
  }
  return payloads.map(readChain).filter((chain) => chain !== undefined);
}

/** Reads an NFT_MSG_NEWCHAIN message's payload; undefined for a chain that drops nothing by default, or elsewhere. */
export function readChain(payload: Uint8Array): StrictChain | undefined {
  const family = nftFamilies.get(payload[0] ?? 0);
  const a = new Attributes(payload, NFGENMSG);
  const hook = hooks[a.nested(NFTA_CHAIN_HOOK).u32BigEndian(NFTA_HOOK_HOOKNUM) ?? -1];
  const drops = a.u32BigEndian(NFTA_CHAIN_POLICY) === NF_DROP && a.string(NFTA_CHAIN_TYPE) === "filter";
  if (family === undefined || hook === undefined || !drops) return undefined;
  return { tool: "nft", name: `${family} ${a.string(NFTA_CHAIN_TABLE)} ${a.string(NFTA_CHAIN_NAME)}`, hook };
}

const IPT_SO_GET_INFO = 64;
const IPT_SO_GET_ENTRIES = 65;
/** XT_TABLE_MAXNAMELEN */
const NAME = 32;
/** struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size. */
const INFO = 84;
const UNDERFLOW = 56;
const SIZE = 80;
/** struct ipt_get_entries: name, size, then the entries on the next multiple of eight. */
const ENTRIES = 40;
/** A standard target's verdict comes after struct xt_entry_target's head. */
const VERDICT = 32;
const DROPPED = -NF_DROP - 1;

/** One family of the older iptables. */
interface Legacy {
  readonly tool: "iptables" | "ip6tables";
  readonly family: number;
  /** Socket option level. */
  readonly level: number;
  /** Bytes of struct ipt_ip or ip6t_ip6, with which a rule begins; nfcache follows, then the target's offset. */
  readonly match: number;
}

const legacies: readonly Legacy[] = [
  { tool: "iptables", family: AF_INET, level: 0, match: 84 },
  { tool: "ip6tables", family: AF_INET6, level: 41, match: 136 },
];

/** Its filter table's built-in chains that drop by default. A table that nobody uses is not looked at: that would make it. */
function legacyChains(legacy: Legacy): StrictChain[] {
  try {
    const names = readFile(`/proc/thread-self/net/${legacy.tool.replace("tables", "_tables_names")}`).split("\n");
    if (!names.includes("filter")) return [];
  } catch {
    return []; // this kernel has none
  }
  const fd = socket(legacy.family, 3, 255); // SOCK_RAW, IPPROTO_RAW
  try {
    const info = new Uint8Array(INFO);
    info.set(new TextEncoder().encode("filter"));
    getSocketOption(fd, legacy.level, IPT_SO_GET_INFO, info);
    const size = new DataView(info.buffer).getUint32(SIZE, true);
    const entries = new Uint8Array(ENTRIES + size);
    entries.set(info.subarray(0, NAME));
    new DataView(entries.buffer).setUint32(NAME, size, true);
    getSocketOption(fd, legacy.level, IPT_SO_GET_ENTRIES, entries);
    return (["input", "output"] as const)
      .filter((hook) => policyDrops(info, entries, hook, legacy))
      .map((hook) => ({
        tool: legacy.tool,
        name: hook.toUpperCase(),
        hook,
      }));
  } catch (e) {
    if (e instanceof SysError) return []; // changed while it was read, or not ours to read
    throw e;
  } finally {
    close(fd);
  }
}

/** A built-in chain's last rule, at its underflow offset, is its policy. */
function policyDrops(info: Uint8Array, entries: Uint8Array, hook: Hook, { match }: Legacy): boolean {
  const v = new DataView(entries.buffer);
  const at = ENTRIES + new DataView(info.buffer).getUint32(UNDERFLOW + 4 * hooks.indexOf(hook), true);
  const target = at + v.getUint16(at + match + 4, true);
  return v.getInt32(target + VERDICT, true) === DROPPED;
}
