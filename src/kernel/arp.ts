// ARP on packet sockets: RFC 826, address conflict detection by RFC 5227.
import { ipFromBytes, ipToBytes } from "../address/ip.ts";
import { macFromBytes, macToBytes } from "../address/mac.ts";
import { bind, close, send } from "./libc.ts";
import type { Link } from "./links.ts";
import type { Namespace } from "./namespaces.ts";
import { linkAddress, openIn, receiveUntil } from "./sockets.ts";

const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const ETH_P_ARP = 0x0806;
const REQUEST = 1;
/** Ethernet and IPv4 (RFC 826): types and lengths of both addresses. */
const header = [0, 1, 8, 0, 6, 4];
const broadcast = new Uint8Array(6).fill(0xff);

function packet(operation: number, senderMac: Uint8Array, senderIp: Uint8Array, targetIp: Uint8Array): Uint8Array {
  const p = new Uint8Array(28);
  const v = new DataView(p.buffer);
  p.set(header);
  v.setUint16(6, operation);
  p.set(senderMac, 8);
  p.set(senderIp, 14);
  p.set(targetIp, 24);
  return p;
}

function withSocket<T>(namespace: Namespace | undefined, link: Link, timeoutMs: number, f: (fd: number) => T): T {
  const fd = openIn(namespace, AF_PACKET, SOCK_DGRAM, 0, timeoutMs);
  try {
    bind(fd, linkAddress(link.index, ETH_P_ARP, broadcast));
    return f(fd);
  } finally {
    close(fd);
  }
}

/**
 * Asks a link's LAN who has an IPv4 address, claiming none (an ARP probe, RFC 5227 section 2.1.1), or as its owner.
 * @param link the link to ask on, as its own namespace has it
 * @param asker the link's own address in whose name it is asked (a plain ARP request, RFC 826); absent: nobody's
 * @returns the MAC of the machine that has it, or is about to take it; undefined where no other machine answered within `timeoutMs` (milliseconds). Throws `SysError`.
 */
export function probeIpv4(
  namespace: Namespace | undefined,
  link: Link,
  ip: string,
  timeoutMs: number,
  asker = "0.0.0.0",
): string | undefined {
  const own = macToBytes(link.mac ?? "00:00:00:00:00:00");
  const target = ipToBytes(ip);
  return withSocket(namespace, link, timeoutMs, (fd) => {
    send(fd, packet(REQUEST, own, ipToBytes(asker), target), linkAddress(link.index, ETH_P_ARP, broadcast));
    return receiveUntil(fd, performance.now() + timeoutMs, (answer) => {
      const mac = readArp(answer, ip);
      return mac === link.mac ? undefined : mac;
    });
  });
}

/** The MAC of the machine that has an address, or is about to take it, by an ARP packet; undefined where it says no such thing. */
export function readArp(message: Uint8Array, ip: string): string | undefined {
  if (message.length < 28 || header.some((byte, i) => message[i] !== byte)) return undefined;
  // whether request or reply, the sender says that the address is its own; or it is probing for it too
  const sender = ipFromBytes(message.slice(14, 18));
  const probes = sender === "0.0.0.0" && message[7] === REQUEST && ipFromBytes(message.slice(24, 28)) === ip;
  return sender === ip || probes ? macFromBytes(message.slice(8, 14)) : undefined;
}

/** Tells a link's LAN that an IPv4 address is here (an ARP announcement, RFC 5227 section 2.3). Throws `SysError`. */
export function announceIpv4(namespace: Namespace | undefined, link: Link, ip: string): void {
  const target = ipToBytes(ip);
  const message = packet(REQUEST, macToBytes(link.mac ?? "00:00:00:00:00:00"), target, target);
  withSocket(namespace, link, 1000, (fd) => send(fd, message, linkAddress(link.index, ETH_P_ARP, broadcast)));
}
