// Neutron's trunks (Networking API v2.0, "Trunk networking"): ports that a VM's port carries by VLANs.
import { Failure } from "../report/failure.ts";
import { isRefusal } from "./errors.ts";
import { pause } from "./http.ts";
import { getPort, type Port, type SubPort } from "./ports.ts";
import type { Session } from "./session.ts";

/** So often another process may have taken the VLAN that was chosen. */
const TRIES = 50;
/** So often it is tried where the answer is lost. */
const LOST_TRIES = 3;
/** The first pause after that, milliseconds, and how often it is doubled at most. */
const PAUSE_MS = 10;
const LONGEST = 5;
/** The refusal that another VLAN mends (Neutron, services/trunk/exceptions.py). */
const VLAN_TAKEN = "DuplicateSubPort";
/** The highest number of a VLAN (IEEE 802.1Q). */
const LAST_VLAN = 4094;

function lowestFree(subPorts: readonly SubPort[]): number | undefined {
  const taken = new Set(subPorts.map((s) => s.segmentation_id));
  for (let id = 1; id <= LAST_VLAN; id++) if (!taken.has(id)) return id;
  return undefined;
}

/** The trunk of a VM's port. Throws `Failure` (`config`) where it has none. */
export function trunkOf(vmPort: Port): { readonly trunk_id: string; readonly sub_ports: readonly SubPort[] } {
  const { trunk_details: trunk } = vmPort;
  if (trunk !== undefined && trunk !== null) return trunk;
  throw new Failure("config", `find the trunk of the VM's port ${vmPort.id}: it has none`, {
    advice: `Kind vlan needs one: openstack network trunk create --parent-port ${vmPort.id} NAME, before the VM is booted with that port.`,
  });
}

/**
 * Adds a port to a VM's trunk by the lowest VLAN that is free. Neutron refuses one that is taken meanwhile, by whomever:
 * then the next is tried. Throws `Failure`.
 * @param wanted the VLAN that must be; absent: any
 * @returns the VLAN
 */
export async function addSubPort(session: Session, vmPort: Port, portId: string, wanted?: number): Promise<number> {
  let trunk = trunkOf(vmPort);
  for (let tried = 1; ; tried++) {
    const id = wanted ?? lowestFree(trunk.sub_ports);
    const doing = `add the port ${portId} to the trunk ${trunk.trunk_id} by VLAN ${id}`;
    if (id === undefined) {
      throw new Failure("cloud", `add the port ${portId} to the trunk ${trunk.trunk_id}: no VLAN is free`, {
        advice: "Remove sub-ports that nobody needs (berth gc).",
      });
    }
    try {
      await session.call({
        method: "PUT",
        path: `/trunks/${trunk.trunk_id}/add_subports`,
        body: { sub_ports: [{ port_id: portId, segmentation_type: "vlan", segmentation_id: id }] },
        doing,
        repeatable: false,
      });
      return id;
    } catch (e) {
      const taken = wanted === undefined && isRefusal(e, VLAN_TAKEN);
      const lost = e instanceof Failure && e.reason === "busy";
      // of a trunk, perhaps of this one: fetch itself repeats a PUT where a connection that was kept ends without an answer
      const carried = isRefusal(e, "TrunkPortInUse");
      if (tried >= (lost ? LOST_TRIES : TRIES) || !(taken || lost || carried)) throw e;
      if (!carried) await pause(Math.min(tried, LONGEST), PAUSE_MS);
      const now = await getPort(session, vmPort.id);
      if (now === undefined) throw e;
      trunk = trunkOf(now);
      const mine = trunk.sub_ports.find((s) => s.port_id === portId);
      if (mine !== undefined && (wanted === undefined || mine.segmentation_id === wanted)) return mine.segmentation_id;
      if (carried) throw e;
    }
  }
}

/** Takes a port off a trunk; one that is not on it, or no trunk, is success. Throws `Failure`. */
export async function removeSubPort(session: Session, vmPort: Port, portId: string): Promise<void> {
  const trunk = vmPort.trunk_details;
  if (trunk === undefined || trunk === null || !trunk.sub_ports.some((s) => s.port_id === portId)) return;
  try {
    await session.call({
      method: "PUT",
      path: `/trunks/${trunk.trunk_id}/remove_subports`,
      body: { sub_ports: [{ port_id: portId }] },
      doing: `take the port ${portId} off the trunk ${trunk.trunk_id}`,
      repeatable: false,
    });
  } catch (e) {
    if (!isRefusal(e, 404)) throw e;
  }
}
