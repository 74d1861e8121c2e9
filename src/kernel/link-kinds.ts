// What each kind of link carries in IFLA_INFO_DATA (include/uapi/linux/if_link.h).
import { macFromBytes, macToBytes } from "../address/mac.ts";
import { type Attributes, listAttributes, type Writer } from "./attributes.ts";

const IFLA_MACVLAN_MODE = 1;
const IFLA_MACVLAN_MACADDR_MODE = 3;
const IFLA_MACVLAN_MACADDR = 4;
const IFLA_MACVLAN_MACADDR_DATA = 5;
const IFLA_MACVLAN_BC_QUEUE_LEN = 7;
const MACVLAN_MACADDR_SET = 3;
const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 } as const;

const IFLA_IPVLAN_MODE = 1;
const IFLA_IPVLAN_FLAGS = 2;
const ipvlanModes = { l2: 0, l3: 1, l3s: 2 } as const;
const ipvlanIsolations = { bridge: 0, private: 1, vepa: 2 } as const;

const IFLA_VLAN_ID = 1;
const IFLA_VLAN_PROTOCOL = 5;
const vlanProtocols = { "802.1q": 0x8100, "802.1ad": 0x88a8 } as const;

/** macvlan(4)'s forwarding modes. */
export type MacvlanMode = keyof typeof macvlanModes;
/** ipvlan's modes; they belong to the parent: the last one set holds for all of its ipvlan links. */
export type IpvlanMode = keyof typeof ipvlanModes;
/** Who an ipvlan link may talk to on its own parent. */
export type IpvlanIsolation = keyof typeof ipvlanIsolations;
/** The tag's Ethernet type: 802.1Q (0x8100) or 802.1ad (0x88a8). */
type VlanProtocol = keyof typeof vlanProtocols;

/** A macvlan, or a macvtap: a macvlan with a character device. */
interface Macvlan {
  readonly kind: "macvlan" | "macvtap";
  readonly mode: MacvlanMode;
  /** Mode source: the senders that are let in. */
  readonly sources?: readonly string[];
  /** Broadcast queue length asked of the parent, frames; the largest of all its macvlans holds. Kernel 5.11. */
  readonly broadcastQueueLength?: number;
}

/** An ipvlan: the parent's MAC, addresses of its own. */
interface Ipvlan {
  readonly kind: "ipvlan";
  readonly mode: IpvlanMode;
  readonly isolation?: IpvlanIsolation;
}

/** A VLAN of the parent. */
interface Vlan {
  readonly kind: "vlan";
  /** 1–4094. */
  readonly id: number;
  readonly protocol?: VlanProtocol;
}

/** The kinds of link that Berth makes on a parent. */
export type SubInterface = Macvlan | Ipvlan | Vlan;

function nameOf<T extends string>(table: Readonly<Record<T, number>>, value: number | undefined): T | undefined {
  for (const name in table) if (table[name] === value) return name;
  return undefined;
}

/** Writes a kind's IFLA_INFO_DATA. */
export function writeKindData(w: Writer, link: SubInterface): void {
  switch (link.kind) {
    case "macvlan":
    case "macvtap": {
      w.attributeU32(IFLA_MACVLAN_MODE, macvlanModes[link.mode]);
      if (link.sources !== undefined && link.sources.length > 0) {
        const sources = link.sources;
        w.attributeU32(IFLA_MACVLAN_MACADDR_MODE, MACVLAN_MACADDR_SET);
        w.nest(IFLA_MACVLAN_MACADDR_DATA, (n) => {
          for (const mac of sources) n.attribute(IFLA_MACVLAN_MACADDR, macToBytes(mac));
        });
      }
      if (link.broadcastQueueLength !== undefined) w.attributeU32(IFLA_MACVLAN_BC_QUEUE_LEN, link.broadcastQueueLength);
      break;
    }
    case "ipvlan":
      w.attributeU16(IFLA_IPVLAN_MODE, ipvlanModes[link.mode]);
      if (link.isolation !== undefined) w.attributeU16(IFLA_IPVLAN_FLAGS, ipvlanIsolations[link.isolation]);
      break;
    case "vlan":
      w.attributeU16(IFLA_VLAN_ID, link.id);
      if (link.protocol !== undefined) w.attributeU16BigEndian(IFLA_VLAN_PROTOCOL, vlanProtocols[link.protocol]);
      break;
  }
}

/** Reads IFLA_INFO_DATA of a kind that Berth makes; undefined for any other kind, or a mode unknown here. */
export function readKindData(kind: string, data: Attributes): SubInterface | undefined {
  switch (kind) {
    case "macvlan":
    case "macvtap": {
      const mode = nameOf(macvlanModes, data.u32(IFLA_MACVLAN_MODE));
      if (mode === undefined) return undefined;
      const length = data.u32(IFLA_MACVLAN_BC_QUEUE_LEN);
      const list = data.bytes(IFLA_MACVLAN_MACADDR_DATA);
      return {
        kind,
        mode,
        ...(list === undefined ? {} : { sources: listAttributes(list).map((a) => macFromBytes(a.payload)) }),
        ...(length === undefined ? {} : { broadcastQueueLength: length }),
      };
    }
    case "ipvlan": {
      const mode = nameOf(ipvlanModes, data.u16(IFLA_IPVLAN_MODE));
      const isolation = nameOf(ipvlanIsolations, data.u16(IFLA_IPVLAN_FLAGS));
      if (mode === undefined) return undefined;
      return { kind, mode, ...(isolation === undefined ? {} : { isolation }) };
    }
    case "vlan": {
      const id = data.u16(IFLA_VLAN_ID);
      const protocol = nameOf(vlanProtocols, data.u16BigEndian(IFLA_VLAN_PROTOCOL));
      if (id === undefined) return undefined;
      return { kind, id, ...(protocol === undefined ? {} : { protocol }) };
    }
    default:
      return undefined;
  }
}
