// IP addresses are canonical text throughout (dotted IPv4; IPv6 by RFC 5952): comparable, and plain data in a plan.
//
// Read and written here, not by a library: to import one and to compile its patterns takes 0.3 ms of a process that lives
// 10 ms (docs/performance.md). The tests hold it against another implementation.

/** The IP version. */
export type Family = 4 | 6;

/** The bytes of dotted text without leading zeros; undefined for anything else. */
function bytesOfDotted(text: string): Uint8Array | undefined {
  const octets = text.split(".");
  if (octets.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const octet = octets[i] ?? "";
    const value = Number(octet);
    // "010", "1e1", " 1" and "" are other text than their number
    if (!(value >= 0 && value <= 255) || `${value}` !== octet) return undefined;
    bytes[i] = value;
  }
  return bytes;
}

/** The value of one to four hexadecimal digits; undefined for anything else. */
function group(text: string): number | undefined {
  if (text.length === 0 || text.length > 4) return undefined;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = "0123456789abcdef".indexOf((text[i] ?? "").toLowerCase());
    if (digit < 0) return undefined;
    value = value * 16 + digit;
  }
  return value;
}

/**
 * The bytes of groups between colons, the last of which may be dotted (RFC 4291 section 2.2, form 3); none for no text.
 * Undefined for anything else.
 */
function bytesOfGroups(text: string, mayEndDotted: boolean): number[] | undefined {
  const bytes: number[] = [];
  if (text === "") return bytes;
  const groups = text.split(":");
  for (let i = 0; i < groups.length; i++) {
    const part = groups[i] ?? "";
    if (mayEndDotted && i === groups.length - 1 && part.includes(".")) {
      const dotted = bytesOfDotted(part);
      if (dotted === undefined) return undefined;
      bytes.push(...dotted);
      continue;
    }
    const value = group(part);
    if (value === undefined) return undefined;
    bytes.push(value >> 8, value & 0xff);
  }
  return bytes;
}

/** The bytes of IPv6 text; undefined for anything else, zone ids included. */
function bytesOfColons(text: string): Uint8Array | undefined {
  const gap = text.indexOf("::");
  const first = bytesOfGroups(gap < 0 ? text : text.slice(0, gap), gap < 0);
  const second = gap < 0 ? [] : bytesOfGroups(text.slice(gap + 2), true);
  if (first === undefined || second === undefined) return undefined;
  // a gap stands for at least one group
  const length = first.length + second.length;
  if (gap < 0 ? length !== 16 : length > 14) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(first);
  bytes.set(second, 16 - second.length);
  return bytes;
}

/** RFC 5952 text of 16 bytes; as inet_ntop(3) and the kernel's %pI6c, IPv4-mapped addresses with a dotted end (section 5). */
function textOfBytes(bytes: Uint8Array): string {
  const value = (i: number): number => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0);
  // the longest run of at least two zero groups, the first of equals
  let [runAt, runLength] = [-1, 1];
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && value(i + length) === 0) length++;
    if (length > runLength) [runAt, runLength] = [i, length];
    i += length;
  }
  if (runAt === 0 && runLength === 5 && value(5) === 0xffff) return `::ffff:${bytes.subarray(12).join(".")}`;
  let text = "";
  for (let i = 0; i < 8; i++) {
    if (i === runAt) {
      text += "::";
      i += runLength - 1;
    } else {
      text += `${text === "" || text.endsWith(":") ? "" : ":"}${value(i).toString(16)}`;
    }
  }
  return text;
}

/**
 * Canonical text of an IP address; undefined for anything else (leading zeros in IPv4, zone ids and prefix lengths
 * included). An IPv4-mapped address stays IPv6.
 */
export function parseIp(text: string): string | undefined {
  if (!text.includes(":")) return bytesOfDotted(text) === undefined ? undefined : text;
  const bytes = bytesOfColons(text);
  return bytes === undefined ? undefined : textOfBytes(bytes);
}

/** The family of a canonical address. */
export function ipFamily(ip: string): Family {
  return ip.includes(":") ? 6 : 4;
}

/** The bytes of a canonical address in network order: 4 or 16. Throws `RangeError` for text that is no address. */
export function ipToBytes(ip: string): Uint8Array {
  const bytes = ip.includes(":") ? bytesOfColons(ip) : bytesOfDotted(ip);
  if (bytes === undefined) throw new RangeError(`${ip} is no IP address`);
  return bytes;
}

/** The canonical address of 4 or 16 bytes in network order. Throws `RangeError` for another length. */
export function ipFromBytes(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
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
