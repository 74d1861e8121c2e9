import type { DelegateCall } from "./delegated.ts";
import { HostLocal, type HostLocalConfig } from "./host-local.ts";
import type { IpamProvider } from "./provider.ts";
import type { RangeConfig } from "./range.ts";
import type { StaticConfig } from "./static.ts";

/** A configuration's `ipam`: one of ours by its `type`, or any other plugin's; without `type` there is none. */
export type IpamConfig = HostLocalConfig | StaticConfig | { readonly type?: string };

/** What a provider needs beside its configuration. */
export interface IpamCall {
  /** The capability `ipRanges`. */
  readonly ipRanges?: readonly (readonly RangeConfig[])[];
  /** The call as it came: for plugins that are executed, and for static, where it matters who asked for an address. */
  readonly delegate: DelegateCall;
}

/** {@link providerFor} where nothing has to be loaded for it; else undefined. */
export function providerAtHand(ipam: IpamConfig | undefined, { ipRanges = [] }: IpamCall): IpamProvider | undefined {
  return ipam?.type === "host-local" ? new HostLocal(ipam as HostLocalConfig, ipRanges) : undefined;
}

/** The provider that a configuration names; the others are not loaded. Throws `Failure` (`config`) where its configuration cannot work. */
export async function providerFor(ipam: IpamConfig | undefined, call: IpamCall): Promise<IpamProvider> {
  const atHand = providerAtHand(ipam, call);
  if (atHand !== undefined) return atHand;
  const type = ipam?.type ?? "";
  if (ipam === undefined || type === "") return (await import("./none.ts")).none;
  if (type === "static") {
    const { Static } = await import("./static.ts");
    return new Static(ipam as StaticConfig, call.delegate);
  }
  const { Delegated } = await import("./delegated.ts");
  return new Delegated(type, call.delegate);
}
