import type { Allocation, IpamProvider } from "./provider.ts";

/** No IPAM: the attachment has no address; whoever is inside sees to it (layer 2 only). */
export const none: IpamProvider = {
  type: "",
  async allocate(): Promise<Allocation> {
    return { ips: [], routes: [], dns: {} };
  },
  async preview(): Promise<Allocation> {
    return { ips: [], routes: [], dns: {} };
  },
  async release(): Promise<readonly string[]> {
    return [];
  },
  async quarantine(): Promise<boolean> {
    return false;
  },
  async check(): Promise<void> {
    // nothing is reserved
  },
  async collect(): Promise<readonly string[]> {
    return [];
  },
  async status(): Promise<void> {
    // there is nothing that could be used up
  },
};
