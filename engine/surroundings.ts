// What the program uses of Bun and of the web's standards, in the engine. It is a CNI call.
import { carried, YAML } from "./carrier.ts";
import { host } from "./host.ts";
import { dlopen, FFIType, ptr } from "./ffi.ts";
import { sha256 } from "./sha256.ts";
import { after } from "./waiting.ts";
import { xxHash32, xxHash64 } from "./xxhash.ts";

const STDOUT = 1;
const STDERR = 2;

/** How many bytes at the end may go on in the next piece: those of a character that is cut. */
function cutAtEnd(bytes: Uint8Array): number {
  for (let n = 1; n <= 3 && n <= bytes.length; n++) {
    const byte = bytes[bytes.length - n] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > n ? n : 0;
  }
  return 0;
}

/** UTF-8 to text, whole or piece by piece; a byte order mark at the start is left out. */
class Decoder {
  #rest = new Uint8Array(0);
  #begun = false;

  decode(bytes: Uint8Array = new Uint8Array(0), options?: { readonly stream?: boolean }): string {
    let whole = bytes;
    if (this.#rest.length > 0) {
      whole = new Uint8Array(this.#rest.length + bytes.length);
      whole.set(this.#rest);
      whole.set(bytes, this.#rest.length);
    }
    const cut = options?.stream === true ? cutAtEnd(whole) : 0;
    const text = host.decode(whole.buffer, whole.byteOffset, whole.length - cut);
    this.#rest = whole.slice(whole.length - cut);
    const first = !this.#begun;
    this.#begun = options?.stream === true && (this.#begun || text !== "");
    return first && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  }
}

class Encoder {
  encode(text = ""): Uint8Array {
    return new Uint8Array(host.encode(text));
  }
}

/** Bun.CryptoHasher, as far as the program uses it. */
class Hasher {
  #text = "";

  constructor(algorithm: string) {
    if (algorithm !== "sha256") throw new TypeError(`the engine does not know ${algorithm}`);
  }

  update(text: string): this {
    this.#text += text;
    return this;
  }

  digest(_encoding: "hex"): string {
    return sha256(new Uint8Array(host.encode(this.#text)));
  }
}

const { symbols } = dlopen("libc.so.6", {
  write: { returns: FFIType.i64 },
  getrandom: { returns: FFIType.i64 },
});

function printer(descriptor: number): (...texts: readonly unknown[]) => void {
  return (...texts) => {
    const bytes = new Uint8Array(host.encode(`${texts.join(" ")}\n`));
    symbols["write"]?.(descriptor, ptr(bytes), bytes.length);
  };
}

/** RFC 9562, version 4. */
function randomUUID(): string {
  const bytes = new Uint8Array(16);
  symbols["getrandom"]?.(ptr(bytes), bytes.length, 0);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  let digits = "";
  for (const byte of bytes) digits += (byte + 0x100).toString(16).slice(1);
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/u, "$1-$2-$3-$4-");
}

Object.assign(globalThis, {
  ...carried,
  TextDecoder: Decoder,
  TextEncoder: Encoder,
  console: { log: printer(STDOUT), error: printer(STDERR) },
  performance: { now: host.now },
  crypto: { randomUUID },
  process: {
    env: host.environment(),
    argv0: host.calledAs,
    pid: host.pid,
    arch: "x64",
    geteuid: () => host.user,
    exit: host.exit,
  },
  Bun: {
    hash: { xxHash32, xxHash64 },
    sleepSync: host.sleep,
    sleep: async (milliseconds: number): Promise<void> => {
      await new Promise<void>((resolve) => after(milliseconds, resolve));
    },
    CryptoHasher: Hasher,
    YAML,
  },
});
