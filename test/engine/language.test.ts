// The engine and the runtime carry the same program: whatever it asks of its language shall be answered alike.
import { beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { bundleForEngine } from "../../scripts/bundle.ts";
import { engineRefused, engineWith } from "../../scripts/engine.ts";
import { Random } from "../fuzz/random.ts";
import type { Questions } from "./probe.ts";

const refused = await engineRefused();
const ENGINE = "/run/probe/engine";
const probe = `${import.meta.dir}/probe.ts`;

/** Texts of every length up to 200, some with halves of UTF-16 pairs, and bytes of which some are UTF-8. */
function questions(seed: number): Questions {
  const r = new Random(seed, 0);
  const characters = ["a", "Z", "0", "\0", "\n", "é", "€", "\u{1F600}", "\uD800", "\uDC00", "\uFEFF", "\uFFFF"];
  const texts = Array.from({ length: 200 }, (_, n) => Array.from({ length: n }, () => r.pick(characters)).join(""));
  const leading = [
    0x41, 0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xe2, 0xed, 0xef, 0xbb, 0xf0, 0x9f, 0x90, 0x8f, 0xf4, 0xf5, 0xff,
  ];
  const wild = Array.from({ length: 2000 }, () => Array.from({ length: r.int(12) }, () => r.pick(leading)));
  const good = texts.slice(0, 60).map((t) => [...new TextEncoder().encode(t)]);
  return { texts, bytes: [...wild, ...good], pieces: [1, 2, 3, 5, 4] };
}

function run(command: readonly string[], asked: Questions): { status: number; answers: unknown } {
  const env = { PATH: "/usr/bin:/bin", CNI_COMMAND: "PROBE", PROBE: "the ünvironment = this" };
  const r = Bun.spawnSync([...command], { env, stdin: Buffer.from(JSON.stringify(asked)), stderr: "inherit" });
  return { status: r.exitCode, answers: JSON.parse(r.stdout.toString() || "null") };
}

beforeAll(async () => {
  if (refused !== undefined) return;
  mkdirSync("/run/probe", { recursive: true });
  const none = { entry: 0n, headers: 0n, count: 0 };
  writeFileSync(ENGINE, await engineWith(await bundleForEngine(`${import.meta.dir}/program.ts`), none));
  chmodSync(ENGINE, 0o755);
}, 120_000);

describe.skipIf(refused !== undefined)(`the engine (where one can be built: ${refused ?? "here"})`, () => {
  for (const seed of [1, 2, 3]) {
    test(`answers as the runtime does, seed ${seed}`, () => {
      const asked = questions(seed);
      const expected = run([process.execPath, probe], asked);
      expect(expected.status).toBe(7);
      expect(run([ENGINE], asked)).toEqual(expected);
    });
  }
});
