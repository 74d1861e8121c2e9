// The values that a network's configuration is made of, each with what an error calls it.
import * as v from "valibot";
import { isCidr, isIp, isIpOrCidr, isMac } from "./config-texts.ts";

/** What a text is for, in the reference. */
export const described = (text: string): v.DescriptionAction<string, string> => v.description(text);

/** A link's name, as the kernel takes it (`dev_valid_name`, net/core/dev.c). */
export const linkName = v.pipe(
  v.string(),
  v.regex(/^(?!\.{1,2}$)[^\s/:\p{Cc}]{1,15}$/u, "an interface name: 1 to 15 characters, no space, slash or colon"),
);
/** An IP address. */
export const ip = v.pipe(v.string(), v.check(isIp, "an IP address"));
/** An address with a prefix length. */
export const cidr = v.pipe(v.string(), v.check(isCidr, "an address, a slash, a prefix length"));
/** An address, with or without one. */
export const ipOrCidr = v.pipe(v.string(), v.check(isIpOrCidr, "an IP address, with or without a prefix length"));
/** A MAC address. */
export const mac = v.pipe(v.string(), v.check(isMac, "a MAC address: six pairs of hexadecimal digits"));
/** A place on the PCI bus: domain, bus, device, function. */
export const pciBusId = v.pipe(
  v.string(),
  v.regex(/^[\da-fA-F]{4}:[\da-fA-F]{2}:[\da-fA-F]{2}\.[0-7]$/u, "a PCI address, as 0000:00:1f.6"),
);
/** A whole number of the kernel's, which has 32 bits. */
export const natural = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff));
/** A whole number in a range, both ends included. */
export const between = (low: number, high: number): v.GenericSchema<number> =>
  v.pipe(v.number(), v.integer(), v.minValue(low), v.maxValue(high));
