/** A MAC and an address that a port lets pass beside its own (Neutron's `allowed_address_pairs`). */
export interface AddressPair {
  /** Id of the port that gets it. */
  readonly port: string;
  /** Without prefix length. */
  readonly ip: string;
  readonly mac: string;
  /** Who needs it: the id of the container's own port. A pair that several need goes with the last of them. */
  readonly user: string;
}

/** What a plan can have a cloud do; implemented by openstack/. All methods throw `Failure`. */
export interface Cloud {
  /** Admits a pair; one that is there is success. */
  admit(pair: AddressPair): Promise<void>;
  /** Takes a pair away; one that is gone, or whose port is, is success. */
  dismiss(pair: AddressPair): Promise<void>;
  /** Whether the pair is there. */
  admits(pair: AddressPair): Promise<boolean>;
}
