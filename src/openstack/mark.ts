// What a port says of whose it is: a text in its device_id, by which it is found again without any record. A port that a
// trunk shall carry has it in its description: Neutron refuses one with a device_id (services/trunk/rules.py).
import type { Holder } from "../ipam/provider.ts";
import { isId } from "./networks.ts";
import type { Port, PortWish } from "./ports.ts";

/** `device_owner` of a port that Berth made. Neutron gives a trunk's sub-port one of its own. */
export const MADE = "berth:container";
/** `device_owner` of a port that was there before and is only given back. */
export const TAKEN = "berth:taken";
/** Ends the text of a port that was taken for a trunk, as its `device_owner` will not tell. */
const WAS_TAKEN = "/taken";
/** Neutron's limit for both fields, characters. */
const MAX_TEXT = 255;

/** Who shall have a port. */
export interface Claim {
  /** Id of the VM's port. */
  readonly vmPort: string;
  readonly holder: Holder;
  /** Whether the VM's trunk shall carry it. */
  readonly byTrunk: boolean;
}

/** What a mark says. A long container id is there as a digest: compare with {@link isPortOf}. */
export interface Mark extends Claim {
  /** Whether the port was there before. */
  readonly taken: boolean;
}

type Marked = Pick<Port, "device_id" | "device_owner" | "description">;

/** The text for a holder in a VM. */
function markText(vmPort: string, { network, containerId, ifName }: Holder): string {
  const text = `${vmPort}/${network}/${containerId}/${ifName}`;
  if (text.length + WAS_TAKEN.length <= MAX_TEXT) return text;
  const digest = new Bun.CryptoHasher("sha256").update(containerId).digest("hex");
  return `${vmPort}/${network}/${digest}/${ifName}`;
}

/** The filters by which a holder's port is found, one after the other. */
export function markFilters(vmPorts: readonly string[], holder: Holder): Readonly<Record<string, readonly string[]>>[] {
  const texts = vmPorts.map((id) => markText(id, holder));
  return [{ device_id: texts }, { description: texts.flatMap((t) => [t, t + WAS_TAKEN]) }];
}

/** What a port says; undefined where it is none of Berth's. */
export function markOf({ device_id: id, device_owner: owner, description }: Marked): Mark | undefined {
  const byTrunk = id === "" && description !== "";
  const taken = byTrunk ? description.endsWith(WAS_TAKEN) : owner === TAKEN;
  const text = byTrunk && taken ? description.slice(0, -WAS_TAKEN.length) : byTrunk ? description : id;
  const [vmPort, network, containerId, ifName, more] = text.split("/");
  if (vmPort === undefined || network === undefined || containerId === undefined) return undefined;
  if (ifName === undefined || more !== undefined || !isId(vmPort)) return undefined;
  return { vmPort, holder: { network, containerId, ifName }, byTrunk, taken };
}

/** Whether a port says that it is a holder's, in whichever VM. */
export function isPortOf(port: Marked, holder: Holder): boolean {
  const mark = markOf(port);
  return mark !== undefined && markText(mark.vmPort, mark.holder) === markText(mark.vmPort, holder);
}

/** A port's name, for people. */
export function nameOf({ network, containerId, ifName }: Holder): string {
  return `${network}-${containerId.slice(0, 12)}-${ifName}`;
}

/** What marks a port that is made. */
export function marksMade({ vmPort, holder, byTrunk }: Claim): PortWish {
  const text = markText(vmPort, holder);
  return { device_owner: MADE, name: nameOf(holder), ...(byTrunk ? { description: text } : { device_id: text }) };
}

/** What marks a port that is taken. Of one that a trunk shall carry, the description that it had is lost. */
export function marksTaken({ vmPort, holder, byTrunk }: Claim): PortWish {
  const text = markText(vmPort, holder);
  return { device_owner: TAKEN, ...(byTrunk ? { description: text + WAS_TAKEN } : { device_id: text }) };
}

/** What unmarks a port that was taken. */
export function unmarked({ byTrunk }: Mark): PortWish {
  return { device_id: "", device_owner: "", ...(byTrunk ? { description: "" } : {}) };
}
