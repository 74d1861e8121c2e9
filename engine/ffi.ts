// The module "bun:ffi" in the engine: as much of it as the program uses. The C library is linked within (engine/symbols.c).
import { host, type Returns, type Symbol } from "./host.ts";

/** The types by their names, which is all that is asked of them here. */
export const FFIType = {
  i32: "i32",
  u32: "u32",
  i64: "i64",
  i64_fast: "i64",
  u64: "i64",
  ptr: "i64",
  void: "i32",
} as const;

type Type = (typeof FFIType)[keyof typeof FFIType];
const returns: Readonly<Record<Type, Returns>> = { i64: 0, i32: 1, u32: 2 };

/** Functions of the C library by name. Throws `TypeError` for one that the engine was not linked with. */
export function dlopen(
  _library: string,
  wanted: Readonly<Record<string, { readonly returns: Type }>>,
): { readonly symbols: Readonly<Record<string, Symbol>> } {
  const symbols: Record<string, Symbol> = {};
  for (const name in wanted) symbols[name] = host.symbol(name, returns[wanted[name]?.returns ?? "i64"]);
  return { symbols };
}

/** Where bytes are; valid as long as the caller keeps them. */
export const ptr = host.address;

/** What is at an address. */
export const read = { i32: (address: number, offset: number): number => host.readInt(address + offset) };
