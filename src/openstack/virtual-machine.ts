// The virtual machine that Berth runs in: which instance it is, and which port is its NIC's.
import { isObject } from "../ipam/json.ts";
import { readFileIfThere } from "../kernel/files.ts";
import { listLinks } from "../kernel/links.ts";
import { Netlink } from "../kernel/netlink.ts";
import { Failure } from "../report/failure.ts";
import { getPort, listPorts, type Port } from "./ports.ts";
import type { Session } from "./session.ts";

function read(path: string): string | undefined {
  try {
    return readFileIfThere(path)?.trim();
  } catch {
    return undefined;
  }
}

/** What cloud-init learnt of the instance, from a config drive or the metadata service. */
function fromCloudInit(root: string): string | undefined {
  const text = read(`${root}/run/cloud-init/instance-data.json`);
  if (text === undefined) return undefined;
  try {
    const json: unknown = JSON.parse(text);
    const v1 = isObject(json) ? json["v1"] : undefined;
    if (!isObject(v1) || (v1["platform"] !== "openstack" && v1["cloud_name"] !== "openstack")) return undefined;
    return typeof v1["instance_id"] === "string" ? v1["instance_id"] : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The id of the instance, where the machine knows that it is one: from SMBIOS, where Nova names itself, or from what
 * cloud-init read of a config drive. Undefined elsewhere.
 * @param root where the machine's files are
 */
export function instanceId(root = ""): string | undefined {
  const dmi = `${root}/sys/class/dmi/id`;
  const maker = `${read(`${dmi}/sys_vendor`) ?? ""} ${read(`${dmi}/product_name`) ?? ""} ${read(`${dmi}/chassis_asset_tag`) ?? ""}`;
  const uuid = /openstack/iu.test(maker) ? read(`${dmi}/product_uuid`)?.toLowerCase() : undefined;
  return uuid ?? fromCloudInit(root);
}

/** What is known of the VM's port before the cloud is asked. */
export interface PortHint {
  /** Its id, as configured. */
  readonly vmPort?: string;
  /** The parent's MAC. */
  readonly mac: string | undefined;
  /** {@link instanceId}. */
  readonly instance: string | undefined;
}

function describePort({ id, device_id: instance }: Port): string {
  return `${id} (of ${instance === "" ? "no instance" : instance})`;
}

/** The port of the NIC that the containers sit on. Throws `Failure` (`config`) where none or several are it. */
export async function findVmPort(session: Session, { vmPort, mac, instance }: PortHint): Promise<Port> {
  if (vmPort !== undefined) {
    const port = await getPort(session, vmPort);
    if (port !== undefined) return port;
    throw new Failure("config", `find the VM's port ${vmPort}: there is none that this project may use`, {
      advice: 'Look at "vmPort": openstack port list.',
    });
  }
  if (mac === undefined) {
    throw new Failure("config", "find the VM's port: the parent has no MAC", {
      advice: 'Name the port with "vmPort".',
    });
  }
  const doing = `find the VM's port by its MAC ${mac}`;
  const found = await listPorts(session, { mac_address: mac }, doing);
  const own = instance === undefined ? found : found.filter((p) => p.device_id === instance);
  const [first, second] = own;
  if (first !== undefined && second === undefined) return first;
  const seen = (own.length > 0 ? own : found).map(describePort).join(" and ");
  throw new Failure(
    "config",
    own.length > 0
      ? `${doing}: there are ${seen}`
      : `${doing}: ${found.length === 0 ? "no port has it" : `${seen} has it, and this instance is ${instance}`}`,
    {
      advice:
        found.length === 0
          ? 'The credentials must be for the project of the VM. A parent whose MAC was changed (a bond, a bridge) is told by "vmPort".'
          : 'Name the port with "vmPort".',
    },
  );
}

/** The ports of this machine's NICs, or the one that a configuration names; none where there are none. Throws `Failure`. */
export async function machinePorts(session: Session, vmPort: string | undefined): Promise<readonly Port[]> {
  if (vmPort !== undefined) {
    const port = await getPort(session, vmPort);
    return port === undefined ? [] : [port];
  }
  using nl = new Netlink();
  const nics = listLinks(nl).filter((l) => !l.loopback && l.detail === undefined);
  const macs = [...new Set(nics.flatMap((l) => l.mac ?? []))];
  if (macs.length === 0) return [];
  const found = await listPorts(session, { mac_address: macs }, "find the ports of this machine's NICs");
  const instance = instanceId();
  return instance === undefined ? found : found.filter((p) => p.device_id === instance);
}
