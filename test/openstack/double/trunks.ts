// Neutron's trunks in memory: ports that a parent port carries by VLANs.
import { objectOf, Refused, textOf } from "./answers.ts";
import type { Port, Ports } from "./ports.ts";
import { type Caller, invalidInput, isText, isUuid, type Kind, newRow, notFound, type Row, touch } from "./rows.ts";

/** A port that a trunk carries. */
interface SubPort {
  readonly port_id: string;
  readonly segmentation_type: string;
  readonly segmentation_id: number;
}

/** A trunk, as it is stored. */
export interface Trunk extends Row {
  readonly port_id: string;
  sub_ports: readonly SubPort[];
}

export const TRUNK: Kind = {
  name: "trunk",
  attributes: {
    name: { post: true, put: true, check: isText() },
    description: { post: true, put: true, check: isText() },
    admin_state_up: { post: true, put: true },
    port_id: { post: true, check: isUuid },
    sub_ports: { post: true },
    project_id: { post: true },
    tenant_id: { post: true },
    id: {},
    tags: {},
  },
  filters: ["port_id", "status", "admin_state_up"],
};

const LAST_VLAN = 4094;

/** Trunks. */
export class Trunks {
  readonly rows = new Map<string, Trunk>();
  readonly #ports: Ports;

  constructor(ports: Ports) {
    this.#ports = ports;
  }

  trunk(caller: Caller, id: string): Trunk {
    const found = this.rows.get(id);
    if (found === undefined || (!caller.admin && found.project_id !== caller.projectId)) throw notFound("Trunk", id);
    return found;
  }

  add(caller: Caller, values: Record<string, unknown>): Trunk {
    const parent = this.#ports.port(caller, textOf(values["port_id"]));
    if (this.ofParent(parent.id) !== undefined || this.#carrierOf(parent.id) !== undefined)
      throw parentInUse(parent.id);
    const trunk: Trunk = {
      ...newRow(caller, values),
      revision_number: 0,
      port_id: parent.id,
      status: "DOWN",
      admin_state_up: true,
      description: "",
      sub_ports: [],
    };
    trunk.sub_ports = this.#checked(caller, trunk, values["sub_ports"] ?? []);
    this.rows.set(trunk.id, trunk);
    return trunk;
  }

  addSubPorts(caller: Caller, trunk: Trunk, given: unknown): void {
    trunk.sub_ports = [...trunk.sub_ports, ...this.#checked(caller, trunk, given)];
    touch(trunk);
  }

  removeSubPorts(trunk: Trunk, given: unknown): void {
    const ids = (Array.isArray(given) ? given : []).map((s) => String(objectOf(s)?.["port_id"]));
    const missing = ids.find((id) => !trunk.sub_ports.some((s) => s.port_id === id));
    if (missing !== undefined) {
      throw new Refused(404, "SubPortNotFound", `SubPort ${missing} on trunk ${trunk.id} could not be found.`);
    }
    trunk.sub_ports = trunk.sub_ports.filter((s) => !ids.includes(s.port_id));
    touch(trunk);
  }

  /** The trunk of a parent port. */
  ofParent(portId: string): Trunk | undefined {
    return [...this.rows.values()].find((t) => t.port_id === portId);
  }

  /** What a parent port's answer says of its trunk. */
  details(port: Port): object {
    const trunk = this.ofParent(port.id);
    if (trunk === undefined) return {};
    const sub_ports = trunk.sub_ports.map((s) => ({
      ...s,
      mac_address: this.#ports.rows.get(s.port_id)?.mac_address,
    }));
    return { trunk_details: { trunk_id: trunk.id, sub_ports } };
  }

  /** Refuses where a trunk needs a port. */
  checkUnused(portId: string): void {
    const [parent, carrier] = [this.ofParent(portId), this.#carrierOf(portId)];
    if (parent !== undefined) {
      const message = `Port ${portId} is currently a parent port for trunk ${parent.id}.`;
      throw new Refused(409, "PortInUseAsTrunkParent", message);
    }
    if (carrier !== undefined) {
      const message = `Port ${portId} is currently a subport for trunk ${carrier.id}.`;
      throw new Refused(409, "PortInUseAsSubPort", message);
    }
  }

  #carrierOf(portId: string): Trunk | undefined {
    return [...this.rows.values()].find((t) => t.sub_ports.some((s) => s.port_id === portId));
  }

  #checked(caller: Caller, trunk: Trunk, given: unknown): SubPort[] {
    const wanted = (Array.isArray(given) ? given : []).map((s) => objectOf(s) ?? {});
    const used = new Set<number>();
    return wanted.map((sub) => {
      const portId = String(sub["port_id"]);
      if (portId === trunk.port_id || this.ofParent(portId) !== undefined) throw parentInUse(portId);
      const port = this.#ports.port(caller, portId);
      const { segmentation_type: type, segmentation_id: id } = sub;
      if (type === undefined || id === undefined) {
        const details = JSON.stringify(sub);
        const must = "Must specify both segmentation_id and segmentation_type.";
        throw invalidInput(`Invalid subport details '${details}': missing segmentation information. ${must}`);
      }
      if (type !== "vlan") throw invalidInput(`Unknown segmentation_type '${textOf(type)}'.`);
      if (typeof id !== "number" || id < 1 || id > LAST_VLAN) {
        throw invalidInput(`Segmentation ID '${textOf(id)}' is not in range.`);
      }
      if (used.has(id)) throw invalidInput(`Segmentation ID '${id}' for '${portId}' is not unique.`);
      used.add(id);
      const carrier = this.#carrierOf(portId);
      if (carrier !== undefined) {
        const message = `Port ${portId} is currently in use and is not eligible for use as a subport.`;
        throw new Refused(409, "PortInUseAsSubPort", message);
      }
      if (port.device_id !== "") {
        const where = `Unable to complete operation on port ${portId} for network ${port.network_id}.`;
        throw new Refused(409, "PortInUse", `${where} Port already has an attached device ${port.device_id}.`);
      }
      if (trunk.sub_ports.some((s) => s.segmentation_id === id)) {
        const message = `segmentation_type vlan and segmentation_id ${id} already in use on trunk ${trunk.id}.`;
        throw new Refused(409, "DuplicateSubPort", message);
      }
      return { port_id: portId, segmentation_type: type, segmentation_id: id };
    });
  }
}

function parentInUse(portId: string): Refused {
  const message = `Port ${portId} is currently in use and is not eligible for use as a parent port.`;
  return new Refused(409, "ParentPortInUse", message);
}
