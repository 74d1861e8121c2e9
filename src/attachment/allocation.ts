// What IPAM gives an attachment.
import { withoutPrefix } from "../address/cidr.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import { type IpamCall, providerAtHand, providerFor } from "../ipam/provider-for.ts";
import type { Allocation, IpamProvider } from "../ipam/provider.ts";
import type { Neutron } from "../openstack/neutron.ts";
import type { NeutronConfig } from "../openstack/neutron-config.ts";
import type { NetworkConfig } from "./config.ts";
import type { Key } from "./key.ts";
import type { AttachmentRecord } from "./record.ts";

/** Who gives an attachment its addresses, and the cloud that these belong to. */
export interface Providers {
  readonly ipam: IpamProvider;
  readonly cloud?: Neutron;
}

/** The providers of a configuration; a promise where one has to be loaded. Throws `Failure` (`config`). */
export function providersOf(config: NetworkConfig, delegate: DelegateCall): Providers | Promise<Providers> {
  const call = { ipRanges: config.runtimeConfig?.ipRanges ?? [], delegate };
  const ipam = providerAtHand(config.ipam, call);
  return ipam === undefined ? loadProviders(config, call) : { ipam };
}

async function loadProviders(config: NetworkConfig, call: IpamCall): Promise<Providers> {
  if (config.ipam?.type === "neutron") {
    const openstack = await import("../openstack/neutron.ts"); // of no use to all others
    const neutron = new openstack.Neutron(config.ipam as NeutronConfig);
    return { ipam: neutron, cloud: neutron };
  }
  return { ipam: await providerFor(config.ipam, call) };
}

/** Where delegated plugins are looked for when CNI_PATH does not say. */
const PLUGIN_DIRECTORIES = "/opt/cni/bin:/usr/libexec/cni:/usr/lib/cni";

/** The call that a delegated IPAM plugin gets where no runtime calls. */
export function delegateFor(
  stdin: string,
  cniVersion: string,
  key: Key,
  netns: string | undefined,
  asked: { readonly ips?: readonly string[]; readonly mac?: string } = {},
): DelegateCall {
  const args = [
    ...(asked.ips === undefined || asked.ips.length === 0 ? [] : [`IP=${asked.ips.join(",")}`]),
    ...(asked.mac === undefined ? [] : [`MAC=${asked.mac}`]),
  ];
  return {
    stdin,
    cniVersion,
    env: {
      CNI_CONTAINERID: key.containerId,
      CNI_NETNS: netns ?? "",
      CNI_IFNAME: key.ifName,
      CNI_PATH: process.env["CNI_PATH"] ?? PLUGIN_DIRECTORIES,
      PATH: process.env["PATH"],
      ...(args.length === 0 ? {} : { CNI_ARGS: ["IgnoreUnknown=1", ...args].join(";") }),
    },
  };
}

/** The call of a delegated IPAM as a record remembers it. */
export function delegateOf(record: AttachmentRecord, config: NetworkConfig): DelegateCall {
  return {
    stdin: record.config,
    cniVersion: config.cniVersion,
    env: {
      CNI_COMMAND: "DEL",
      CNI_CONTAINERID: record.key.containerId,
      CNI_NETNS: record.netns,
      CNI_IFNAME: record.key.ifName,
      CNI_PATH: record.cniPath,
      PATH: process.env["PATH"],
    },
  };
}

/** The addresses of an allocation, without their prefix lengths. */
export function addressesOf(allocation: Allocation | undefined): string[] {
  const ips: string[] = [];
  for (const { address } of allocation?.ips ?? []) ips.push(withoutPrefix(address));
  return ips;
}
