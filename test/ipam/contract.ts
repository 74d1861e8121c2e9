// What every IPAM provider promises (src/ipam/provider.ts). Each provider's test calls it with a configuration of its own.
import { failureOf } from "../failing.ts";
import { beforeEach, describe, expect, test } from "bun:test";
import { parseCidr } from "../../src/address/cidr.ts";
import { parseIp } from "../../src/address/ip.ts";
import type { Allocation, Holder, IpamProvider, Seat } from "../../src/ipam/provider.ts";

/** A provider under test, fresh for each test. */
export interface Subject {
  readonly provider: IpamProvider;
  /** An address that it can give, as it wants to be asked for it; absent where it cannot be asked. */
  readonly wanted?: string;
  /** An address that it cannot give. */
  readonly impossible?: string;
  /** It keeps reservations: addresses are given once, and status, check and collect know of them. */
  readonly reserves: boolean;
  /** It can tell what it would answer without reserving. */
  readonly previews: boolean;
  /** It answers addresses at all. */
  readonly addresses: boolean;
  /** What is reserved now, by the provider's own means, to see that a failure leaves nothing behind. */
  readonly reserved: () => number;
}

export const network = "lan";

/** A holder of the test's network. */
export function holder(containerId: string, ifName = "eth0"): Holder {
  return { network, containerId, ifName };
}

/** These providers do not ask where an attachment sits. */
export const seat: Seat = { kind: "macvlan", parentMac: undefined, mac: undefined };

/** The addresses of an allocation, without prefix length. */
export function ipsOf(allocation: Allocation): string[] {
  return allocation.ips.map((lease) => lease.address.replace(/\/.*/u, ""));
}

/** The suite. */
export function ipamContract(name: string, make: () => Subject): void {
  describe(`${name} keeps the contract of IPAM providers:`, () => {
    let subject: Subject;
    beforeEach(() => {
      subject = make();
    });

    test("an allocation holds canonical addresses with their prefix length, and gateways without", async () => {
      const { ips, routes } = await subject.provider.allocate(holder("a"), [], seat);
      expect(ips.length > 0).toBe(subject.addresses);
      for (const lease of ips) {
        const cidr = parseCidr(lease.address);
        expect(cidr && `${cidr.ip}/${cidr.prefix}`).toBe(lease.address);
        if (lease.gateway !== undefined) expect(parseIp(lease.gateway)).toBe(lease.gateway);
      }
      for (const route of routes) expect(parseCidr(route.dst)).toBeDefined();
    });

    test("an address that is asked for is granted, with or without a prefix length", async () => {
      const { provider, wanted } = subject;
      if (wanted === undefined) return;
      const ip = wanted.replace(/\/.*/u, "");
      expect(ipsOf(await provider.allocate(holder("a"), [wanted], seat))).toContain(ip);
      await provider.release(holder("a"));
      expect(ipsOf(await provider.allocate(holder("a"), [ip], seat))).toContain(ip);
    });

    test("what cannot be granted fails, and leaves nothing reserved", async () => {
      const { provider, impossible, reserved } = subject;
      if (impossible === undefined) return;
      const failure = await failureOf(provider.allocate(holder("a"), [impossible], seat));
      expect(["address", "request"]).toContain(failure.reason);
      expect(failure.message).toContain(impossible);
      expect(reserved()).toBe(0);
    });

    test("two holders never have the same address", async () => {
      if (!subject.reserves) return;
      const all = await Promise.all(["a", "b", "c", "d"].map((id) => subject.provider.allocate(holder(id), [], seat)));
      const ips = all.flatMap(ipsOf);
      expect(new Set(ips).size).toBe(ips.length);
      expect(subject.reserved()).toBe(ips.length);
    });

    test("a taken address is refused with its holder's name, and stays its holder's", async () => {
      const { provider, wanted, reserves } = subject;
      if (!reserves || wanted === undefined) return;
      const given = ipsOf(await provider.allocate(holder("first"), [wanted], seat));
      const failure = await failureOf(provider.allocate(holder("second"), [wanted], seat));
      expect(failure.reason).toBe("address");
      expect(failure.message).toContain(wanted.replace(/\/.*/u, ""));
      expect(failure.message).toContain("first");
      expect(failure.message).toContain("eth0");
      await provider.check(holder("first"), given);
      expect(subject.reserved()).toBe(given.length);
    });

    test("a preview is what is allocated next, and reserves nothing", async () => {
      const { provider, previews } = subject;
      if (previews) {
        const preview = await provider.preview(holder("a"), [], seat);
        expect(subject.reserved()).toBe(0);
        expect(await provider.preview(holder("a"), [], seat)).toEqual(preview);
        expect(await provider.allocate(holder("a"), [], seat)).toEqual(preview);
      } else {
        expect((await failureOf(provider.preview(holder("a"), [], seat))).advice).toBeString();
        expect(subject.reserved()).toBe(0);
      }
    });

    test("releasing needs nothing to be reserved, and may be repeated", async () => {
      const { provider, reserved } = subject;
      await provider.release(holder("nobody"));
      const ips = ipsOf(await provider.allocate(holder("a"), [], seat));
      await provider.release(holder("a"));
      expect(reserved()).toBe(0);
      await provider.release(holder("a"));
      await provider.release(holder("a"), ips);
    });

    test("releasing with the addresses as a hint releases them", async () => {
      const { provider, reserved } = subject;
      const ips = ipsOf(await provider.allocate(holder("a"), [], seat));
      await provider.release(holder("a"), ips);
      expect(reserved()).toBe(0);
    });

    test("releasing touches nobody else's addresses, whatever the hint says", async () => {
      const { provider, reserves } = subject;
      if (!reserves) return;
      const [a, b, other] = [holder("a"), holder("b"), holder("a", "eth1")];
      const ofA = ipsOf(await provider.allocate(a, [], seat));
      const ofB = ipsOf(await provider.allocate(b, [], seat));
      const ofOther = ipsOf(await provider.allocate(other, [], seat));
      await provider.release(a, [...ofA, ...ofB, ...ofOther]);
      await provider.check(b, ofB);
      await provider.check(other, ofOther);
      expect((await failureOf(provider.check(a, ofA))).reason).toBe("differs");
    });

    test("check holds while the addresses are reserved, and no longer", async () => {
      const { provider, reserves } = subject;
      const ips = ipsOf(await provider.allocate(holder("a"), [], seat));
      await provider.check(holder("a"), ips);
      if (!reserves) return;
      expect((await failureOf(provider.check(holder("b"), ips))).reason).toBe("differs");
      await provider.release(holder("a"), ips);
      expect((await failureOf(provider.check(holder("a"), ips))).reason).toBe("differs");
    });

    test("collecting spares the valid holders and releases the others", async () => {
      const { provider, reserves } = subject;
      const ofA = ipsOf(await provider.allocate(holder("a"), [], seat));
      if (reserves) {
        await provider.allocate(holder("b"), [], seat);
        await provider.allocate(holder("a", "eth1"), [], seat);
      }
      await provider.collect(network, [holder("a"), holder("unknown")]);
      await provider.check(holder("a"), ofA);
      if (reserves) expect(subject.reserved()).toBe(ofA.length);
    });

    test("status has nothing to say while there are free addresses", async () => {
      await subject.provider.status(network);
      await subject.provider.allocate(holder("a"), [], seat);
      await subject.provider.status(network);
    });
  });
}
