// `using` in the engine, which does not know it: Bun's transpiler has it call these two (its module "bun:wrap").

type Held = [value: object, dispose: () => void];

function disposeOf(value: object): () => void {
  const dispose: unknown = (value as Partial<Disposable>)[Symbol.dispose];
  if (typeof dispose !== "function") throw new TypeError("using: the value has no [Symbol.dispose]()");
  return dispose as () => void;
}

/** Remembers what is to be given back at the end of a block. */
export function __using<T extends object | null | undefined>(held: Held[], value: T): T {
  if (value !== null && value !== undefined) held.push([value, disposeOf(value)]);
  return value;
}

/** Gives all of it back, last things first, whatever fails; then throws the first error there was. */
export function __callDispose(held: readonly Held[], error: unknown, failed: unknown): void {
  let [first, any] = [error, failed !== undefined];
  for (let i = held.length - 1; i >= 0; i--) {
    const [value, dispose] = held[i] ?? [];
    try {
      dispose?.call(value);
    } catch (e) {
      if (!any) [first, any] = [e, true];
    }
  }
  if (any) throw first;
}
