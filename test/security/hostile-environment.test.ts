// The program is started by root in somebody's directory, with somebody's variables: nothing of theirs is executed.
import { beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { engineRefused } from "../../scripts/engine.ts";
import { until } from "../world.ts";
import { executablePath } from "../executable.ts";

const refused = await engineRefused();
const HERE = "/run/hostile";
const MARKER = "/run/executed";
const evil = `require("node:fs").writeFileSync(${JSON.stringify(MARKER)}, process.argv.join(" "));\n`;

let berth: string;
beforeAll(async () => {
  berth = await executablePath();
});

beforeEach(() => {
  for (const path of [HERE, MARKER, "/run/berth"]) rmSync(path, { recursive: true, force: true });
  mkdirSync(`${HERE}/node_modules`, { recursive: true });
  const variables = "CNI_COMMAND=VERSION\nBERTH_TRACE=1\nBUN_OPTIONS=--preload ./evil.ts\n";
  const bunfig = 'preload = ["./evil.ts"]\n[run]\npreload = ["./evil.ts"]\n';
  const files: Record<string, string> = {
    "evil.ts": evil,
    "evil.cjs": evil,
    "index.ts": evil,
    "main.ts": evil,
    ".env": variables,
    ".env.local": variables,
    ".env.production": variables,
    "bunfig.toml": bunfig,
    ".bunfig.toml": bunfig,
    "package.json": JSON.stringify({
      name: "x",
      main: "./evil.ts",
      imports: { "#x": "./evil.ts" },
      scripts: { version: "touch /run/executed" },
    }),
    "tsconfig.json": JSON.stringify({ compilerOptions: { baseUrl: ".", paths: { "*": ["./evil.ts"] } } }),
    "clouds.yaml": "clouds: {evil: {auth: {auth_url: 'http://127.0.0.1:9'}}}",
    "10-lan.conflist": "{}",
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(`${HERE}/${name}`, text);
  writeFileSync(`${HERE}/evil-ipam`, `#!/bin/sh\ntouch ${MARKER}\n`, { mode: 0o755 });
  for (const name of ["valibot", "@stricli/core", "bun:ffi", "node:fs", "fs"]) {
    mkdirSync(`${HERE}/node_modules/${name}`, { recursive: true });
    writeFileSync(`${HERE}/node_modules/${name}/index.js`, evil);
    writeFileSync(`${HERE}/node_modules/${name}/package.json`, JSON.stringify({ name, main: "index.js" }));
  }
});

const CONFIG = JSON.stringify({ cniVersion: "1.0.0", name: "lan", type: "macvlan", master: "none0", ipam: {} });
const cniEnv = (verb: string): Record<string, string> => ({
  CNI_COMMAND: verb,
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/run/netns/none",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/nowhere",
});

interface Start {
  readonly name: string;
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  /** What it must still do. */
  readonly says: string;
  /** What it starts. */
  readonly further?: readonly string[];
}

const cniCalls: readonly Start[] = [
  { name: "CNI VERSION", env: cniEnv("VERSION"), stdin: "{}", says: "supportedVersions" },
  { name: "CNI ADD", env: cniEnv("ADD"), stdin: CONFIG, says: '"code":' },
  { name: "CNI DEL", env: cniEnv("DEL"), stdin: CONFIG, says: "" },
  { name: "a wrong configuration", env: cniEnv("ADD"), stdin: CONFIG.replace("none0", "a/b"), says: "master" },
];

/** Each loads other parts of the program. */
const starts: readonly Start[] = [
  { name: "the command", args: ["version"], says: "berth " },
  ...cniCalls,
  ...cniCalls.map((c) => ({ ...c, name: `${c.name} by the runtime`, env: { ...c.env, BERTH_ENGINE: "off" } })),
  {
    name: "CNI ADD with a cloud, whose requests another process of the program carries",
    env: { ...cniEnv("ADD"), OS_AUTH_URL: "http://127.0.0.1:9", OS_TOKEN: "none" },
    stdin: CONFIG.replace('"ipam":{}', '"ipam":{"type":"neutron"}'),
    says: '"code":',
    further: refused === undefined ? ["/proc/self/exe"] : [],
  },
  { name: "berth gc", args: ["gc", "--conf-dir", "/nowhere"], says: "nothing to collect" },
  { name: "berth repair", args: ["repair"], says: "no attachments" },
  { name: "berth report", args: ["report", "--conf-dir", "/nowhere"], says: "== berth" },
  { name: "a cloud that is nowhere named", args: ["openstack", "show"], says: "clouds.yaml" },
];

function run(
  start: Start,
  env: Record<string, string> = {},
  before: readonly string[] = [],
): { code: number; text: string } {
  const r = Bun.spawnSync([...before, berth, ...(start.args ?? [])], {
    cwd: HERE,
    env: { PATH: "/usr/bin:/bin", HOME: "/root", ...start.env, ...env },
    stdin: Buffer.from(start.stdin ?? ""),
    stderr: "pipe",
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  return { code: r.exitCode, text: r.stdout.toString() + r.stderr.toString() };
}

const TRACED = ["strace", "-f", "-qq", "-y", "-e", "trace=file,execve", "-o", "/run/trace"] as const;

/**
 * By the trace: nothing of the directory was opened, or looked for, and no other program was started.
 * @param further what was started after the program: itself at most
 */
function expectUntouched(further: readonly string[] = []): void {
  const calls = readFileSync("/run/trace", "utf8").split("\n");
  const named = calls.filter((line) =>
    /\.env|bunfig|package\.json|tsconfig|node_modules|evil|\/run\/hostile\/|clouds\.yaml/u.test(line),
  );
  expect(named.filter((line) => !line.includes("/etc/openstack") && !line.includes("/root/.config/openstack"))).toEqual(
    [],
  );
  const started = calls.flatMap((line) => /execve\("([^"]*)"/u.exec(line)?.[1] ?? []);
  expect(started.slice(1)).toEqual([...further]);
}

describe("a hostile working directory", () => {
  for (const start of starts) {
    test(`${start.name}: does what it does elsewhere`, () => {
      expect(run(start).text).toContain(start.says);
      expect(existsSync(MARKER)).toBe(false);
    });

    test.skipIf(Bun.which("strace") === null)(
      `${start.name}: no file of the directory is opened, or looked for (needs strace)`,
      () => {
        run(start, {}, TRACED);
        expectUntouched(start.further);
      },
    );
  }

  test.skipIf(Bun.which("strace") === null)(
    "berth docker, from its start to its end: the same (needs strace)",
    async () => {
      const socket = "/run/hostile-docker/berth.sock";
      const server = Bun.spawn([...TRACED, berth, "docker", "--socket", socket], {
        cwd: HERE,
        env: { PATH: "/usr/bin:/bin", HOME: "/root" },
        stdio: ["ignore", "ignore", "ignore"],
      });
      await until("it listens", () => existsSync(socket));
      const response = await fetch("http://docker/Plugin.Activate", { unix: socket, method: "POST", body: "{}" });
      expect(await response.text()).toContain("NetworkDriver");
      const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, "utf8");
      process.kill(Number(children.trim()), "SIGTERM");
      await server.exited;
      expect(existsSync(MARKER)).toBe(false);
      expectUntouched();
    },
  );

  test("an IPAM plugin is not looked for here where CNI_PATH names nothing", () => {
    Bun.spawnSync(["ip", "link", "add", "parent0", "type", "bridge"]);
    for (const path of ["", ":", "::/nowhere:"]) {
      const start: Start = {
        name: "",
        env: { ...cniEnv("ADD"), CNI_NETNS: "/proc/1/ns/net", CNI_PATH: path },
        stdin: JSON.stringify({ ...JSON.parse(CONFIG), master: "parent0", ipam: { type: "evil-ipam" } }),
        says: "evil-ipam",
      };
      expect(run(start).text).toContain("run the IPAM plugin evil-ipam");
      expect(existsSync(MARKER)).toBe(false);
    }
  });
});

/** Every way that the runtime knows, and what other runtimes know. */
const variables: readonly (readonly [string, string])[] = [
  ...[
    "--preload ./evil.ts",
    "--preload=./evil.ts",
    "-r ./evil.ts",
    "--require ./evil.cjs",
    "--import ./evil.ts",
    `-e '${evil.trim()}'`,
    `--eval='${evil.trim()}'`,
    `-p '${evil.trim()}'`,
    "--config=./bunfig.toml",
    "-c bunfig.toml",
    "--env-file=.env",
    "--inspect=127.0.0.1:0",
    "--inspect-wait=127.0.0.1:0",
    "run evil.ts",
    "./evil.ts",
    "--tsconfig-override=./tsconfig.json",
    "--install=force",
    "--conditions x",
    "--disallow-code-generation-from-strings=none --preload ./evil.ts",
  ].map((options) => ["BUN_OPTIONS", options] as const),
  ["BUN_INSPECT", "127.0.0.1:0"],
  ["BUN_INSPECT", "ws+unix:///run/hostile/inspect?break=1"],
  ["BUN_INSPECT_PRELOAD", "./evil.ts"],
  ["BUN_INSPECT_CONNECT_TO", "/run/hostile/"],
  ["BUN_INSPECT_NOTIFY", "unix:///run/hostile/notify"],
  ["BUN_CONFIG_PRELOAD", "./evil.ts"],
  ["BUN_RUNTIME_TRANSPILER_CACHE_PATH", HERE],
  ["BUN_TMPDIR", HERE],
  ["BUN_INTERNAL_BAKE_RESTART", "1"],
  ["NODE_OPTIONS", "--require ./evil.cjs --import ./evil.ts"],
  ["NODE_PATH", `${HERE}/node_modules`],
  ["NODE_COMPILE_CACHE", HERE],
  ["NODE_CHANNEL_FD", "0"],
  ["HOME", HERE],
  ["XDG_CONFIG_HOME", HERE],
  ["ENV", `${HERE}/evil.ts`],
  ["BASH_ENV", `${HERE}/evil.ts`],
];

describe("hostile variables", () => {
  for (const [name, value] of variables) {
    test(`${name}=${value}`, () => {
      for (const start of starts.filter((s) => ["the command", "CNI ADD", "CNI ADD by the runtime"].includes(s.name))) {
        // it does its work, or does not start: it never runs what it was told to
        const { code, text } = run(start, { [name]: value });
        expect([existsSync(MARKER), text.includes(start.says) || code === 1]).toEqual([false, true]);
      }
    });
  }

  test("what is watched would be seen: the bare runtime, which BUN_BE_BUN=1 makes of the file, executes all of it", () => {
    run({ name: "", args: ["evil.ts"], says: "" }, { BUN_BE_BUN: "1" });
    expect(existsSync(MARKER)).toBe(true);
  });
});
