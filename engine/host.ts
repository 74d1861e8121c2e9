// What the C code of the engine offers (engine/*.c). Nothing but the files of this directory asks for it.

/** How a function of the C library answers: 64 bits, an int, an unsigned int. */
export type Returns = 0 | 1 | 2;

/** A function of the C library: integers, and addresses as such. Null is 0. */
export type Symbol = (...values: readonly (number | bigint | null)[]) => number;

/** See engine/main.c, engine/symbols.c, engine/text.c, engine/carrier.c. */
interface Host {
  readonly symbol: (name: string, returns: Returns) => Symbol;
  readonly address: (bytes: ArrayBufferView) => number;
  readonly readInt: (address: number) => number;
  readonly encode: (text: string) => ArrayBuffer;
  readonly decode: (buffer: ArrayBufferLike, offset: number, length: number) => string;
  readonly environment: () => Record<string, string>;
  readonly now: () => number;
  /** The socket to the process that carries requests; it is started where there is none. Throws `TypeError`. */
  readonly carrier: () => number;
  /** Ends it; how it ended, in words. */
  readonly endCarrier: () => string;
  /** Called where nothing is left to do: waits; false where there is nothing to wait for. */
  idle: () => boolean;
  readonly sleep: (milliseconds: number) => void;
  readonly exit: (status: number) => never;
  readonly calledAs: string;
  readonly pid: number;
  readonly user: number;
}

/** The C code of the engine. */
export const { host } = globalThis as unknown as { readonly host: Host };
