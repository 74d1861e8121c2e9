import type { SubInterface } from "../kernel/link-kinds.ts";
import type { Admission } from "../plan/cloud.ts";

/** A route as IPAM or a configuration states it (CNI spec 1.1.0, section 5 "Result Types", key `routes`). */
export interface RouteSpec {
  /** Destination as a CIDR. */
  readonly dst: string;
  /** Next hop; `0.0.0.0` or `::` means "on the link itself". Absent: the gateway of the allocation's family. */
  readonly gw?: string;
  /** Bytes. */
  readonly mtu?: number;
  /** TCP's advertised maximum segment size, bytes. */
  readonly advmss?: number;
  /** The kernel's metric. */
  readonly priority?: number;
  readonly table?: number;
  /** rtm_scope: 0 universe, 200 site, 253 link, 254 host (include/uapi/linux/rtnetlink.h). */
  readonly scope?: number;
}

/** Resolver settings, as CNI's `dns`. */
export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** One allocated address. */
export interface Lease {
  /** The address with its subnet's prefix length, as `192.168.122.177/24`. */
  readonly address: string;
  readonly gateway?: string;
}

/** A port of a cloud's network: what the addresses belong to there. */
export interface CloudPort {
  readonly id: string;
  /** The MAC that the attachment must have; absent where its kind takes the parent's. */
  readonly mac?: string;
  /** Of the network, bytes. */
  readonly mtu: number;
  /** The VLAN by which it is reached on the parent. */
  readonly vlanId?: number;
  /** What the parent's own port has to let pass for it; absent: nothing. */
  readonly admission?: Admission;
  /** How long the cloud may take to let it pass; absent: that is not waited for. */
  readonly reach?: { readonly timeoutMs: number; readonly required: boolean };
  /** Of a preview: the commands that would make the port. */
  readonly commands?: readonly string[];
}

/** What IPAM answered. */
export interface Allocation {
  readonly ips: readonly Lease[];
  readonly routes: readonly RouteSpec[];
  readonly dns: Dns;
  /** Where the addresses are a cloud's. */
  readonly port?: CloudPort;
}

/** How an attachment will sit on its parent: a cloud's port depends on it. */
export interface Seat {
  readonly kind: SubInterface["kind"] | "device";
  readonly parentMac: string | undefined;
  /** The MAC that was asked for. */
  readonly mac: string | undefined;
}

/** Whose addresses: the key of an attachment. */
export interface Holder {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
}

/**
 * Where an attachment's addresses come from. Every implementation passes test/ipam/contract.ts.
 *
 * All methods throw `Failure`: `address` where no address is free or the wanted one is taken, `config` where the
 * configuration cannot work, `io` where state on disk cannot be read or written, `delegate` where another program failed.
 */
export interface IpamProvider {
  /** The configuration's `ipam.type`. */
  readonly type: string;
  /**
   * Reserves addresses for the holder: those asked for, or the next free ones. A failure leaves nothing reserved.
   * @param ips addresses asked for, with or without a prefix length; each must be granted or the call fails. host-local
   *   ignores the prefix length: its ranges say which it is
   */
  allocate(holder: Holder, ips: readonly string[], seat: Seat): Promise<Allocation>;
  /** What {@link allocate} would answer now, without reserving anything. */
  preview(holder: Holder, ips: readonly string[], seat: Seat): Promise<Allocation>;
  /**
   * Releases whatever the holder has; nothing reserved is success.
   * @param ips the holder's addresses where the caller knows them all: what else is reserved need not be looked through
   * @param port the holder's, where the caller knows it
   * @returns the addresses that were released, canonical text, where the provider knows them
   */
  release(holder: Holder, ips?: readonly string[], port?: CloudPort): Promise<readonly string[]>;
  /**
   * Takes an address from its holder that somebody else turned out to have, and hands it out to nobody for some time.
   * @param by who has it, in words
   * @param seconds for how long
   * @returns false where {@link allocate} could not give another one: nothing was done then
   */
  quarantine(holder: Holder, ip: string, by: string, seconds: number): Promise<boolean>;
  /** Throws `differs` where the holder's addresses are no longer reserved. */
  check(holder: Holder, ips: readonly string[], port?: CloudPort): Promise<void>;
  /**
   * Releases every reservation of the network whose holder is not in `valid`.
   * @returns the addresses that were released, where the provider knows them
   */
  collect(network: string, valid: readonly Holder[]): Promise<readonly string[]>;
  /** Throws `unavailable` where no further address could be given. */
  status(network: string): Promise<void>;
}
