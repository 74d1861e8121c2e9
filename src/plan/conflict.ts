// An address that turns out to be somebody else's.
import { Failure } from "../report/failure.ts";

/** Somebody else has an address that a plan would use: the caller may try another one. */
export class AddressConflict extends Failure {
  readonly ip: string;
  /** Who has it, in words. */
  readonly holder: string;

  private constructor(attempt: string, ip: string, holder: string, advice: string) {
    super("address", `${attempt}: ${holder} has this address`, { advice });
    this.ip = ip;
    this.holder = holder;
  }

  /**
   * Another machine answered for it.
   * @param mac the machine's; undefined where it did not say
   */
  static onLan(ip: string, linkName: string, mac: string | undefined): AddressConflict {
    const holder = `another machine on this LAN${mac === undefined ? "" : ` (MAC ${mac})`}`;
    const advice =
      "Find that machine by its MAC (a switch's table, or ip neigh on a neighbour), or take the address out of the range.";
    return new AddressConflict(`use ${ip} on ${linkName}`, ip, holder, advice);
  }

  /** The host has it. */
  static onHost(ip: string, attachment: string): AddressConflict {
    const advice = "Take the host's addresses out of the range (rangeStart, rangeEnd), or ask for another address.";
    return new AddressConflict(`give ${ip} to ${attachment}`, ip, "the host itself", advice);
  }
}
