// An attachment as libvirt's domain XML describes it (https://libvirt.org/formatdomain.html, "Network interfaces").
import type { AttachmentRecord } from "../attachment/record.ts";
import { Failure } from "../report/failure.ts";

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;" };

function attribute(name: string, value: string): string {
  return ` ${name}='${value.replaceAll(/[&<>']/gu, (c) => escapes[c] ?? c)}'`;
}

/**
 * The `<interface>` of an attachment. Where the link is left to libvirt it is `type='direct'`: libvirt makes the macvtap,
 * with the MAC that the host's way to the guest leads to. Where the macvtap is Berth's it is `type='ethernet'`, by which
 * libvirt (5.7 and newer) opens one that is there. Throws `Failure` (`request`) for a container's attachment.
 */
export function libvirtXml({ key, guest, parent, config }: AttachmentRecord): string {
  if (guest === undefined) {
    throw new Failure("request", `describe ${key.containerId} for libvirt: it is no virtual machine's attachment`);
  }
  const { mode } = JSON.parse(config) as { mode?: string };
  const direct = guest.foreignLink === true;
  return [
    // without trustGuestRxFilters no multicast reaches the guest, and so no neighbour solicitation of IPv6
    direct ? "<interface type='direct' trustGuestRxFilters='yes'>" : "<interface type='ethernet'>",
    ` <mac${attribute("address", guest.mac)}/>`,
    ...(direct ? [` <source${attribute("dev", parent)}${attribute("mode", mode ?? "bridge")}/>`] : []),
    ` <target${attribute("dev", key.ifName)}${direct ? "" : " managed='no'"}/>`,
    " <model type='virtio'/>",
    // libvirt refuses a domain that sets the MTU of a direct interface (seen with 9.0)
    ...(direct ? [] : [` <mtu${attribute("size", `${guest.mtu}`)}/>`]),
    "</interface>",
  ]
    .map((line) => line.replace(/^ /u, "  "))
    .join("\n");
}
