// npm run build: dist/berth, an executable. It is built twice: the first one is run as a runtime would run it, and notes in
// which order it uses its code; the second one has its code in that order, of which a CNI call then reads fewer pages. Then
// the engine is put in front of it.
//
// The run needs namespaces of its own. Where the system forbids them, the first executable stays, which is as good but slower.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { buildHost, hideMachine, inNamespaces, namespacesRefused } from "../bench/host.ts";
import { environment, type Verb } from "../bench/calls.ts";
import { berthPlugin, networkConfig } from "../bench/plugins.ts";
import { bundle } from "./bundle.ts";
import { compileModules } from "./compile.ts";
import { finish } from "./engine.ts";

const dist = new URL("../dist", import.meta.url).pathname;
const executable = `${dist}/berth`;
const PARENT = "eth1";

/** In namespaces: the calls of two attachments, the usual one and one with host access. Each writes an order file. */
function train(directory: string): void {
  hideMachine();
  using world = buildHost(PARENT);
  const plugin = berthPlugin("berth", executable);
  for (const [name, extra] of [
    ["plain", {}],
    ["access", { hostrouteif: "auto" }],
  ] as const) {
    const config = networkConfig("berth", name, PARENT, extra);
    let prevResult: unknown;
    const target = { containerId: name, netns: world.namespace(name) };
    for (const verb of ["ADD", "CHECK", "DEL"] as const satisfies Verb[]) {
      const env = { ...environment(plugin, verb, target), BUN_BYTECODE_ORDER_OUT: `${directory}/${name}-${verb}` };
      const r = Bun.spawnSync([executable], {
        env,
        stdin: Buffer.from(JSON.stringify({ ...config, prevResult })),
        stderr: "pipe",
      });
      if (r.exitCode !== 0) throw new Error(`${verb}: ${r.stdout.toString()}${r.stderr.toString()}`);
      if (verb === "ADD") prevResult = JSON.parse(r.stdout.toString());
    }
  }
}

/** Order files of a run, most important first; none where it could not be run, after saying why. */
function orders(directory: string): string[] {
  const refused = namespacesRefused();
  if (refused !== undefined) {
    console.error(`The executable is not laid out for speed.\n${refused}`);
    return [];
  }
  const command = inNamespaces(process.execPath, import.meta.path, "--train", directory);
  const r = Bun.spawnSync(command, { stdout: "pipe", stderr: "pipe" });
  if (r.exitCode !== 0) console.error(`The executable is not laid out for speed: ${r.stderr.toString().trim()}`);
  const names = ["plain-ADD", "access-ADD", "plain-DEL", "access-DEL", "plain-CHECK", "access-CHECK"];
  return names.map((name) => `${directory}/${name}`).filter((path) => existsSync(path));
}

if (process.argv[2] === "--train") {
  train(process.argv[3] ?? "");
} else {
  mkdirSync(dist, { recursive: true });
  const modules = await bundle();
  compileModules(modules, executable);
  const directory = mkdtempSync(`${tmpdir()}/berth-build-`);
  try {
    const found = orders(directory);
    if (found.length > 0) compileModules(modules, executable, `--bytecode-order=${found.join(",")}`);
    await finish(executable);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
