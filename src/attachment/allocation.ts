// What IPAM gives an attachment.
import type { DelegateCall } from "../ipam/delegated.ts";
import { providerFor } from "../ipam/provider-for.ts";
import type { Allocation, IpamProvider } from "../ipam/provider.ts";
import type { NetworkConfig } from "./config.ts";

/** The IPAM provider of a configuration. */
export function ipamOf(config: NetworkConfig, delegate: DelegateCall): IpamProvider {
  return providerFor(config.ipam, { ipRanges: config.runtimeConfig?.ipRanges ?? [], delegate });
}

/** The addresses of an allocation, without their prefix lengths. */
export function addressesOf(allocation: Allocation | undefined): string[] {
  return (allocation?.ips ?? []).map((lease) => lease.address.replace(/\/.*/u, ""));
}
