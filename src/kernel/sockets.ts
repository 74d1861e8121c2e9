// Socket addresses and the opening of sockets in a namespace.
import { type Family, ipFamily, ipFromBytes, ipToBytes } from "../address/ip.ts";
import { Errno, SysError } from "./errno.ts";
import { AF_INET, AF_INET6, familyOf } from "./families.ts";
import { close, receive, setSocketOption, setSocketTimeout, socket } from "./libc.ts";
import type { Namespace } from "./namespaces.ts";

const AF_PACKET = 17;
const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const MSG_ERRQUEUE = 0x2000; // include/linux/socket.h

/** struct sockaddr_in or sockaddr_in6; `scope` is the link's index for a link-local IPv6 address. */
export function socketAddress(ip: string, port: number, scope = 0): Uint8Array {
  const bytes = ipToBytes(ip);
  const address = new Uint8Array(bytes.length === 4 ? 16 : 28);
  const v = new DataView(address.buffer);
  v.setUint16(0, bytes.length === 4 ? AF_INET : AF_INET6, true);
  v.setUint16(2, port);
  address.set(bytes, bytes.length === 4 ? 4 : 8);
  if (bytes.length === 16) v.setUint32(24, scope, true);
  return address;
}

/** The IP address in a struct sockaddr_in or sockaddr_in6; undefined for another family. */
export function ipOfSocketAddress(address: Uint8Array): string | undefined {
  const family = familyOf(address[0] ?? 0);
  if (family === undefined) return undefined;
  return ipFromBytes(family === 4 ? address.slice(4, 8) : address.slice(8, 24));
}

/** struct sockaddr_ll (packet(7)) for a link, an Ethernet type and a destination. */
export function linkAddress(linkIndex: number, etherType: number, mac: Uint8Array): Uint8Array {
  const address = new Uint8Array(20);
  const v = new DataView(address.buffer);
  v.setUint16(0, AF_PACKET, true);
  v.setUint16(2, etherType);
  v.setInt32(4, linkIndex, true);
  address[11] = mac.length;
  address.set(mac, 12);
  return address;
}

/** The kernel's number of a socket family. */
export function socketFamily(ip: string): number {
  const family: Family = ipFamily(ip);
  return family === 4 ? AF_INET : AF_INET6;
}

/** Opens a socket in a namespace (absent: this thread's), with a timeout in milliseconds. The caller closes it. Throws `SysError`. */
export function openIn(
  namespace: Namespace | undefined,
  family: number,
  type: number,
  protocol: number,
  timeoutMs: number,
): number {
  const open = (): number => socket(family, type, protocol);
  const fd = namespace === undefined ? open() : namespace.run(open);
  try {
    setSocketTimeout(fd, Math.max(1, timeoutMs));
    return fd;
  } catch (e) {
    close(fd);
    throw e;
  }
}

/** Lets a socket use one link only. Throws `SysError`. */
export function bindToLink(fd: number, linkName: string): void {
  setSocketOption(fd, SOL_SOCKET, SO_BINDTODEVICE, new TextEncoder().encode(`${linkName}\0`));
}

/**
 * Receives until `wanted` makes something of a packet or the deadline passes; others' packets are skipped.
 * @param deadline in `performance.now()` milliseconds
 * @param ours for a socket with IP_RECVERR: whether an error concerns a packet that this socket sent, given that packet
 * as the error quotes it. Other senders' errors are skipped. Throws `SysError` for one of ours.
 */
export function receiveUntil<T>(
  fd: number,
  deadline: number,
  wanted: (packet: Uint8Array) => T | undefined,
  ours?: (quoted: Uint8Array) => boolean,
): T | undefined {
  const buffer = new Uint8Array(65536);
  for (;;) {
    const left = deadline - performance.now();
    if (left <= 0) return undefined;
    setSocketTimeout(fd, Math.ceil(left));
    let n;
    try {
      n = receive(fd, buffer);
    } catch (e) {
      if (!(e instanceof SysError)) throw e;
      if (e.errno === Errno.EAGAIN) continue; // the deadline decides
      if (ours === undefined || ours(quotedPacket(fd, buffer))) throw e;
      continue;
    }
    const found = wanted(buffer.subarray(0, n));
    if (found !== undefined) return found;
  }
}

/** What the kernel has in a socket's error queue: the packet that an ICMP error is about (ip(7), IP_RECVERR). */
function quotedPacket(fd: number, buffer: Uint8Array): Uint8Array {
  try {
    return buffer.subarray(0, receive(fd, buffer, MSG_ERRQUEUE));
  } catch {
    return buffer.subarray(0, 0); // nothing queued: an error of the link, not of a packet
  }
}

/** The Internet checksum (RFC 1071) of an even or odd number of bytes. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
