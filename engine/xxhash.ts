// xxHash of 32 and 64 bits, seed 0 (its specification: github.com/Cyan4973/xxHash, doc/xxhash_spec.md), as Bun.hash has them:
// names that were made by one engine are found by the other.
import { host } from "./host.ts";

const PRIME32_1 = 0x9e3779b1 | 0;
const PRIME32_2 = 0x85ebca77 | 0;
const PRIME32_3 = 0xc2b2ae3d | 0;
const PRIME32_4 = 0x27d4eb2f;
const PRIME32_5 = 0x165667b1;

function rotate(x: number, by: number): number {
  return (x << by) | (x >>> (32 - by));
}

function round(sum: number, lane: number): number {
  return Math.imul(rotate((sum + Math.imul(lane, PRIME32_2)) | 0, 13), PRIME32_1);
}

/** Of a text's UTF-8. */
export function xxHash32(text: string): number {
  const v = new DataView(host.encode(text));
  const length = v.byteLength;
  let at = 0;
  let h = PRIME32_5;
  if (length >= 16) {
    let [a, b, c, d] = [(PRIME32_1 + PRIME32_2) | 0, PRIME32_2, 0, -PRIME32_1 | 0];
    for (; at + 16 <= length; at += 16) {
      a = round(a, v.getInt32(at, true));
      b = round(b, v.getInt32(at + 4, true));
      c = round(c, v.getInt32(at + 8, true));
      d = round(d, v.getInt32(at + 12, true));
    }
    h = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
  }
  h = (h + length) | 0;
  for (; at + 4 <= length; at += 4)
    h = Math.imul(rotate((h + Math.imul(v.getInt32(at, true), PRIME32_3)) | 0, 17), PRIME32_4);
  for (; at < length; at++) h = Math.imul(rotate((h + Math.imul(v.getUint8(at), PRIME32_5)) | 0, 11), PRIME32_1);
  h = Math.imul(h ^ (h >>> 15), PRIME32_2);
  h = Math.imul(h ^ (h >>> 13), PRIME32_3);
  return (h ^ (h >>> 16)) >>> 0;
}

const PRIME64_1 = 0x9e3779b185ebca87n;
const PRIME64_2 = 0xc2b2ae3d27d4eb4fn;
const PRIME64_3 = 0x165667b19e3779f9n;
const PRIME64_4 = 0x85ebca77c2b2ae63n;
const PRIME64_5 = 0x27d4eb2f165667c5n;

function u64(x: bigint): bigint {
  return BigInt.asUintN(64, x);
}

function rotate64(x: bigint, by: bigint): bigint {
  return u64(x << by) | (x >> (64n - by));
}

function round64(sum: bigint, lane: bigint): bigint {
  return u64(rotate64(u64(sum + lane * PRIME64_2), 31n) * PRIME64_1);
}

function merged(h: bigint, sum: bigint): bigint {
  return u64((h ^ round64(0n, sum)) * PRIME64_1 + PRIME64_4);
}

/** Of a text's UTF-8. */
export function xxHash64(text: string): bigint {
  const v = new DataView(host.encode(text));
  const length = v.byteLength;
  let at = 0;
  let h = PRIME64_5;
  if (length >= 32) {
    let [a, b, c, d] = [u64(PRIME64_1 + PRIME64_2), PRIME64_2, 0n, u64(-PRIME64_1)];
    for (; at + 32 <= length; at += 32) {
      a = round64(a, v.getBigUint64(at, true));
      b = round64(b, v.getBigUint64(at + 8, true));
      c = round64(c, v.getBigUint64(at + 16, true));
      d = round64(d, v.getBigUint64(at + 24, true));
    }
    h = u64(rotate64(a, 1n) + rotate64(b, 7n) + rotate64(c, 12n) + rotate64(d, 18n));
    for (const sum of [a, b, c, d]) h = merged(h, sum);
  }
  h = u64(h + BigInt(length));
  for (; at + 8 <= length; at += 8)
    h = u64(rotate64(h ^ round64(0n, v.getBigUint64(at, true)), 27n) * PRIME64_1 + PRIME64_4);
  if (at + 4 <= length) {
    h = u64(rotate64(h ^ u64(BigInt(v.getUint32(at, true)) * PRIME64_1), 23n) * PRIME64_2 + PRIME64_3);
    at += 4;
  }
  for (; at < length; at++) h = u64(rotate64(h ^ u64(BigInt(v.getUint8(at)) * PRIME64_5), 11n) * PRIME64_1);
  h = u64((h ^ (h >> 33n)) * PRIME64_2);
  h = u64((h ^ (h >> 29n)) * PRIME64_3);
  return h ^ (h >> 32n);
}
