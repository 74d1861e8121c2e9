import type { Cidr } from "../address/cidr.ts";
import type { Family } from "../address/ip.ts";
import type { Dad } from "../kernel/addresses.ts";
import type { SubInterface } from "../kernel/link-kinds.ts";
import type { Route } from "../kernel/routes.ts";
import type { Admission } from "./cloud.ts";

/** Which namespace a step acts in: the one Berth was called in, or the container's. */
export type Where = "host" | "container";

/** Makes the attachment's sub-interface, in its namespace, under its final name at once. */
export interface LinkStep {
  readonly type: "link";
  readonly where: Where;
  readonly name: string;
  readonly parent: { readonly name: string; readonly where: Where };
  readonly detail: SubInterface;
  /** Bytes; absent: the parent's. */
  readonly mtu?: number;
  /** Absent where the kind takes the parent's (ipvlan, vlan, passthru). */
  readonly mac?: string;
  /** The `ifalias`, where it is not left to the step that sets the link up. */
  readonly alias?: string;
  /** The `ifalias` that it has once it is up: by it the link is Berth's own whatever MAC somebody gave it. */
  readonly owner?: string;
}

/** Moves a NIC of the host into the container's namespace, under the attachment's name. */
export interface DeviceStep {
  readonly type: "device";
  readonly where: "container";
  readonly name: string;
  /** What it is on the host, and is again afterwards. */
  readonly former: FormerLink;
  /** The `ifalias` that marks it: whose it is, and what it was called. */
  readonly alias: string;
  /** Bytes; absent: as it is. */
  readonly mtu?: number;
  /** Absent: as it is. */
  readonly mac?: string;
}

/** A link before it was changed. */
export interface FormerLink {
  readonly name: string;
  readonly mac?: string;
  /** Bytes. */
  readonly mtu: number;
  readonly up: boolean;
  readonly group: number;
  readonly alias: string;
  /** A device that the kernel brings back to the host where its namespace ends; a virtual one ends with it. */
  readonly physical: boolean;
}

/** Makes the access link where it is missing; it is shared by all attachments of its parent and goes with the last. */
export interface AccessLinkStep {
  readonly type: "access-link";
  readonly where: "host";
  readonly name: string;
  readonly parent: { readonly name: string; readonly where: "host" };
  readonly detail: SubInterface;
  readonly mac?: string;
  /** The host's own, where the kernel passes a container's packets to a link that has their address only (ipvlan in layer 3). */
  readonly addresses?: readonly Cidr[];
}

/** Sets a sysctl of a link that Berth made; it goes with the link. */
export interface SysctlStep {
  readonly type: "sysctl";
  readonly where: Where;
  /** With slashes, as `net/ipv4/conf/eth0/arp_notify`. */
  readonly key: string;
  readonly value: string;
  /** True where a kernel that was built or booted without it does without. */
  readonly ifThere?: true;
}

/** Adds an address to a link. */
export interface AddressStep {
  readonly type: "address";
  readonly where: Where;
  readonly link: string;
  readonly address: Cidr;
  readonly dad?: Dad;
  /** Of the prefix route that the kernel makes with it; absent: the kernel's (0 for IPv4, 256 for IPv6). */
  readonly metric?: number;
}

/** Sets a link up. One that is Berth's own gets its alias by the same message. */
export interface UpStep {
  readonly type: "up";
  readonly where: Where;
  readonly link: string;
  /** The `ifalias` of Berth's own link; absent: the link is the user's. */
  readonly alias?: string;
  /** Its frames are a virtual machine's: the host answers no ARP there, and lets in all multicast, whose groups the guest joins. */
  readonly guest?: true;
}

/** Keeps a link of Berth's own down: a virtual machine is expected there, or has left. */
export interface DownStep {
  readonly type: "down";
  readonly where: Where;
  readonly link: string;
}

/** Makes a node of a macvtap's character device, by which a virtual machine's frames come and go. */
export interface TapStep {
  readonly type: "tap";
  /** Where the node is: it outlives the link's namespace where it is the host's. */
  readonly where: Where;
  /** The macvtap, in the attachment's namespace. */
  readonly tapOf: string;
  /** The attachment, as its link's alias says it: noted on the node. Absent in records of an earlier version. */
  readonly owner?: string;
  /** Undone only where the node has that note: nothing else tells whose it is. */
  readonly ifMarked?: true;
  /** Absolute. */
  readonly path: string;
  /** A process in whose root directory the path is, and whose control group shall be permitted to open it; absent: the host's. */
  readonly process?: number;
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
}

/** Waits until duplicate address detection of a link's addresses has ended. */
export interface SettleStep {
  readonly type: "settle";
  readonly where: Where;
  readonly link: string;
  readonly timeoutMs: number;
}

/** Asks a link's LAN whether another machine has addresses that are not used yet. */
export interface ProbeStep {
  readonly type: "probe";
  readonly where: Where;
  readonly link: string;
  /** Without prefix length. */
  readonly addresses: readonly string[];
  /** How many times each. */
  readonly probes: number;
  /** How long an answer to each probe is waited for, milliseconds. */
  readonly waitMs: number;
}

/** Tells a link's LAN that addresses are here. */
export interface AnnounceStep {
  readonly type: "announce";
  readonly where: Where;
  readonly link: string;
  /** Without prefix length. */
  readonly addresses: readonly string[];
}

/** Waits until the gateways of a link's addresses answer them: what a cloud was told to let pass, it lets pass later. */
export interface ReachStep {
  readonly type: "reach";
  readonly where: "container";
  readonly link: string;
  readonly gateways: readonly { readonly from: string; readonly gateway: string }[];
  readonly timeoutMs: number;
  /** Whether the plan fails where one does not answer in time; else that is remarked. */
  readonly required: boolean;
}

/** Adds a route through a link. */
export interface RouteStep {
  readonly type: "route";
  readonly where: Where;
  readonly link: string;
  readonly route: Route;
}

/** Adds a rule: packets from an address, or to some, look their route up in a table before the main one. */
export interface RuleStep {
  readonly type: "rule";
  readonly where: Where;
  /** The address, without prefix length; absent: any. */
  readonly from?: string;
  /** Absent: anywhere. */
  readonly to?: Cidr;
  readonly table: number;
  readonly priority: number;
}

/** Makes a table be looked up for all packets; it is shared by all attachments that have routes there. */
export interface TableRuleStep {
  readonly type: "table-rule";
  readonly where: "host";
  readonly family: Family;
  readonly table: number;
  readonly priority: number;
}

/** Makes a permanent neighbour entry on a link. */
export interface NeighbourStep {
  readonly type: "neighbour";
  readonly where: Where;
  readonly link: string;
  readonly ip: string;
  readonly mac: string;
}

/** Has the port of the virtual machine that Berth runs in let an attachment's frames pass: in the cloud, not in the kernel. */
export interface AddressPairsStep extends Admission {
  readonly type: "address-pairs";
  readonly where: "cloud";
}

/** One small change: plain data, so that it can be written to the record and read back. */
export type Step =
  | LinkStep
  | DeviceStep
  | AccessLinkStep
  | SysctlStep
  | AddressStep
  | UpStep
  | DownStep
  | TapStep
  | SettleStep
  | ProbeStep
  | AnnounceStep
  | ReachStep
  | RouteStep
  | RuleStep
  | TableRuleStep
  | NeighbourStep
  | AddressPairsStep;
