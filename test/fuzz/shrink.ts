// Making a case that fails smaller: what can be taken away without changing what it fails with is not part of the reason.
import { setOwn } from "./mutate.ts";

/** After so many tries the smallest so far is good enough. */
const TRIES = 4000;

function* smallerTexts(text: string): Generator<string> {
  for (let size = text.length; size >= 1; size = size >> 1)
    for (let at = 0; at < text.length; at += size) yield text.slice(0, at) + text.slice(at + size);
}

function* smallerBytes(bytes: Uint8Array): Generator<Uint8Array> {
  for (let size = bytes.length; size >= 1; size = size >> 1) {
    for (let at = 0; at < bytes.length; at += size)
      yield Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(at + size));
  }
  for (const [i, byte] of bytes.entries()) if (byte !== 0) yield bytes.with(i, 0);
}

/** Values that are a little smaller than this one, the most daring first. */
function* smaller(value: unknown): Generator {
  if (typeof value === "string") yield* smallerTexts(value);
  else if (value instanceof Uint8Array) yield* smallerBytes(value);
  else if (Array.isArray(value)) {
    for (let size = value.length; size >= 1; size = size >> 1)
      for (let at = 0; at < value.length; at += size) yield value.toSpliced(at, size);
    for (const [i, item] of value.entries()) {
      yield item;
      for (const less of smaller(item)) yield value.with(i, less);
    }
  } else if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value);
    for (const [key] of entries) yield fromEntries(entries.filter(([k]) => k !== key));
    for (const [key, below] of entries)
      for (const less of smaller(below)) yield fromEntries(entries.map(([k, v]) => [k, k === key ? less : v]));
  } else if (typeof value === "number" && value !== 0) yield 0;
}

function fromEntries(entries: readonly (readonly [string, unknown])[]): object {
  const all = {};
  for (const [k, v] of entries) setOwn(all, k, v);
  return all;
}

/** The smallest case found that still fails the same way. */
export async function shrink<C>(start: C, fails: (c: C) => Promise<boolean>): Promise<C> {
  let best = start;
  for (let tries = 0; tries < TRIES;) {
    let found = false;
    for (const candidate of smaller(best)) {
      if (++tries > TRIES) break;
      if (!(await fails(candidate as C))) continue;
      best = candidate as C;
      found = true;
      break;
    }
    if (!found) break;
  }
  return best;
}
