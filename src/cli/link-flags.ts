// Flags that ask for another link than the network's configuration does: a virtual machine's beside containers.
import type { NetworkConfig } from "../attachment/config.ts";
import { readConfig } from "../attachment/config-issues.ts";
import { guestCommands } from "../attachment/guest.ts";
import { type Kind, kinds } from "../attachment/kinds.ts";
import type { GuestRecord } from "../attachment/record.ts";
import * as flag from "./flags.ts";

/** {@link tapFlags} as they were given. */
export interface TapFlags {
  readonly tapOwner?: { readonly owner: number; readonly group: number };
  readonly tapMode?: string;
  readonly tapPath?: string;
}

/** {@link linkFlags} as they were given. */
export interface LinkFlags extends TapFlags {
  readonly kind?: Kind;
}

function ownerAndGroup(value: string): { owner: number; group: number } {
  const [, owner, group = owner] = /^(\d{1,9})(?::(\d{1,9}))?$/u.exec(value) ?? [];
  if (owner === undefined) throw new SyntaxError(`${value} is no UID:GID, two numbers`);
  return { owner: Number(owner), group: Number(group) };
}

/** The flags of a virtual machine's device. */
export const tapFlags = {
  tapOwner: {
    kind: "parsed",
    parse: ownerAndGroup,
    brief: "whose the virtual machine's device is; as --tap-mode and --tap-path it makes the link a virtual machine's",
    optional: true,
    placeholder: "UID:GID",
  },
  tapMode: { kind: "parsed", parse: flag.text, brief: "the device's permissions", optional: true, placeholder: "0660" },
  tapPath: { kind: "parsed", parse: flag.text, brief: "where the device is made", optional: true, placeholder: "PATH" },
} as const;

/** {@link tapFlags}, and the kind. */
export const linkFlags = {
  kind: { kind: "enum", values: kinds, brief: "another kind than the network's", optional: true },
  ...tapFlags,
} as const;

/** A network's configuration, changed as the flags ask: the record keeps it so. Throws `Failure` (`config`). */
export function withLinkFlags(
  network: { readonly config: NetworkConfig; readonly text: string },
  { kind, tapOwner, tapMode, tapPath }: LinkFlags,
  guest = tapOwner !== undefined || tapMode !== undefined || tapPath !== undefined,
): { config: NetworkConfig; text: string } {
  if (kind === undefined && !guest) return network;
  const json = JSON.parse(network.text) as Record<string, unknown>;
  const tap = {
    ...network.config.tap,
    ...tapOwner,
    ...(tapMode === undefined ? {} : { mode: tapMode }),
    ...(tapPath === undefined ? {} : { path: tapPath }),
  };
  const changed = {
    ...json,
    ...(kind === undefined ? {} : { type: "berth", kind }),
    ...(guest ? { tap } : {}),
  };
  return { config: readConfig(changed), text: JSON.stringify(changed) };
}

/** What is to be done in a guest, for people: a heading and commands; nothing where it is no guest. */
export async function inGuest(guest: GuestRecord | undefined): Promise<string[]> {
  if (guest === undefined) return [];
  return [`# in the guest, where eth0 is the NIC with MAC ${guest.mac}:`, ...(await guestCommands(guest))];
}
