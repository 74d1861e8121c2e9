// Where the engine becomes the runtime: the call begins anew, and nobody can tell.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { startOf, together } from "../../scripts/elf.ts";
import { engineRefused, engineWith } from "../../scripts/engine.ts";
import { executablePath } from "../executable.ts";
import { TestWorld } from "../world.ts";

const refused = await engineRefused();
const program = await executablePath();
const PLUGINS = "/run/plugins";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.namespace("c");
  w.plug("lan", "", "eth1", "10.1.0.1/24");
  mkdirSync(PLUGINS);
  // keeps what it is given, and which descriptors it has beside those of the shell's own work
  const script = `#!/bin/sh
cat >/run/seen-stdin
tr '\\0' '\\n' </proc/$$/environ >/run/seen-environment
grep ^SigIgn /proc/$$/status >/run/seen-signals
for fd in /proc/$$/fd/*; do readlink $fd; done >/run/seen-descriptors
echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.9/24"}]}'
`;
  writeFileSync(`${PLUGINS}/keeps`, script);
  chmodSync(`${PLUGINS}/keeps`, 0o755);
});
afterAll(() => w[Symbol.dispose]());

function call(verb: string, config: object, env: Record<string, string> = {}): { status: number; stdout: string } {
  const all = {
    PATH: "/usr/bin:/bin",
    CNI_COMMAND: verb,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c",
    CNI_IFNAME: "eth0",
    CNI_PATH: PLUGINS,
    ...env,
  };
  const r = Bun.spawnSync([program], { env: all, stdin: Buffer.from(JSON.stringify(config)), stderr: "inherit" });
  return { status: r.exitCode, stdout: r.stdout.toString() };
}

const config = {
  cniVersion: "1.0.0",
  name: "lan",
  type: "berth",
  kind: "macvlan",
  master: "eth1",
  ipam: { type: "keeps" },
};

describe("an IPAM plugin, which the runtime executes", () => {
  for (const size of [0, 200_000, 3_000_000]) {
    test(`gets the configuration as it came, with ${size} characters more`, () => {
      const long = { ...config, args: { more: "é".repeat(size) } };
      const [answers, signals]: [unknown[], string[]] = [[], []];
      for (const engine of ["on", "off"]) {
        const { status, stdout } = call("ADD", long, { BERTH_ENGINE: engine });
        expect(status).toBe(0);
        expect(JSON.parse(readFileSync("/run/seen-stdin", "utf8"))).toMatchObject(long);
        expect(readFileSync("/run/seen-environment", "utf8")).toContain("CNI_CONTAINERID=c1\n");
        const descriptors = readFileSync("/run/seen-descriptors", "utf8").trim().split("\n");
        // its three streams, where the list is written, and the script itself
        expect(descriptors.filter((d) => !/^(?:pipe:|socket:|\/memfd:spawn_stdio)/u.test(d))).toEqual([
          "/run/seen-descriptors",
          `${PLUGINS}/keeps`,
        ]);
        signals.push(readFileSync("/run/seen-signals", "utf8"));
        answers.push(JSON.parse(stdout.replaceAll(/[\da-f]{2}(?::[\da-f]{2}){5}/gu, "mac")));
        expect(call("DEL", long).status).toBe(0);
      }
      expect(answers[0]).toEqual(answers[1]);
      expect(signals[0]).toBe(signals[1] ?? "");
    });
  }
});

/** In a mount namespace that has no dynamic linker. */
function withoutLinker(env: Record<string, string>): { status: number; stdout: string; stderr: string } {
  const hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /lib64 && exec "$0"', program];
  const stdin = Buffer.from("{}");
  const r = Bun.spawnSync(hidden, { env: { PATH: "/usr/bin:/bin", ...env }, stdin, stderr: "pipe" });
  return { status: r.exitCode, stdout: r.stdout.toString(), stderr: r.stderr.toString() };
}

test.skipIf(refused !== undefined)(
  "without a dynamic linker the engine does its work; the runtime cannot start",
  () => {
    expect(withoutLinker({ CNI_COMMAND: "VERSION" }).stdout).toContain("supportedVersions");
    expect(withoutLinker({})).toEqual({
      status: 127,
      stdout: "",
      stderr: "berth: start the runtime: there is no /lib64/ld-linux-x86-64.so.2\n",
    });
  },
);

describe.skipIf(refused !== undefined)("two programs in one file", () => {
  test("are refused where both want one place in memory, and where one is no program", async () => {
    const engine = await engineWith(new Map([["main.js", "host.exit(3);"]]), { entry: 0n, headers: 0n, count: 0 });
    expect(startOf(engine).count).toBeGreaterThan(1);
    expect(() => together(engine, engine)).toThrow("both want the address 0x40000000");
    expect(() => together(new Uint8Array(100), engine)).toThrow("not an ELF executable");
  });
});
