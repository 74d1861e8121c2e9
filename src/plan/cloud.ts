/** A MAC and an address that a port lets pass beside its own (Neutron's `allowed_address_pairs`). */
export interface AddressPair {
  readonly mac: string;
  /** An address without prefix length, or a block of addresses as a CIDR. */
  readonly ip: string;
}

/** What one container needs a port to let pass. */
export interface Admission {
  /** Id of the port that gets the pairs: the virtual machine's. */
  readonly port: string;
  /** Who needs them: the id of the container's own port. A pair that several need goes with the last of them. */
  readonly user: string;
  readonly pairs: readonly AddressPair[];
}

/** What a plan can have a cloud do; implemented by openstack/. All methods throw `Failure`. */
export interface Cloud {
  /** Has pairs let pass; those that are there are success. */
  admit(admission: Admission): Promise<void>;
  /** Takes pairs away that nobody else needs; what is gone, or whose port is, is success. */
  dismiss(admission: Admission): Promise<void>;
  /** Those of the pairs that are not let pass. */
  lacking(admission: Admission): Promise<readonly AddressPair[]>;
}
