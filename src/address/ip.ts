// IP addresses are canonical text throughout (dotted IPv4; IPv6 by RFC 5952): comparable, and plain data in a plan.
//
// The library decides what is an address. Its conversions are not used: it writes "::" for a single group of zeros, which
// RFC 5952 section 4.2.2 forbids, it refuses a dotted end except after a lower-case "::ffff:", and it goes through text
// and BigInt several times, each costing 0.1 ms on first use in a process that lives 10 ms.
import { IPv4, IPv6 } from "@se-oss/ip-address";

/** The IP version. */
export type Family = 4 | 6;

/** A dotted end (RFC 4291 section 2.2, form 3) as two groups; text without one as it is. Undefined for a wrong one. */
function withoutDots(text: string): string | undefined {
  if (!text.includes(".")) return text;
  const at = text.lastIndexOf(":") + 1;
  const end = text.slice(at);
  if (!IPv4.isValid(end)) return undefined;
  const [a = 0, b = 0, c = 0, d = 0] = ipToBytes(end);
  return `${text.slice(0, at)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

/** The bytes of valid IPv6 text without a dotted end. */
function bytesOfGroups(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  const put = (groups: string, fromEnd: boolean): void => {
    if (groups === "") return;
    const list = groups.split(":");
    let at = fromEnd ? 16 - 2 * list.length : 0;
    for (const group of list) {
      const value = Number.parseInt(group, 16);
      bytes[at++] = value >> 8;
      bytes[at++] = value & 0xff;
    }
  };
  const gap = text.indexOf("::");
  put(gap < 0 ? text : text.slice(0, gap), false);
  if (gap >= 0) put(text.slice(gap + 2), true);
  return bytes;
}

/** RFC 5952 text of 16 bytes; as inet_ntop(3) and the kernel's %pI6c, IPv4-mapped addresses with a dotted end (section 5). */
function textOfBytes(bytes: Uint8Array): string {
  const group = (i: number): number => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0);
  // the longest run of at least two zero groups, the first of equals
  let [runAt, runLength] = [-1, 1];
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && group(i + length) === 0) length++;
    if (length > runLength) [runAt, runLength] = [i, length];
    i += length;
  }
  if (runAt === 0 && runLength === 5 && group(5) === 0xffff) return `::ffff:${bytes.subarray(12).join(".")}`;
  let text = "";
  for (let i = 0; i < 8; i++) {
    if (i === runAt) {
      text += "::";
      i += runLength - 1;
    } else {
      text += `${text === "" || text.endsWith(":") ? "" : ":"}${group(i).toString(16)}`;
    }
  }
  return text;
}

/**
 * Canonical text of an IP address; undefined for anything else (leading zeros in IPv4, zone ids and prefix lengths
 * included). An IPv4-mapped address stays IPv6.
 */
export function parseIp(text: string): string | undefined {
  if (!text.includes(":")) return IPv4.isValid(text) ? text : undefined;
  const groups = withoutDots(text);
  return groups !== undefined && IPv6.isValid(groups) ? textOfBytes(bytesOfGroups(groups)) : undefined;
}

/** The family of a canonical address. */
export function ipFamily(ip: string): Family {
  return ip.includes(":") ? 6 : 4;
}

/** The bytes of a canonical address in network order: 4 or 16. */
export function ipToBytes(ip: string): Uint8Array {
  if (ip.includes(":")) return bytesOfGroups(withoutDots(ip) ?? ip);
  const bytes = new Uint8Array(4);
  let at = 0;
  for (const octet of ip.split(".")) bytes[at++] = Number(octet);
  return bytes;
}

/** The canonical address of 4 or 16 bytes in network order. Throws `RangeError` for another length. */
export function ipFromBytes(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length === 16) return textOfBytes(bytes);
  throw new RangeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
}

/** A canonical address as a number. */
export function ipToBigInt(ip: string): bigint {
  const view = new DataView(ipToBytes(ip).buffer);
  if (view.byteLength === 4) return BigInt(view.getUint32(0));
  return (view.getBigUint64(0) << 64n) | view.getBigUint64(8);
}

/** The canonical address of a number. Throws `RangeError` for one that the family does not have. */
export function ipFromBigInt(value: bigint, family: Family): string {
  if (value < 0n || value >> (family === 4 ? 32n : 128n) !== 0n) {
    throw new RangeError(`${value} is no IPv${family} address`);
  }
  if (family === 4) {
    const n = Number(value);
    return `${n >>> 24}.${(n >>> 16) & 0xff}.${(n >>> 8) & 0xff}.${n & 0xff}`;
  }
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, value >> 64n);
  view.setBigUint64(8, value);
  return textOfBytes(new Uint8Array(view.buffer));
}

/** True for 0.0.0.0 and ::. */
export function isUnspecified(ip: string): boolean {
  return ip === "0.0.0.0" || ip === "::";
}

/** True for 169.254.0.0/16 (RFC 3927) and fe80::/10 (RFC 4291 section 2.5.6). */
export function isLinkLocal(ip: string): boolean {
  return ip.startsWith("169.254.") || /^fe[89ab][0-9a-f]:/u.test(ip);
}
