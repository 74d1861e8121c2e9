// The wire form of netlink attributes: struct nlattr, native byte order (include/uapi/linux/netlink.h).
const NLA_TYPE_MASK = 0x3fff;
const NLA_F_NESTED = 0x8000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Writes fixed headers and attributes one after another into one growing buffer. */
export class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  /** Appends one byte. */
  u8(value: number): this {
    this.#reserve(1);
    this.#view.setUint8(this.#length, value);
    this.#length += 1;
    return this;
  }

  /** Appends two bytes, little endian. */
  u16(value: number): this {
    this.#reserve(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
    return this;
  }

  /** Appends four bytes, little endian. */
  u32(value: number): this {
    this.#reserve(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  /** Appends bytes as they are. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** Appends an attribute, padded to four bytes. Throws `RangeError` for a payload of more than 65,531 bytes. */
  attribute(type: number, payload: Uint8Array): this {
    checkLength(4 + payload.length);
    this.u16(4 + payload.length)
      .u16(type)
      .raw(payload);
    while (this.#length % 4 !== 0) this.u8(0);
    return this;
  }

  /** Appends an attribute that holds a u8. */
  attributeU8(type: number, value: number): this {
    return this.u16(5)
      .u16(type)
      .u32(value & 0xff); // with its padding
  }

  /** Appends an attribute that holds a u16, little endian. */
  attributeU16(type: number, value: number): this {
    return this.u16(6)
      .u16(type)
      .u32(value & 0xffff); // with its padding
  }

  /** Appends an attribute that holds a u16, big endian (protocol numbers, ports). */
  attributeU16BigEndian(type: number, value: number): this {
    return this.u16(6)
      .u16(type)
      .u32(((value & 0xff) << 8) | (value >>> 8)); // with its padding
  }

  /** Appends an attribute that holds a u32 (or the bits of an s32), little endian. */
  attributeU32(type: number, value: number): this {
    return this.u16(8).u16(type).u32(value);
  }

  /** Appends an attribute that holds a string with its terminating NUL. */
  attributeString(type: number, value: string): this {
    return this.attribute(type, encoder.encode(`${value}\0`));
  }

  /** Appends an attribute that holds the attributes `fill` writes. Throws `RangeError` where they exceed 65,531 bytes. */
  nest(type: number, fill: (w: Writer) => void): this {
    const start = this.#length;
    this.u16(0).u16(type | NLA_F_NESTED);
    fill(this);
    checkLength(this.#length - start);
    this.#view.setUint16(start, this.#length - start, true);
    return this;
  }

  /** What was written. The buffer is the writer's own: write no more afterwards. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** Attributes by type; of a repeated type the last stands. Reading stops at the first malformed one, as the kernel does. */
export class Attributes {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  // Of a link's fifty attributes a caller reads ten: so much of each is noted, and in lists, as code that runs once in a
  // process takes a tenth of the time with array elements that it takes with a DataView and a Map.
  readonly #types: number[] = [];
  /** Where each begins. */
  readonly #starts: number[] = [];

  constructor(bytes: Uint8Array, offset = 0) {
    this.#bytes = bytes;
    this.#view = view(bytes);
    const [types, starts] = [this.#types, this.#starts];
    let count = 0;
    for (let at = offset; at + 4 <= bytes.length; count++) {
      const length = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
      if (length < 4 || at + length > bytes.length) break;
      types[count] = ((bytes[at + 2] ?? 0) | ((bytes[at + 3] ?? 0) << 8)) & NLA_TYPE_MASK;
      starts[count] = at;
      at += (length + 3) & ~3;
    }
  }

  /** Where the attribute of a type begins. */
  #start(type: number): number | undefined {
    const i = this.#types.lastIndexOf(type);
    return i < 0 ? undefined : this.#starts[i];
  }

  /** Where the payload of an attribute of at least so many bytes begins; undefined where it is absent or shorter. */
  #payload(type: number, least: number): number | undefined {
    const at = this.#start(type);
    return at === undefined || this.#view.getUint16(at, true) - 4 < least ? undefined : at + 4;
  }

  /** The payload of an attribute. */
  bytes(type: number): Uint8Array | undefined {
    const at = this.#start(type);
    return at === undefined ? undefined : this.#bytes.subarray(at + 4, at + this.#view.getUint16(at, true));
  }

  /** A u8; undefined where the attribute is absent or too short. */
  u8(type: number): number | undefined {
    const at = this.#payload(type, 1);
    return at === undefined ? undefined : this.#bytes[at];
  }

  /** A u16, little endian; undefined where the attribute is absent or too short. */
  u16(type: number): number | undefined {
    const at = this.#payload(type, 2);
    return at === undefined ? undefined : this.#view.getUint16(at, true);
  }

  /** A u16, big endian; undefined where the attribute is absent or too short. */
  u16BigEndian(type: number): number | undefined {
    const at = this.#payload(type, 2);
    return at === undefined ? undefined : this.#view.getUint16(at, false);
  }

  /** A u32, little endian; undefined where the attribute is absent or too short. */
  u32(type: number): number | undefined {
    const at = this.#payload(type, 4);
    return at === undefined ? undefined : this.#view.getUint32(at, true);
  }

  /** A u32, big endian; undefined where the attribute is absent or too short. */
  u32BigEndian(type: number): number | undefined {
    const at = this.#payload(type, 4);
    return at === undefined ? undefined : this.#view.getUint32(at, false);
  }

  /** A string up to its NUL. */
  string(type: number): string | undefined {
    const b = this.bytes(type);
    if (b === undefined) return undefined;
    const end = b.indexOf(0);
    return decoder.decode(end < 0 ? b : b.subarray(0, end));
  }

  /** The attributes inside an attribute; none where it is absent. */
  nested(type: number): Attributes {
    return new Attributes(this.bytes(type) ?? new Uint8Array(0));
  }
}

/** nla_len has 16 bits: what is longer would be read by the kernel as something shorter, and the rest as other attributes. */
function checkLength(length: number): void {
  if (length > 0xffff) throw new RangeError(`a netlink attribute of ${length} bytes: 65535 is the most`);
}

function view(b: Uint8Array): DataView {
  return new DataView(b.buffer, b.byteOffset, b.length);
}

/** All attributes in their order, repeated types included; stops at the first malformed one. */
export function listAttributes(bytes: Uint8Array, offset = 0): { type: number; payload: Uint8Array }[] {
  const all: { type: number; payload: Uint8Array }[] = [];
  const v = view(bytes);
  for (let at = offset; at + 4 <= bytes.length;) {
    const length = v.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    all.push({ type: v.getUint16(at + 2, true) & NLA_TYPE_MASK, payload: bytes.subarray(at + 4, at + length) });
    at += (length + 3) & ~3;
  }
  return all;
}
