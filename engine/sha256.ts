// SHA-256 (FIPS 180-4), for names of files.

const WORDS = 64;
const BLOCK = 64;

/** The first 32 bits behind the point of a number. */
function fraction(x: number): number {
  return Math.floor((x - Math.floor(x)) * 2 ** 32);
}

/** Constants of sections 4.2.2 and 5.3.3: of the cube roots, and the square roots, of the first primes. */
function constants(): { readonly k: Int32Array; readonly h: Int32Array } {
  const primes: number[] = [];
  for (let n = 2; primes.length < WORDS; n++) if (primes.every((p) => n % p !== 0)) primes.push(n);
  return {
    k: Int32Array.from(primes, (p) => fraction(Math.cbrt(p))),
    h: Int32Array.from(primes.slice(0, 8), (p) => fraction(Math.sqrt(p))),
  };
}

/** The message with its padding (5.1.1). */
function padded(message: Uint8Array): DataView {
  const bytes = new Uint8Array(Math.ceil((message.length + 9) / BLOCK) * BLOCK);
  bytes.set(message);
  bytes[message.length] = 0x80;
  const view = new DataView(bytes.buffer);
  view.setUint32(bytes.length - 8, Math.floor(message.length / 2 ** 29));
  view.setUint32(bytes.length - 4, message.length << 3);
  return view;
}

function rotated(x: number, n: number): number {
  return (x >>> n) | (x << (32 - n));
}

/** A message's digest as hexadecimal digits. */
export function sha256(message: Uint8Array): string {
  const { k, h } = constants();
  const view = padded(message);
  const w = new Int32Array(WORDS);
  for (let start = 0; start < view.byteLength; start += BLOCK) {
    for (let t = 0; t < WORDS; t++) {
      if (t < 16) {
        w[t] = view.getInt32(start + t * 4);
        continue;
      }
      const [before2, before15] = [w[t - 2] ?? 0, w[t - 15] ?? 0];
      const s1 = rotated(before2, 17) ^ rotated(before2, 19) ^ (before2 >>> 10);
      const s0 = rotated(before15, 7) ^ rotated(before15, 18) ^ (before15 >>> 3);
      w[t] = s1 + (w[t - 7] ?? 0) + s0 + (w[t - 16] ?? 0);
    }
    let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, last = 0] = h;
    for (let t = 0; t < WORDS; t++) {
      const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const t1 = (last + s1 + ((e & f) ^ (~e & g)) + (k[t] ?? 0) + (w[t] ?? 0)) | 0;
      const s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      last = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    [a, b, c, d, e, f, g, last].forEach((x, i) => (h[i] = (h[i] ?? 0) + x));
  }
  return [...h].map((x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}
