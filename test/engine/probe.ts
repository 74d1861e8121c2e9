// What the language and its surroundings say to a few thousand questions. The same file is run by the engine and by the runtime,
// which shall say the same. The questions come on standard input, the answers are one line of JSON.
import { readDescriptor, writeDescriptor } from "../../src/kernel/files.ts";
import { asFailure, Failure } from "../../src/report/failure.ts";

/** What is asked. */
export interface Questions {
  readonly texts: readonly string[];
  /** Bytes, each as a list, to be read as UTF-8 in pieces of these lengths. */
  readonly bytes: readonly (readonly number[])[];
  readonly pieces: readonly number[];
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

function inPieces(bytes: Uint8Array, pieces: readonly number[]): string {
  const decoder = new TextDecoder();
  let [text, at] = ["", 0];
  for (let i = 0; at < bytes.length; i++) {
    const end = at + Math.max(1, pieces[i % pieces.length] ?? 1);
    text += decoder.decode(bytes.subarray(at, end), { stream: true });
    at = end;
  }
  return text + decoder.decode();
}

/** The errors of a chain, outermost first. */
function chain(e: unknown): string[] {
  return e instanceof Error ? [`${e.name}: ${e.message}`, ...chain(e.cause)] : [];
}

class Own extends Error {
  override readonly name = "Own";
}

function errors(): unknown {
  const cause = new TypeError("the inner");
  const outer = new Own("the outer", { cause });
  const failure = new Failure("io", "read it", { cause: outer });
  let native: unknown;
  try {
    JSON.parse("{");
  } catch (e) {
    native = e;
  }
  return [
    chain(failure),
    outer instanceof Own && outer instanceof Error && cause instanceof Error && native instanceof SyntaxError,
    native instanceof Error,
    Object.keys(outer),
    "cause" in new Error("none"),
    String(new Error()),
    asFailure(outer, "do it").message,
  ];
}

/** Which things are given back, and when, and which error is told. */
function disposal(): unknown {
  const said: string[] = [];
  const thing = (name: string, fails = false): Disposable => ({
    [Symbol.dispose]: () => {
      said.push(name);
      if (fails) throw new Error(`${name} fails`);
    },
  });
  const early = (): string => {
    using _a = thing("a");
    using _none = undefined;
    for (const n of [1, 2]) {
      using _b = thing(`b${n}`);
      if (n === 2) return "returned";
    }
    return "never";
  };
  said.push(early());
  try {
    using _c = thing("c", true);
    using _d = thing("d");
  } catch (e) {
    said.push(...chain(e));
  }
  const held = ((): Disposable => {
    using stack = new DisposableStack();
    stack.use(thing("e"));
    stack.use(thing("f"));
    return stack.move();
  })();
  said.push("moved");
  held[Symbol.dispose]();
  try {
    using stack = new DisposableStack();
    stack.use(thing("g"));
    throw new Error("in the block");
  } catch (e) {
    said.push(...chain(e));
  }
  return said;
}

async function waiting(): Promise<unknown> {
  const start = performance.now();
  await Bun.sleep(20);
  Bun.sleepSync(20);
  const took = performance.now() - start;
  return took >= 40 && took < 60_000;
}

const questions = JSON.parse(readDescriptor(0, "stdin")) as Questions;
void waiting().then((waited) => {
  const { texts, bytes, pieces } = questions;
  const answers = {
    waited,
    hash32: texts.map((t) => Bun.hash.xxHash32(t)),
    hash64: texts.map((t) => Bun.hash.xxHash64(t).toString()),
    sha256: texts.map((t) => new Bun.CryptoHasher("sha256").update(t).digest("hex")),
    wellFormed: texts.map((t) => hex(new TextEncoder().encode(t.toWellFormed())) + t.toWellFormed().length),
    // as Keystone writes them
    dates: ["2026-11-26T22:00:00.000000Z", "2026-11-26T22:00:00Z", "2026-11-26T22:00:00.123Z"].map((d) =>
      Date.parse(d),
    ),
    encoded: texts.map((t) => hex(new TextEncoder().encode(t))),
    decoded: bytes.map((b) => new TextDecoder().decode(new Uint8Array(b))),
    inPieces: bytes.map((b) => inPieces(new Uint8Array(b), pieces)),
    errors: errors(),
    disposal: disposal(),
    sorted: ["b", "a", "C"].toSorted().concat(["1", "2"].toReversed()),
    last: [[1, 2, 3].at(-1), "xyz".at(-2), new Uint8Array([7]).at(0), [1, 2, 3].findLast((n) => n < 3), [].at(0)],
    own: [Object.hasOwn({ a: 1 }, "a"), Object.hasOwn({}, "toString")],
    numbers: texts.map((t, i) => [
      Bun.hash.xxHash32(t).toString(36),
      BigInt(2 ** (i % 70)).toString(16),
      (t.length / 7).toFixed(3),
      `${2 ** (i % 70)} ${i / 7}`,
    ]),
    env: process.env["PROBE"],
    uuid: /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/u.test(crypto.randomUUID()),
  };
  writeDescriptor(1, `${JSON.stringify(answers)}\n`, "stdout");
  process.exit(7);
});
