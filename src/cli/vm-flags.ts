// Flags that the commands for virtual machines share, and what they choose.
import { delegateFor } from "../attachment/allocation.ts";
import { guestLinkName, type GuestRequest } from "../attachment/guest.ts";
import type { AttachRequest } from "../attachment/prepare.ts";
import { type AttachmentRecord, isOrphan } from "../attachment/record.ts";
import type { NetworkConfig } from "../attachment/config.ts";
import { OWN_NAMESPACE } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";
import type { VmState } from "../vm/state.ts";
import * as flag from "./flags.ts";
import { type TapFlags, withLinkFlags } from "./link-flags.ts";
import { allRecords } from "./records.ts";

/** `--name`. */
export const name = {
  name: { kind: "parsed", parse: flag.text, brief: "the virtual machine's name", placeholder: "NAME" },
} as const;

/** Flags that name a virtual machine's attachment. */
export interface VmFlags {
  readonly name: string;
  readonly network?: string;
}

/** {@link name}, and the network where the machine has several. */
export const vm = {
  ...name,
  network: {
    kind: "parsed",
    parse: flag.text,
    brief: "of which network, where the machine is on several",
    optional: true,
    placeholder: "NAME",
  },
} as const;

/** The virtual machine's attachments that are in use. */
export function vmRecords({ name: machine, network }: VmFlags): AttachmentRecord[] {
  return allRecords().filter(
    (r) =>
      r.guest !== undefined &&
      r.key.containerId === machine &&
      (network === undefined || r.key.network === network) &&
      !isOrphan(r),
  );
}

/** The one attachment that flags name. Throws `Failure` (`missing`, `request`). */
export function vmRecord(flags: VmFlags): AttachmentRecord {
  const [record, second] = vmRecords(flags);
  if (record === undefined) {
    throw new Failure("missing", `find the virtual machine ${flags.name}: it has no attachment`, {
      advice: '"berth ls" lists the attachments.',
    });
  }
  if (second === undefined) return record;
  throw new Failure("request", `find the virtual machine ${flags.name}: it is on several networks`, {
    advice: `Name one: --network ${record.key.network}, or --network ${second.key.network}.`,
  });
}

/** What is asked of an attachment beside its network. */
export interface Wishes extends TapFlags {
  readonly mac?: string;
  readonly ip?: readonly string[];
}

/** The request for a virtual machine's attachment in this namespace. Throws `Failure`. */
export function vmRequest(
  network: { readonly config: NetworkConfig; readonly text: string },
  machine: string,
  wishes: Wishes,
  guest: GuestRequest,
  state?: VmState,
): AttachRequest {
  const { config, text } = withLinkFlags(network, { ...wishes, kind: "macvtap" }, guest.foreignLink !== true);
  const key = {
    network: config.name,
    containerId: machine,
    ifName: guestLinkName(config.name, machine, allRecords()),
  };
  const mac = wishes.mac ?? state?.mac;
  const ips = wishes.ip ?? config.args?.cni?.ips ?? [];
  const asked = state?.allocation.ips.map((lease) => lease.address) ?? ips;
  return {
    key,
    kind: "macvtap",
    netns: OWN_NAMESPACE,
    config,
    mac: mac ?? config.args?.cni?.mac,
    ips,
    delegate: delegateFor(text, config.cniVersion, key, OWN_NAMESPACE, {
      ips: asked,
      ...(mac === undefined ? {} : { mac }),
    }),
    guest,
    ...(state === undefined ? {} : { moved: state.allocation }),
  };
}
