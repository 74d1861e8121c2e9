import { type Family, ipFromBytes } from "../address/ip.ts";

/** IPv4 (include/linux/socket.h). */
export const AF_INET = 2;
/** IPv6. */
export const AF_INET6 = 10;

/** The kernel's number of an address family. */
export function addressFamily(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

/** The address family of the kernel's number; undefined for any but IPv4 and IPv6. */
export function familyOf(value: number): Family | undefined {
  return value === AF_INET ? 4 : value === AF_INET6 ? 6 : undefined;
}

/** The canonical address in an attribute; undefined where it is absent or has neither family's length. */
export function readIp(bytes: Uint8Array | undefined): string | undefined {
  return bytes?.length === 4 || bytes?.length === 16 ? ipFromBytes(bytes) : undefined;
}
