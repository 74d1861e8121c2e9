// Neighbour discovery on packet sockets: RFC 4861, duplicate address detection by RFC 4862.
import { ipFromBytes, ipToBytes } from "../address/ip.ts";
import { macFromBytes, macToBytes } from "../address/mac.ts";
import { bind, close, send } from "./libc.ts";
import type { Link } from "./links.ts";
import type { Namespace } from "./namespaces.ts";
import { checksum, linkAddress, openIn, receiveUntil } from "./sockets.ts";

const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const ETH_P_IPV6 = 0x86dd;
const IPPROTO_ICMPV6 = 58;
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
const OPTION_SOURCE_MAC = 1;
const OPTION_TARGET_MAC = 2;
const OVERRIDE = 0x20;
const ALL_NODES = "ff02::1";

/** An IPv6 packet with an ICMPv6 message; hop limit 255, which neighbour discovery demands (RFC 4861, 7.1). */
function packet(source: Uint8Array, destination: Uint8Array, message: Uint8Array): Uint8Array {
  const pseudo = new Uint8Array(40 + message.length);
  pseudo.set(source, 0);
  pseudo.set(destination, 16);
  new DataView(pseudo.buffer).setUint32(32, message.length);
  pseudo[39] = IPPROTO_ICMPV6;
  pseudo.set(message, 40);
  const p = new Uint8Array(40 + message.length);
  const v = new DataView(p.buffer);
  v.setUint32(0, 0x60000000);
  v.setUint16(4, message.length);
  p[6] = IPPROTO_ICMPV6;
  p[7] = 255;
  p.set(source, 8);
  p.set(destination, 24);
  p.set(message, 40);
  v.setUint16(42, checksum(pseudo));
  return p;
}

/** The Ethernet address of an IPv6 multicast address: 33:33 and its last four bytes (RFC 2464, section 7). */
function multicastMac(ip: Uint8Array): Uint8Array {
  return Uint8Array.of(0x33, 0x33, ...ip.slice(12));
}

function withSocket<T>(namespace: Namespace | undefined, link: Link, timeoutMs: number, f: (fd: number) => T): T {
  const fd = openIn(namespace, AF_PACKET, SOCK_DGRAM, 0, timeoutMs);
  try {
    bind(fd, linkAddress(link.index, ETH_P_IPV6, new Uint8Array(6)));
    return f(fd);
  } finally {
    close(fd);
  }
}

/**
 * Asks a link's LAN who has an IPv6 address, claiming none: a solicitation from :: as duplicate address detection sends it
 * (RFC 4862, 5.4.2), or as its owner.
 * @param asker the link's own address in whose name it is asked (RFC 4861, 7.2.2); absent: nobody's
 * @returns the holder's MAC; undefined where no other machine answered within `timeoutMs` (milliseconds). Throws `SysError`.
 */
export function probeIpv6(
  namespace: Namespace | undefined,
  link: Link,
  ip: string,
  timeoutMs: number,
  asker?: string,
): string | undefined {
  const target = ipToBytes(ip);
  const group = Uint8Array.of(...ipToBytes("ff02::1:ff00:0").slice(0, 13), ...target.slice(13));
  const message = new Uint8Array(asker === undefined ? 24 : 32);
  message[0] = SOLICITATION;
  message.set(target, 8);
  if (asker !== undefined) {
    message[24] = OPTION_SOURCE_MAC; // an answer to :: goes to all nodes, one to an asker needs its MAC
    message[25] = 1;
    message.set(macToBytes(link.mac ?? "00:00:00:00:00:00"), 26);
  }
  return withSocket(namespace, link, timeoutMs, (fd) => {
    const to = linkAddress(link.index, ETH_P_IPV6, multicastMac(group));
    send(fd, packet(ipToBytes(asker ?? "::"), group, message), to);
    return receiveUntil(fd, performance.now() + timeoutMs, (p) => {
      const mac = readAdvertisement(p, ip);
      return mac === link.mac ? undefined : mac;
    });
  });
}

/** The MAC that a neighbour advertisement, with its IPv6 header, tells for an address; undefined where it tells none. */
export function readAdvertisement(p: Uint8Array, ip: string): string | undefined {
  // a hop limit below 255 has crossed a router: forged (RFC 4861, 7.1.2)
  if (p[6] !== IPPROTO_ICMPV6 || p[7] !== 255 || p[40] !== ADVERTISEMENT || p.length < 64) return undefined;
  if (ipFromBytes(p.slice(48, 64)) !== ip) return undefined;
  for (let at = 64; at + 8 <= p.length; at += (p[at + 1] || 1) * 8)
    if (p[at] === OPTION_TARGET_MAC) return macFromBytes(p.slice(at + 2, at + 8));
  return undefined;
}

/** Tells a link's LAN that an IPv6 address is here (an unsolicited advertisement, RFC 4861 section 7.2.6). Throws `SysError`. */
export function announceIpv6(namespace: Namespace | undefined, link: Link, ip: string): void {
  const target = ipToBytes(ip);
  const group = ipToBytes(ALL_NODES);
  const message = new Uint8Array(32);
  message[0] = ADVERTISEMENT;
  message[4] = OVERRIDE;
  message.set(target, 8);
  message[24] = OPTION_TARGET_MAC;
  message[25] = 1;
  message.set(macToBytes(link.mac ?? "00:00:00:00:00:00"), 26);
  withSocket(namespace, link, 1000, (fd) =>
    send(fd, packet(target, group, message), linkAddress(link.index, ETH_P_IPV6, multicastMac(group))),
  );
}
