// What the program uses of the language and QuickJS came too early for.

function define(object: object, name: string | symbol, value: unknown): void {
  if (!(name in object)) Object.defineProperty(object, name, { value, writable: true, configurable: true });
}

function at<T>(this: ArrayLike<T>, index: number): T | undefined {
  return this[index < 0 ? this.length + index : index];
}

define(Symbol, "dispose", Symbol("Symbol.dispose"));
for (const indexed of [Array, Uint8Array, String]) define(indexed.prototype, "at", at);
define(Array.prototype, "toSorted", function <T>(this: readonly T[], order?: (a: T, b: T) => number): T[] {
  const copy = this.slice();
  copy.sort(order);
  return copy;
});
define(Array.prototype, "toReversed", function <T>(this: readonly T[]): T[] {
  const copy = this.slice();
  copy.reverse();
  return copy;
});
define(Array.prototype, "findLast", function <T>(this: readonly T[], f: (value: T) => boolean): T | undefined {
  for (let i = this.length - 1; i >= 0; i--) {
    const value = this[i] as T;
    if (f(value)) return value;
  }
  return undefined;
});
define(Object, "hasOwn", (object: object, name: PropertyKey) => Object.prototype.hasOwnProperty.call(object, name));

// with its flag u, a pattern has no half of a pair that has its other half
define(String.prototype, "toWellFormed", function (this: string): string {
  return this.replace(/[\ud800-\udfff]/gu, "\ufffd");
});

/** `new Error(message, { cause })`. */
function errorWithCause(): ErrorConstructor {
  const plain = Error;
  function make(message?: string, options?: ErrorOptions): Error {
    const as = (new.target as ErrorConstructor | undefined) ?? (make as unknown as ErrorConstructor);
    const error = Reflect.construct(plain, message === undefined ? [] : [message], as);
    if (options !== undefined && "cause" in options)
      Object.defineProperty(error, "cause", { value: options.cause, writable: true, configurable: true });
    return error;
  }
  make.prototype = plain.prototype;
  Object.defineProperty(plain.prototype, "constructor", { value: make, writable: true, configurable: true });
  return make as unknown as ErrorConstructor;
}
globalThis.Error = errorWithCause();

/** Several resources under one name. */
class Stack implements Pick<DisposableStack, "use" | "move" | typeof Symbol.dispose> {
  #held: Disposable[] = [];

  use<T extends Disposable | null | undefined>(value: T): T {
    if (value !== null && value !== undefined) this.#held.push(value);
    return value;
  }

  move(): DisposableStack {
    const moved = new Stack();
    moved.#held = this.#held;
    this.#held = [];
    return moved as unknown as DisposableStack;
  }

  [Symbol.dispose](): void {
    let failure: { readonly error: unknown } | undefined;
    for (let next = this.#held.pop(); next !== undefined; next = this.#held.pop()) {
      try {
        next[Symbol.dispose]();
      } catch (error) {
        failure ??= { error };
      }
    }
    if (failure !== undefined) throw failure.error;
  }
}
define(globalThis, "DisposableStack", Stack);
