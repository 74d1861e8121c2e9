// ICMP echo of both families (RFC 792, RFC 4443), on raw sockets.
import { ipFamily, ipToBytes } from "../address/ip.ts";
import { errnoText, SysError } from "./errno.ts";
import { bind, close, send, setSocketInt } from "./libc.ts";
import type { Namespace } from "./namespaces.ts";
import { bindToLink, checksum, openIn, receiveUntil, socketAddress, socketFamily } from "./sockets.ts";

const SOCK_RAW = 3;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
// include/uapi/linux/in.h, in6.h
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
const IPV6_MTU_DISCOVER = 23;
const IPV6_RECVERR = 25;
const PMTUDISC_PROBE = 3;

/** How to ask. */
export interface PingOptions {
  /** Absent: the kernel's choice. */
  readonly source?: string;
  /** Send by this link only. */
  readonly linkName?: string;
  /** How long to wait for the reply, milliseconds; absent: 1000. */
  readonly timeoutMs?: number;
  /** Payload, bytes. */
  readonly size?: number;
  /** Forbid fragmentation, and ignore what the kernel knows of the path's MTU. */
  readonly dontFragment?: boolean;
}

/** What came of a probe. */
export type Answer =
  | { readonly ok: true; readonly milliseconds: number }
  | { readonly ok: false; readonly why: string };

let sequence = 0;

/**
 * Sends one echo request from a namespace (absent: this thread's) and waits for its reply, by default for 1 s. Never
 * throws: what the kernel refuses becomes `why`.
 */
export function ping(namespace: Namespace | undefined, destination: string, options: PingOptions = {}): Answer {
  const timeoutMs = options.timeoutMs ?? 1000;
  const six = ipFamily(destination) === 6;
  let fd: number | undefined;
  try {
    fd = openIn(namespace, socketFamily(destination), SOCK_RAW, six ? IPPROTO_ICMPV6 : IPPROTO_ICMP, timeoutMs);
    if (options.linkName !== undefined) bindToLink(fd, options.linkName);
    // a raw socket hears of ICMP errors (a router's "unreachable", "too big") only where it asks to
    if (six) setSocketInt(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    else setSocketInt(fd, IPPROTO_IP, IP_RECVERR, 1);
    if (options.dontFragment === true) {
      if (six) setSocketInt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE);
      else setSocketInt(fd, IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE);
    }
    if (options.source !== undefined) bind(fd, socketAddress(options.source, 0));
    sequence = (sequence + 1) & 0xffff;
    const id = Math.floor(Math.random() * 0x10000); // not the pid: every container has a process 1
    const request = echo(six, id, sequence, options.size ?? 56);
    const start = performance.now();
    send(fd, request, socketAddress(destination, 0));
    const from = ipToBytes(destination);
    const replied = (packet: Uint8Array): true | undefined => {
      // a raw IPv4 socket delivers the IP header too, a raw IPv6 socket does not
      const header = six ? 0 : ((packet[0] ?? 0) & 0xf) * 4;
      if (packet[header] !== (six ? 129 : 0)) return undefined;
      if (!six && !from.every((byte, i) => packet[12 + i] === byte)) return undefined;
      return isEchoOf(request, packet.subarray(header)) ? true : undefined;
    };
    // an error quotes at least 8 bytes of what was sent: enough for identifier and sequence number
    const quotes = (quoted: Uint8Array): boolean =>
      quoted.length === 0 || request.subarray(4, 8).every((byte, i) => quoted[4 + i] === byte);
    const reply = receiveUntil(fd, start + timeoutMs, replied, quotes);
    if (reply === undefined) return { ok: false, why: `no reply within ${timeoutMs} ms` };
    return { ok: true, milliseconds: performance.now() - start };
  } catch (e) {
    if (e instanceof SysError) return { ok: false, why: `${e.call}: ${errnoText(e.errno)}` };
    throw e;
  } finally {
    if (fd !== undefined) close(fd);
  }
}

/** Whether a reply carries the request's identifier, sequence number and data, all of them (RFC 792, RFC 4443 section 4.2). */
function isEchoOf(request: Uint8Array, reply: Uint8Array): boolean {
  return reply.length === request.length && request.subarray(4).every((byte, i) => reply[4 + i] === byte);
}

function echo(six: boolean, id: number, number: number, size: number): Uint8Array {
  const packet = new Uint8Array(8 + size);
  const v = new DataView(packet.buffer);
  packet[0] = six ? 128 : 8;
  v.setUint16(4, id);
  v.setUint16(6, number);
  for (let i = 8; i < packet.length; i++) packet[i] = i & 0xff;
  if (!six) v.setUint16(2, checksum(packet)); // for ICMPv6 the kernel fills it in (RFC 3542)
  return packet;
}
