// What a text of a configuration must be, beyond a pattern.
import { parseCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";

/** An IP address. */
export function isIp(text: string): boolean {
  return parseIp(text) !== undefined;
}

/** An address, a slash, a prefix length. */
export function isCidr(text: string): boolean {
  return parseCidr(text) !== undefined;
}

/** An IP address, with or without a prefix length. */
export function isIpOrCidr(text: string): boolean {
  return isIp(text) || isCidr(text);
}

/** A MAC address: six pairs of hexadecimal digits. */
export function isMac(text: string): boolean {
  return parseMac(text) !== undefined;
}
