// A NIC of the host as an attachment: which one is meant, whether the host can do without it, and whose it is by its marks.
import { parseMac } from "../address/mac.ts";
import { listAddresses } from "../kernel/addresses.ts";
import { listDirectory } from "../kernel/files.ts";
import { findLink, type Link, listLinks } from "../kernel/links.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { LINK_GROUP_BERTH } from "../kernel/protocol.ts";
import { withSysfs } from "../kernel/sysfs.ts";
import type { Places } from "../plan/places.ts";
import type { DeviceStep } from "../plan/step.ts";
import { Failure } from "../report/failure.ts";
import type { NetworkConfig } from "./config.ts";
import { describeKey } from "./key.ts";
import { type AttachmentRecord, listRecords } from "./record.ts";

/** The NIC in words, as the configuration means it; undefined where it means none. */
export function describeDevice(config: NetworkConfig): string | undefined {
  const { device, hwaddr, kernelpath, pciBusID = config.runtimeConfig?.deviceID } = config;
  if (device !== undefined) return device;
  if (hwaddr !== undefined) return `the NIC with MAC ${hwaddr}`;
  if (kernelpath !== undefined) return `the NIC of ${kernelpath}`;
  return pciBusID === undefined ? undefined : `the NIC at PCI address ${pciBusID}`;
}

function namesIn(directory: string): string[] {
  try {
    return listDirectory(directory).map((entry) => entry.name);
  } catch {
    return []; // it is not there
  }
}

/** The links that a device in /sys has, in this thread's namespace: a virtio NIC's are one directory further down. */
function linksOf(path: string): string[] {
  return (
    withSysfs(undefined, (sysfs) => {
      const device = `${sysfs}/${path}`;
      const below = namesIn(device).filter((name) => /^virtio\d+$/u.test(name));
      return [device, ...below.map((name) => `${device}/${name}`)].flatMap((d) => namesIn(`${d}/net`));
    }) ?? []
  );
}

/** The link that is meant; undefined where it is not on the host. */
function lookUp(nl: Netlink, config: NetworkConfig): Link | undefined {
  const { device, hwaddr, kernelpath, pciBusID = config.runtimeConfig?.deviceID } = config;
  if (device !== undefined) return findLink(nl, device);
  if (hwaddr !== undefined) {
    const mac = parseMac(hwaddr);
    // a sub-interface may have its parent's MAC
    const found = listLinks(nl).filter((l) => l.mac === mac && l.detail === undefined);
    if (found.length > 1) {
      throw new Failure(
        "config",
        `find the NIC with MAC ${hwaddr}: ${found.map((l) => l.name).join(" and ")} have it`,
        {
          advice: 'Name it: "device".',
        },
      );
    }
    return found[0];
  }
  const path =
    kernelpath === undefined ? `bus/pci/devices/${pciBusID?.toLowerCase()}` : kernelpath.replace(/^\/sys\//u, "");
  const [name] = linksOf(path);
  return name === undefined ? undefined : findLink(nl, name);
}

/** The step by which a record's attachment has its NIC; undefined for other kinds. */
function deviceStepOf({ plan }: AttachmentRecord): DeviceStep | undefined {
  return plan.find((s) => s.type === "device");
}

/** Who has the NIC that is missing, as a sentence; empty where no record tells. */
function holder(config: NetworkConfig): string {
  const mac = config.hwaddr === undefined ? undefined : parseMac(config.hwaddr);
  const record = listRecords(() => {}).find((r) => {
    const former = deviceStepOf(r)?.former;
    return former !== undefined && (former.name === config.device || (mac !== undefined && former.mac === mac));
  });
  return record === undefined ? "" : ` The attachment ${describeKey(record.key)} has it.`;
}

/** The NIC that a configuration means, on the host. Throws `Failure` (`config`), `SysError`. */
function findDevice(nl: Netlink, config: NetworkConfig): Link {
  const link = lookUp(nl, config);
  if (link !== undefined) return link;
  throw new Failure("config", `find ${describeDevice(config) ?? "the NIC"}: there is no such link on the host`, {
    advice: `Name an existing link ("ip link" lists them).${holder(config)}`,
  });
}

/**
 * Refuses a NIC that the host cannot do without, or whose state could not be given back. Throws `Failure` (`config`),
 * `SysError`.
 */
function requireSpare(nl: Netlink, link: Link): void {
  const refuse = (why: string, advice: string): never => {
    throw new Failure("config", `move ${link.name} into a container: ${why}`, { advice });
  };
  if (link.loopback) refuse("it is the loopback link", "Name a NIC.");
  const links = listLinks(nl);
  const master = links.find((l) => l.index === link.masterIndex);
  if (master !== undefined) {
    refuse(`it is a port of ${master.name}`, `Take it out first: ip link set dev ${link.name} nomaster`);
  }
  const upon = links.filter((l) => l.detail !== undefined && l.parentIndex === link.index && !l.parentElsewhere);
  const attached = listRecords(() => {}).filter((r) => r.parent === link.name && deviceStepOf(r) === undefined);
  const users = [...upon.map((l) => l.name), ...attached.map((r) => `the attachment ${describeKey(r.key)}`)];
  if (users.length > 0) {
    refuse(`it is the parent of ${users.join(", ")}`, "Use a NIC of its own, or kind macvlan beside them.");
  }
  const addresses = listAddresses(nl, link.index).filter((a) => a.scope === 0 && !a.temporary);
  if (addresses.length === 0) return;
  refuse(
    `the host has ${addresses.map((a) => a.cidr.ip).join(", ")} on it, and would lose that`,
    `Use a NIC that the host does not need, or take its addresses off first: ip address flush dev ${link.name}`,
  );
}

/** The NIC that a configuration means, which the host can spare. Throws `Failure` (`config`), `SysError`. */
export function findSpare(nl: Netlink, config: NetworkConfig): Link {
  const link = findDevice(nl, config);
  requireSpare(nl, link);
  return link;
}

/** The NIC of an attachment as the planner takes it: what it was before, and where it is now. Throws `Failure` (`config`). */
export function presentDevice(record: AttachmentRecord, config: NetworkConfig, places: Places): Link {
  const step = deviceStepOf(record);
  const container = places.container?.netlink;
  const isOwn = (l: Link): boolean => l.group === LINK_GROUP_BERTH && l.alias === step?.alias;
  const link =
    (container === undefined ? undefined : listLinks(container).find(isOwn)) ??
    listLinks(places.host.netlink).find(isOwn) ??
    findDevice(places.host.netlink, config);
  if (step === undefined) return link;
  const { name, mtu, mac } = step.former;
  return { ...link, name, mtu, mac };
}
