// One program, two engines: a CNI call is answered with the same words by either (BERTH_ENGINE=off passes the first one by).
import { describe, expect, test } from "bun:test";
import { executablePath } from "../executable.ts";
import { Random } from "../fuzz/random.ts";
import { cniTarget } from "../fuzz/targets/cni.ts";

const program = await executablePath();
const CASES = 120;

type Env = Record<string, string>;

interface Answered {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(as: string, env: Env, stdin: string): Answered {
  const r = Bun.spawnSync([program], { argv0: as, env, stdin: Buffer.from(stdin), stderr: "pipe", timeout: 60_000 });
  return { status: r.exitCode, stdout: r.stdout.toString(), stderr: r.stderr.toString() };
}

/** Without the words for a text that is no JSON, which are each engine's own. */
function withoutParser(a: Answered): Answered {
  return { ...a, stdout: a.stdout.replace(/(from stdin: )(?!it is empty)(?:[^"\\]|\\.)*/u, "$1…") };
}

describe("streams that are not as they should be", () => {
  const env: Env = { PATH: "/usr/bin:/bin", CNI_COMMAND: "VERSION" };
  const script = (text: string, engine: string): Answered => {
    const r = Bun.spawnSync(["sh", "-c", text, program], { env: { ...env, BERTH_ENGINE: engine }, stderr: "pipe" });
    return withoutParser({ status: r.exitCode, stdout: r.stdout.toString(), stderr: r.stderr.toString() });
  };
  const cases: readonly (readonly [string, string])[] = [
    ["standard input is closed", 'exec "$0" <&-'],
    ["standard input is a directory", 'exec "$0" </'],
    ["standard output is closed", 'echo "{}" | "$0" >&-; echo "status $?"'],
    ["standard output is a full device", 'echo "{}" | "$0" >/dev/full; echo "status $?"'],
    ["standard error is closed", 'echo "{" | "$0" 2>&-; echo "status $?"'],
    [
      "nobody reads the answer",
      'mkfifo /run/fifo; (exec 3</run/fifo) & echo "{}" | { sleep 0.2; "$0"; echo "status $?" >&2; } >/run/fifo; rm /run/fifo',
    ],
  ];
  for (const [name, text] of cases) {
    test(name, () => {
      const expected = script(text, "off");
      expect(script(text, "on")).toEqual(expected);
      if (text.includes("$?"))
        expect(`${expected.stdout}${expected.stderr}`).toMatch(
          name === "standard output is closed" ? /^status 0$/mu : /^status 1$/mu,
        );
    });
  }
});

describe("a call that is a little or quite wrong is answered by the engine as by the runtime", () => {
  for (let block = 0; block < 4; block++) {
    test(`calls ${block * CASES} to ${(block + 1) * CASES - 1}`, () => {
      for (let i = block * CASES; i < (block + 1) * CASES; i++) {
        const { calledAs, env: wanted, stdin } = cniTarget.make(new Random(8, i));
        const env: Env = { PATH: "/usr/bin:/bin" };
        // no process can be started with other variables
        for (const [name, value] of Object.entries(wanted))
          if (typeof value === "string" && !value.includes("\0")) env[name] = value;
        if ((env["CNI_COMMAND"] ?? "") === "") continue; // that is no call
        const text = "text" in stdin ? stdin.text : (JSON.stringify(stdin.json) ?? "");
        const cleanUp = (): Answered => run(calledAs, { ...env, CNI_COMMAND: "DEL" }, text);
        const byEngine = withoutParser(run(calledAs, env, text));
        cleanUp();
        const byRuntime = withoutParser(run(calledAs, { ...env, BERTH_ENGINE: "off" }, text));
        cleanUp();
        expect({ i, env, text, ...byEngine }).toEqual({ i, env, text, ...byRuntime });
      }
    });
  }
});
