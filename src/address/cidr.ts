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
  const length = text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/u.test(length)) return undefined;
  const ip = parseIp(text.slice(0, slash));
  if (ip === undefined) return undefined;
  const prefix = Number(length);
  return prefix <= hostCidr(ip).prefix ? { ip, prefix } : undefined;
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
  return 0xff >> Math.min(Math.max(prefix - 8 * index, 0), 8);
}

/** The subnet: host bits cleared. */
export function networkOf(cidr: Cidr): Cidr {
  const bytes = ipToBytes(cidr.ip).map((byte, i) => byte & ~hostMask(cidr.prefix, i));
  return { ip: ipFromBytes(bytes), prefix: cidr.prefix };
}

/** The highest address of the subnet (IPv4: its broadcast address). */
export function lastOf(cidr: Cidr): string {
  return ipFromBytes(ipToBytes(cidr.ip).map((byte, i) => byte | hostMask(cidr.prefix, i)));
}

/** True where the address lies in the subnet; never across families. */
export function contains(cidr: Cidr, ip: string): boolean {
  if (ipFamily(cidr.ip) !== ipFamily(ip)) return false;
  const other = ipToBytes(ip);
  return ipToBytes(cidr.ip).every((byte, i) => ((byte ^ (other[i] ?? 0)) & ~hostMask(cidr.prefix, i)) === 0);
}

/** True where two subnets share an address. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.prefix <= b.prefix ? contains(a, b.ip) : contains(b, a.ip);
}
