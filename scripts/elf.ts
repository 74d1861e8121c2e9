// Two programs in one file (ELF: elf(5)). The kernel starts the second; the first lies in memory beside it, all in its place,
// but nothing has linked it yet: the second does that when it wants to become the first (engine/enter.c).

const PROGRAM_HEADER = 56;
const PAGE = 4096;
const PT_LOAD = 1;
const PT_INTERP = 3;
const PT_TLS = 7;
const ET_EXEC = 2;

// offsets in the file's header
const E_IDENT = 0x7f454c46;
const E_TYPE = 16;
const E_ENTRY = 24;
const E_PHOFF = 32;
const E_PHNUM = 56;

/** What another program has to know of a program in order to start it. All are addresses in memory, but for `count`. */
export interface Start {
  readonly entry: bigint;
  /** Its program headers. */
  readonly headers: bigint;
  readonly count: number;
}

interface Segment {
  readonly type: number;
  readonly offset: bigint;
  readonly address: bigint;
  readonly inFile: bigint;
  readonly inMemory: bigint;
  readonly bytes: Uint8Array;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Throws `Error` for what is no program at fixed addresses. */
function segmentsOf(program: Uint8Array): Segment[] {
  const v = viewOf(program);
  if (v.getUint32(0) !== E_IDENT || v.getUint16(E_TYPE, true) !== ET_EXEC)
    throw new Error("put two programs together: one is not an ELF executable at fixed addresses");
  const [start, count] = [Number(v.getBigUint64(E_PHOFF, true)), v.getUint16(E_PHNUM, true)];
  return Array.from({ length: count }, (_, i) => {
    const at = start + i * PROGRAM_HEADER;
    return {
      type: v.getUint32(at, true),
      offset: v.getBigUint64(at + 8, true),
      address: v.getBigUint64(at + 16, true),
      inFile: v.getBigUint64(at + 32, true),
      inMemory: v.getBigUint64(at + 40, true),
      bytes: program.slice(at, at + PROGRAM_HEADER),
    };
  });
}

/** How a program would be started. Throws `Error` where it is no program of the sort that this file can handle. */
export function startOf(program: Uint8Array): Start {
  const v = viewOf(program);
  const segments = segmentsOf(program);
  const offset = v.getBigUint64(E_PHOFF, true);
  const loaded = segments.find((s) => s.type === PT_LOAD && s.offset <= offset && offset < s.offset + s.inFile);
  if (loaded === undefined) throw new Error("put two programs together: the first does not load its own headers");
  const headers = loaded.address + offset - loaded.offset;
  return { entry: v.getBigUint64(E_ENTRY, true), headers, count: segments.length };
}

/** The first address, a whole page, behind all of a program. */
function endOf(segments: readonly Segment[]): bigint {
  let end = 0n;
  for (const s of segments) if (s.type === PT_LOAD && s.address + s.inMemory > end) end = s.address + s.inMemory;
  return end;
}

/**
 * One file that starts as `second`, with `first` in memory as well.
 * @param second linked without an interpreter, at addresses behind all of the first
 * Throws `Error` where they cannot be together.
 */
export function together(first: Uint8Array, second: Uint8Array): Uint8Array {
  const [former, added] = [segmentsOf(first), segmentsOf(second).filter((s) => s.type === PT_LOAD)];
  const lowest = added.reduce((low, s) => (s.address < low ? s.address : low), added[0]?.address ?? 0n);
  if (lowest < endOf(former))
    throw new Error(`put two programs together: both want the address 0x${lowest.toString(16)}`);
  // whoever loads the file shall not look for an interpreter, nor for thread-local storage, which is the first's
  const kept = former.filter((s) => s.type !== PT_INTERP && s.type !== PT_TLS).map((s) => s.bytes);
  const start = pages(first.length);
  const moved = added.map((s) => {
    const bytes = s.bytes.slice();
    viewOf(bytes).setBigUint64(8, s.offset + BigInt(start), true);
    return bytes;
  });
  const headers = [...kept, ...moved];
  const table = start + pages(second.length);
  const file = new Uint8Array(table + headers.length * PROGRAM_HEADER);
  file.set(first);
  file.set(second, start);
  headers.forEach((bytes, i) => file.set(bytes, table + i * PROGRAM_HEADER));
  const v = viewOf(file);
  v.setBigUint64(E_ENTRY, viewOf(second).getBigUint64(E_ENTRY, true), true);
  v.setBigUint64(E_PHOFF, BigInt(table), true);
  v.setUint16(E_PHNUM, headers.length, true);
  return file;
}

function pages(bytes: number): number {
  return Math.ceil(bytes / PAGE) * PAGE;
}
