import { type Family, ipFamily, ipFromBigInt, ipToBigInt, parseIp } from "./ip.ts";

/** An address with a prefix length; the host bits are kept. */
export interface Cidr {
  readonly ip: string;
  readonly prefix: number;
}

function bits(family: Family): number {
  return family === 4 ? 32 : 128;
}

/** Reads `192.168.122.177/24`; undefined for anything else. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const ip = parseIp(text.slice(0, slash));
  const length = text.slice(slash + 1);
  if (ip === undefined || !/^(0|[1-9]\d{0,2})$/u.test(length)) return undefined;
  const prefix = Number(length);
  return prefix <= bits(ipFamily(ip)) ? { ip, prefix } : undefined;
}

/** As `192.168.122.177/24`. */
export function formatCidr(cidr: Cidr): string {
  return `${cidr.ip}/${cidr.prefix}`;
}

/** The address alone: /32 or /128. */
export function hostCidr(ip: string): Cidr {
  return { ip, prefix: bits(ipFamily(ip)) };
}

function hostBits(cidr: Cidr): bigint {
  return (1n << BigInt(bits(ipFamily(cidr.ip)) - cidr.prefix)) - 1n;
}

/** The subnet: host bits cleared. */
export function networkOf(cidr: Cidr): Cidr {
  const value = ipToBigInt(cidr.ip) & ~hostBits(cidr);
  return { ip: ipFromBigInt(value, ipFamily(cidr.ip)), prefix: cidr.prefix };
}

/** The highest address of the subnet (IPv4: its broadcast address). */
export function lastOf(cidr: Cidr): string {
  return ipFromBigInt(ipToBigInt(cidr.ip) | hostBits(cidr), ipFamily(cidr.ip));
}

/** True where the address lies in the subnet; never across families. */
export function contains(cidr: Cidr, ip: string): boolean {
  if (ipFamily(cidr.ip) !== ipFamily(ip)) return false;
  const mask = ~hostBits(cidr);
  return (ipToBigInt(cidr.ip) & mask) === (ipToBigInt(ip) & mask);
}

/** True where two subnets share an address. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.prefix <= b.prefix ? contains(a, b.ip) : contains(b, a.ip);
}
