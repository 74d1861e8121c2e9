import type { CredentialsConfig } from "./credentials.ts";

/** Configuration of `ipam` with type neutron. Networks, subnets, ports and security groups go by id or name. */
export interface NeutronConfig extends CredentialsConfig {
  readonly type: "neutron";
  /** Absent: the one of the VM's port. */
  readonly network?: string;
  /** Absent: as Neutron chooses among the network's. */
  readonly subnets?: readonly string[];
  /** An existing port that nobody uses. */
  readonly port?: string;
  readonly ip?: string | readonly string[];
  readonly mac?: string;
  readonly securityGroups?: readonly string[];
  readonly dnsName?: string;
  readonly tags?: readonly string[];
  /** Id of the port of the parent's NIC; absent: found by the parent's MAC. */
  readonly vmPort?: string;
  /** A block of addresses that is let pass once for all containers in it. */
  readonly addressPairs?: { readonly cidr: string };
  /** How long ADD waits for the gateway, seconds; 0: not at all. */
  readonly waitReachable?: number;
  readonly requireReachable?: boolean;
}
