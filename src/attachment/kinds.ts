import type { SubInterface } from "../kernel/link-kinds.ts";

/** The kinds of attachment. */
export const kinds = ["macvlan", "macvtap", "ipvlan", "vlan", "device"] as const;
/** A kind of attachment. */
export type Kind = (typeof kinds)[number];

/** True for the name of a kind. */
export function isKind(name: string): name is Kind {
  return (kinds as readonly string[]).includes(name);
}

/** The modes of each kind. */
export const modes = {
  macvlan: ["bridge", "private", "vepa", "passthru", "source"],
  macvtap: ["bridge", "private", "vepa", "passthru", "source"],
  ipvlan: ["l2", "l3", "l3s"],
  vlan: [],
  device: [],
} as const satisfies Record<Kind, readonly string[]>;

/** An attachment that is no sub-interface: a NIC of the host, which is moved into the namespace. */
interface Device {
  readonly kind: "device";
}

/** What an attachment's link is. */
export type Detail = SubInterface | Device;

/** The name of the standard plugin whose configuration kind `device` takes too. */
export const HOST_DEVICE = "host-device";
