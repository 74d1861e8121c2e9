// Changes to good samples, with the sample's structure in mind: what is left is near enough to the real thing to get deep
// into the code that reads it.
import type { Random } from "./random.ts";

const LONG = "a".repeat(300);

/** What names, paths and labels may be made of by somebody who means harm, or by accident. */
const hostileTexts: readonly string[] = [
  "",
  " ",
  ".",
  "..",
  "../../etc/passwd",
  "/etc/passwd",
  "a/../../b",
  "a\0b",
  "\0",
  "a\nb",
  "\r\n",
  "a\u001b[2Jb",
  LONG,
  "\u0435th0", // a Cyrillic e
  "eth\uff10", // a full-width zero
  "\u2024\u2024\uff0fetc", // one dot leaders and a full-width slash
  "caf\u0065\u0301",
  "\u202eeth0",
  "\ud800", // half a pair
  "\u{1f600}".repeat(15),
  "$(touch /tmp/x)",
  "`id`",
  "'; rm -rf / #",
  '"',
  "\\",
  "-rf",
  "--help",
  "%s%n",
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "null",
  "0",
  "-1",
  "1e9",
  "NaN",
  "010.1.2.3",
  "1.2.3.4.5",
  "256.1.1.1",
  "10.0.0.1/33",
  "10.0.0.0/0",
  "0.0.0.0/0",
  "::/0",
  "::1/128",
  "::",
  "fe80::1%eth0",
  "::ffff:10.0.0.1",
  "fd00::/8",
  "10.0.0.0/31",
  "10.0.0.255/24",
  "255.255.255.255",
  "02:00:00:00:00:01",
  "ff:ff:ff:ff:ff:ff",
  "00:00:00:00:00:00",
  "http://",
  "http://[::1",
  "//host/path",
  "req-1\r\nx-evil: 1",
];

const hostileNumbers: readonly number[] = [
  0,
  -0,
  -1,
  1,
  2,
  255,
  256,
  4094,
  4095,
  65535,
  65536,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  1.5,
  1e308,
  -1e308,
  5e-324,
];

/** A text from outside: one that is known to hurt, or letters and signs at random. */
export function hostileText(r: Random): string {
  if (r.once(500)) return "x".repeat(5000);
  if (!r.once(4)) return r.pick(hostileTexts);
  return String.fromCodePoint(...Array.from({ length: r.int(20) }, () => r.int(r.once(3) ? 0x3000 : 0x80)));
}

/** A value of any kind. */
function hostileValue(r: Random, depth = 0): unknown {
  switch (r.int(depth > 3 ? 6 : 10)) {
    case 0:
      return null;
    case 1:
      return r.once(2);
    case 2:
      return r.once(3) ? r.next() : r.pick(hostileNumbers);
    case 3:
    case 4:
    case 5:
      return hostileText(r);
    case 6:
      return nested(r, r.once(200) ? 700 : 5);
    case 7:
      if (r.once(200)) return Array.from({ length: 1000 }, () => hostileText(r));
      return Array.from({ length: r.int(4) }, () => hostileValue(r, depth + 1));
    default: {
      const all: Record<string, unknown> = {};
      for (let i = r.int(4); i > 0; i--) setOwn(all, hostileText(r), hostileValue(r, depth + 1));
      return all;
    }
  }
}

function nested(r: Random, depth: number): unknown {
  let value: unknown = hostileText(r);
  const list = r.once(2);
  for (let i = 0; i < depth; i++) value = list ? [value] : { a: value };
  return value;
}

/** Sets a key as JSON.parse does: `__proto__` is a key like any other. */
export function setOwn(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, writable: true, configurable: true });
}

function isContainer(value: unknown): value is Record<string, unknown> | unknown[] {
  return typeof value === "object" && value !== null && !(value instanceof Uint8Array);
}

function copy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copy);
  if (!isContainer(value)) return value;
  const all = {};
  for (const [k, v] of Object.entries(value)) setOwn(all, k, copy(v));
  return all;
}

/** All places of a value that can be changed: a container and a key. */
function placesOf(value: unknown, all: { in: Record<string, unknown> | unknown[]; key: string }[] = []): typeof all {
  if (!isContainer(value)) return all;
  for (const [key, below] of Object.entries(value)) {
    all.push({ in: value, key });
    placesOf(below, all);
  }
  return all;
}

function change(r: Random, value: unknown): unknown {
  if (typeof value === "string" && !r.once(3)) return mutateText(r, value);
  if (typeof value === "number" && !r.once(3)) return r.once(2) ? value + r.int(5) - 2 : r.pick(hostileNumbers);
  if (typeof value === "boolean" && r.once(2)) return !value;
  return hostileValue(r);
}

/** A sample with some of its values, keys and elements changed, added, exchanged or taken away. The sample stays as it is. */
export function mutateJson(r: Random, sample: unknown): unknown {
  if (r.once(200)) return hostileValue(r);
  const root = { value: copy(sample) };
  for (let n = 1 + (r.once(3) ? r.int(6) : 0); n > 0; n--) {
    const places = placesOf(root);
    const { in: container, key } = r.pick(places);
    const value = (container as Record<string, unknown>)[key];
    const other = r.pick(places);
    switch (r.int(8)) {
      case 0:
        if (container === root) break;
        if (Array.isArray(container)) container.splice(Number(key), 1);
        else delete container[key];
        break;
      case 1:
        if (Array.isArray(value)) value.push(value.length > 0 && r.once(2) ? copy(value[0]) : hostileValue(r));
        else if (isContainer(value)) setOwn(value, hostileText(r), hostileValue(r));
        break;
      case 2:
        setOwn(container, key, copy((other.in as Record<string, unknown>)[other.key])); // a good value in a wrong place
        break;
      case 3:
        if (!Array.isArray(container) && container !== root) {
          delete container[key];
          setOwn(container, r.once(2) ? other.key : mutateText(r, key), value);
        }
        break;
      default:
        setOwn(container, key, change(r, value));
    }
  }
  return root.value;
}

/** A text with parts of it cut, doubled, exchanged, or replaced by something hostile. */
export function mutateText(r: Random, sample: string): string {
  let text = sample;
  for (let n = 1 + (r.once(4) ? r.int(4) : 0); n > 0; n--) {
    const at = r.int(text.length + 1);
    const length = r.once(3) ? r.int(text.length + 1) : r.int(4);
    const [before, inside, after] = [text.slice(0, at), text.slice(at, at + length), text.slice(at + length)];
    switch (r.int(6)) {
      case 0:
        text = before + after;
        break;
      case 1:
        text = before + inside + inside + after;
        break;
      case 2:
        text = before; // cut short
        break;
      case 3:
        text = before + String.fromCodePoint(r.int(r.once(4) ? 0x2100 : 0x80)) + inside + after;
        break;
      default:
        text = before + hostileText(r) + after;
    }
    if (text.length > 20_000) text = text.slice(0, 20_000);
  }
  return text;
}

/** Bytes with some of them changed, cut, doubled; sixteen-bit and thirty-two-bit lengths are made wrong in particular. */
export function mutateBytes(r: Random, sample: Uint8Array): Uint8Array {
  let bytes: Uint8Array = Uint8Array.from(sample);
  for (let n = 1 + r.int(4); n > 0; n--) {
    const at = r.int(bytes.length + 1);
    switch (r.int(6)) {
      case 0:
        bytes = bytes.slice(0, at);
        break;
      case 1:
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...r.bytes(r.int(9)), ...bytes.subarray(at));
        break;
      case 2:
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(at + r.int(9)));
        break;
      case 3: {
        const word = at & ~3;
        if (word + 2 <= bytes.length) {
          new DataView(bytes.buffer, bytes.byteOffset).setUint16(
            word,
            r.pick([0, 1, 3, 4, 5, 0xffff, r.int(200)]),
            true,
          );
        }
        break;
      }
      default:
        if (at < bytes.length) bytes[at] = r.once(2) ? r.int(256) : r.pick([0, 1, 2, 4, 10, 0x7f, 0x80, 0xff]);
    }
  }
  return bytes;
}
