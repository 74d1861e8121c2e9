import { writeTogether } from "./aio.ts";
import { Attributes } from "./attributes.ts";
import { Errno, SysError } from "./errno.ts";
import { close, receive, send, setSocketInt, setSocketTimeout, socket } from "./libc.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_ROUTE = 0;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLM_F_DUMP = 0x300;
const NLMSGERR_ATTR_MSG = 1;

/** A request that makes something (include/uapi/linux/netlink.h): replace what is there. */
export const NLM_F_REPLACE = 0x100;
/** Not where it is there already. */
export const NLM_F_EXCL = 0x200;
/** Make it where it is not there. */
export const NLM_F_CREATE = 0x400;

const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const MSG_DONTWAIT = 0x40;
const HEADER = 16;
const RECEIVE_TIMEOUT_MS = 5000;
const DUMP_ATTEMPTS = 20;
/** Acknowledgements of one send must fit into the socket's receive buffer (212,992 bytes by default, about 800 an ack). */
const BATCH = 64;

/** One rtnetlink request: what to send, and how to speak of it when it fails. */
export interface Request {
  /** As an error shall name it: "create macvlan eth0 on eth1". */
  readonly what: string;
  /** RTM_… */
  readonly type: number;
  /** NLM_F_… beside NLM_F_REQUEST and NLM_F_ACK. */
  readonly flags: number;
  /** The message after its netlink header. */
  readonly body: Uint8Array;
}

interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** Encodes messages with their headers, each padded to four bytes, under sequence numbers from `first` on. */
export function encodeMessages(requests: readonly Request[], flags: number, first: number): Uint8Array {
  let size = 0;
  for (const { body } of requests) size += (HEADER + body.length + 3) & ~3;
  const bytes = new Uint8Array(size);
  const v = new DataView(bytes.buffer);
  let at = 0;
  let sequence = first;
  for (const request of requests) {
    const length = HEADER + request.body.length;
    v.setUint32(at, length, true);
    v.setUint16(at + 4, request.type, true);
    v.setUint16(at + 6, request.flags | flags, true);
    v.setUint32(at + 8, sequence++, true);
    bytes.set(request.body, at + HEADER);
    at += (length + 3) & ~3;
  }
  return bytes;
}

/** Splits what one receive brought into messages; stops at the first malformed one. */
export function decodeMessages(bytes: Uint8Array): Message[] {
  const all: Message[] = [];
  const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + HEADER <= bytes.length;) {
    const length = v.getUint32(at, true);
    if (length < HEADER || at + length > bytes.length) break;
    all.push({
      type: v.getUint16(at + 4, true),
      flags: v.getUint16(at + 6, true),
      sequence: v.getUint32(at + 8, true),
      payload: bytes.slice(at + HEADER, at + length),
    });
    at += (length + 3) & ~3;
  }
  return all;
}

/** The error in an NLMSG_ERROR or NLMSG_DONE message, with the kernel's extended-ack text; undefined for an ack. */
export function messageError(message: Message, what: string): SysError | undefined {
  const { payload, flags } = message;
  if (payload.length < 4) return undefined;
  const v = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const errno = -v.getInt32(0, true);
  if (errno === 0) return undefined;
  let explanation = "";
  if ((flags & NLM_F_ACK_TLVS) !== 0) {
    // after the error code: for ERROR the request's header, and without CAPPED its payload too
    let at = 4;
    if (message.type === NLMSG_ERROR) {
      const length = (flags & NLM_F_CAPPED) === 0 && payload.length >= 8 ? v.getUint32(4, true) : HEADER;
      at += length > payload.length ? payload.length : Math.max(HEADER, (length + 3) & ~3);
    }
    explanation = new Attributes(payload, at).string(NLMSGERR_ATTR_MSG) ?? "";
  }
  return new SysError(what, errno, explanation);
}

// One buffer for all receives of the process: everything here is synchronous. 64 KiB holds the largest dump part (32 KiB).
const buffer = new Uint8Array(65536);

/** What a socket is for. */
export interface NetlinkOptions {
  /** The netlink family of include/uapi/linux/netlink.h; absent: rtnetlink. */
  readonly protocol?: number;
  /** Bytes, of which the kernel takes its own minimum or twice as many; absent: the system's default. */
  readonly receiveBuffer?: number;
}

/**
 * One netlink socket. It stays in the network namespace that it was opened in (this thread's), so it can be used from
 * anywhere later. Not for concurrent use; every call is synchronous and bounded by a receive timeout of 5 s.
 */
export class Netlink implements Disposable {
  readonly #fd: number;
  #sequence = 0;

  /** Throws `SysError`. */
  constructor({ protocol = NETLINK_ROUTE, receiveBuffer }: NetlinkOptions = {}) {
    this.#fd = socket(AF_NETLINK, SOCK_RAW, protocol);
    setSocketTimeout(this.#fd, RECEIVE_TIMEOUT_MS);
    if (receiveBuffer !== undefined) setSocketInt(this.#fd, SOL_SOCKET, SO_RCVBUF, receiveBuffer);
    setSocketInt(this.#fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    setSocketInt(this.#fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
    setSocketInt(this.#fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  }

  #receive(what: string, flags = 0): Message[] {
    try {
      const n = receive(this.#fd, buffer, flags);
      return decodeMessages(buffer.subarray(0, n));
    } catch (e) {
      throw e instanceof SysError ? new SysError(`${what}: ${e.call}`, e.errno) : e;
    }
  }

  /** Sends one request and waits for its acknowledgement. Throws `SysError`. */
  do(request: Request): void {
    const error = this.batch([request])[0];
    if (error !== undefined) throw error;
  }

  /**
   * Sends requests in one go; the kernel carries out all of them in order, those after a failed one too.
   * @returns for each request its error, or undefined where it was carried out. One whose answer was lost (ENOBUFS) or
   * never came (EAGAIN) counts as failed, though it may have been carried out.
   */
  batch(requests: readonly Request[]): (SysError | undefined)[] {
    if (requests.length > BATCH) return [...this.batch(requests.slice(0, BATCH)), ...this.batch(requests.slice(BATCH))];
    const first = this.#sequence + 1;
    send(this.#fd, this.#encode(requests));
    return this.#acknowledgements(requests, first);
  }

  #encode(requests: readonly Request[]): Uint8Array {
    const first = this.#sequence + 1;
    this.#sequence += requests.length;
    return encodeMessages(requests, NLM_F_REQUEST | NLM_F_ACK, first);
  }

  /**
   * One request to each of several sockets. Where the kernel makes each of them wait, as for the deletion of a link, they
   * wait together.
   * @returns for each request its error, as {@link batch} does
   */
  static together(requests: readonly { readonly nl: Netlink; readonly request: Request }[]): (SysError | undefined)[] {
    const sent = requests.map(({ nl, request }) => {
      const first = nl.#sequence + 1;
      return { nl, request, first, bytes: nl.#encode([request]) };
    });
    const errnos = writeTogether(sent.map(({ nl, bytes }) => ({ fd: nl.#fd, bytes })));
    return sent.map(({ nl, request, first, bytes }, i) => {
      const errno = errnos?.[i];
      if (errno === undefined) send(nl.#fd, bytes);
      else if (errno !== 0) return new SysError(request.what, errno);
      return nl.#acknowledgements([request], first)[0];
    });
  }

  /** The answers to requests that were sent, of which the first had this sequence number. */
  #acknowledgements(requests: readonly Request[], first: number): (SysError | undefined)[] {
    const errors: (SysError | undefined)[] = [];
    for (const _ of requests) errors.push(undefined);
    const answered: boolean[] = [];
    let missing = requests.length;
    let lost: number | undefined;
    const what = requests[0]?.what ?? "";
    while (missing > 0) {
      let messages;
      try {
        messages = this.#receive(what, lost === undefined ? 0 : MSG_DONTWAIT);
      } catch (e) {
        if (!(e instanceof SysError)) throw e;
        // rtnetlink answers within send: after an overrun what is not in the queue by now never comes
        if (e.errno === Errno.ENOBUFS) {
          lost = e.errno;
          continue;
        }
        const errno = lost ?? e.errno;
        return requests.map((r, i) => (answered[i] === true ? errors[i] : new SysError(r.what, errno)));
      }
      for (const m of messages) {
        const i = m.sequence - first;
        const request = requests[i];
        if (m.type !== NLMSG_ERROR || request === undefined || answered[i] === true) continue;
        errors[i] = messageError(m, request.what);
        answered[i] = true;
        missing--;
      }
    }
    return errors;
  }

  /** Sends one request that is answered by one message, and returns its payload. Throws `SysError`. */
  get(request: Request): Uint8Array {
    const sequence = ++this.#sequence;
    send(this.#fd, encodeMessages([request], NLM_F_REQUEST, sequence));
    for (;;) {
      for (const m of this.#receive(request.what)) {
        if (m.sequence !== sequence) continue;
        if (m.type !== NLMSG_ERROR) return m.payload;
        throw messageError(m, request.what) ?? new SysError(request.what, Errno.ENOENT);
      }
    }
  }

  /** {@link get}; undefined where the kernel's errno is one of `missing` (by default: no such device, entry or route). */
  find(
    request: Request,
    missing: readonly number[] = [Errno.ENODEV, Errno.ENOENT, Errno.ESRCH],
  ): Uint8Array | undefined {
    try {
      return this.get(request);
    } catch (e) {
      if (e instanceof SysError && missing.includes(e.errno)) return undefined;
      throw e;
    }
  }

  /**
   * Asks for all objects of a sort and returns their payloads. A dump that a change interrupted (NLM_F_DUMP_INTR) or
   * whose answers did not fit (ENOBUFS) is asked for again, at most 20 times. Throws `SysError`.
   */
  dump(request: Request): Uint8Array[] {
    for (let attempt = 1; ; attempt++) {
      const all = this.#dumpOnce(request);
      if (all !== undefined) return all;
      if (attempt === DUMP_ATTEMPTS) throw new SysError(`${request.what}: changed while it was read`, Errno.EINTR);
    }
  }

  #dumpOnce(request: Request): Uint8Array[] | undefined {
    const sequence = ++this.#sequence;
    send(this.#fd, encodeMessages([request], NLM_F_REQUEST | NLM_F_DUMP, sequence));
    const all: Uint8Array[] = [];
    for (let whole = true; ;) {
      let messages;
      try {
        messages = this.#receive(request.what);
      } catch (e) {
        if (e instanceof SysError && e.errno === Errno.ENOBUFS) return undefined;
        throw e;
      }
      for (const m of messages) {
        if (m.sequence !== sequence) continue;
        if ((m.flags & NLM_F_DUMP_INTR) !== 0) whole = false;
        if (m.type === NLMSG_DONE || m.type === NLMSG_ERROR) {
          const error = messageError(m, request.what);
          if (error !== undefined) throw error;
          return whole ? all : undefined;
        }
        all.push(m.payload);
      }
    }
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    close(this.#fd);
  }
}
