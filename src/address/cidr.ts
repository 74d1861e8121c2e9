import { ipFamily, ipFromBytes, ipToBytes, parseIp } from "./ip.ts";

/** An address with a prefix length; the host bits are kept. */
export interface Cidr {
  readonly ip: string;
  readonly prefix: number;
}

/** Reads `192.168.122.177/24`; undefined for anything else. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const ip = parseIp(text.slice(0, slash));
  if (ip === undefined) return undefined;
  const length = text.slice(slash + 1);
  const prefix = Number(length);
  // "08", "1e1" and "" are other text than their number, "2.5" is not
  return Number.isInteger(prefix) && prefix >= 0 && prefix <= hostCidr(ip).prefix && `${prefix}` === length
    ? { ip, prefix }
    : undefined;
}

/** The address of text that may have a prefix length, as text. */
export function withoutPrefix(text: string): string {
  const slash = text.indexOf("/");
  return slash < 0 ? text : text.slice(0, slash);
}

/** As `192.168.122.177/24`. */
export function formatCidr(cidr: Cidr): string {
  return `${cidr.ip}/${cidr.prefix}`;
}

/** The address alone: /32 or /128. */
export function hostCidr(ip: string): Cidr {
  return { ip, prefix: ipFamily(ip) === 4 ? 32 : 128 };
}

/** The host bits in the byte at this index, as a mask. */
function hostMask(prefix: number, index: number): number {
  const bits = prefix - 8 * index; // of this byte and those after it that belong to the network
  return bits <= 0 ? 0xff : bits >= 8 ? 0 : 0xff >> bits;
}

/** The subnet: host bits cleared. */
export function networkOf(cidr: Cidr): Cidr {
  const bytes = ipToBytes(cidr.ip);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) & ~hostMask(cidr.prefix, i);
  return { ip: ipFromBytes(bytes), prefix: cidr.prefix };
}

/** The highest address of the subnet (IPv4: its broadcast address). */
export function lastOf(cidr: Cidr): string {
  const bytes = ipToBytes(cidr.ip);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) | hostMask(cidr.prefix, i);
  return ipFromBytes(bytes);
}

/** True where the address lies in the subnet; never across families. */
export function contains(cidr: Cidr, ip: string): boolean {
  if (ipFamily(cidr.ip) !== ipFamily(ip)) return false;
  const [a, b] = [ipToBytes(cidr.ip), ipToBytes(ip)];
  for (let i = 0; i < a.length; i++) {
    if ((((a[i] ?? 0) ^ (b[i] ?? 0)) & ~hostMask(cidr.prefix, i)) !== 0) return false;
  }
  return true;
}

/** True where two subnets share an address. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.prefix <= b.prefix ? contains(a, b.ip) : contains(b, a.ip);
}
