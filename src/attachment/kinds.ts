/** The kinds of attachment. */
export const kinds = ["macvlan", "macvtap", "ipvlan", "vlan"] as const;
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
} as const satisfies Record<Kind, readonly string[]>;
