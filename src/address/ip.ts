// IP addresses are canonical text throughout (dotted IPv4; IPv6 by RFC 5952): comparable, and plain data in a plan.
import { IPv4, IPv6 } from "@se-oss/ip-address";

export type Family = 4 | 6;

/** RFC 5952 section 4.2.2 forbids "::" for a single group of zeros, which the library writes. */
function shortenProperly(text: string): string {
  const at = text.indexOf("::");
  if (at < 0 || text.includes(".") || text.split(":").filter((group) => group !== "").length !== 7) return text;
  return `${text.slice(0, at)}${at === 0 ? "" : ":"}0${at + 2 === text.length ? "" : ":"}${text.slice(at + 2)}`;
}

/** Canonical text of an IP address; undefined for anything else (leading zeros, zone ids and prefix lengths included). */
export function parseIp(text: string): string | undefined {
  try {
    return text.includes(":") ? shortenProperly(new IPv6(text).address) : new IPv4(text).address;
  } catch {
    return undefined;
  }
}

/** The family of a canonical address. */
export function ipFamily(ip: string): Family {
  return ip.includes(":") ? 6 : 4;
}

/** The bytes of a canonical address in network order: 4 or 16. */
export function ipToBytes(ip: string): Uint8Array {
  return Uint8Array.from(ip.includes(":") ? new IPv6(ip).toBytes() : new IPv4(ip).toBytes());
}

/** The canonical address of 4 or 16 bytes. Throws `RangeError` for another length. */
export function ipFromBytes(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length === 16) return shortenProperly(IPv6.fromBytes([...bytes]).address);
  throw new RangeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
}

/** A canonical address as a number. */
export function ipToBigInt(ip: string): bigint {
  return ip.includes(":") ? new IPv6(ip).toBigInt() : new IPv4(ip).toBigInt();
}

/** The canonical address of a number within its family's range. */
export function ipFromBigInt(value: bigint, family: Family): string {
  return family === 4 ? IPv4.fromBigInt(value).address : shortenProperly(IPv6.fromBigInt(value).address);
}

/** True for 0.0.0.0 and ::. */
export function isUnspecified(ip: string): boolean {
  return ip === "0.0.0.0" || ip === "::";
}

/** True for 169.254.0.0/16 (RFC 3927) and fe80::/10 (RFC 4291). */
export function isLinkLocal(ip: string): boolean {
  return ip.startsWith("169.254.") || /^fe[89ab][0-9a-f]:/u.test(ip);
}
