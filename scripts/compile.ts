// The program as one executable. bun scripts/compile.ts FILE: writes it there, without the layout that scripts/build.ts adds.
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, resolve } from "node:path";
import { bundle } from "./bundle.ts";
import { finish } from "./engine.ts";

/** Whatever is not said here is Bun's default. docs/performance.md has what each is worth. */
const flags = [
  "--compile",
  "--minify",
  "--bytecode",
  "--format=esm",
  "--splitting",
  "--sourcemap",
  // or root would execute what lies in its caller's directory
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
  "--compile-jit-policy=100",
  // the first keeps BUN_OPTIONS=--preload out
  "--compile-exec-argv=--disallow-code-generation-from-strings=strict --no-addons --no-ffi-cc",
];

/** Compiles the program into an executable, with the engine. Throws with what the compilers say. */
async function compile(executable: string): Promise<void> {
  compileModules(await bundle(), executable);
  await finish(executable);
}

/** Compiles the program's modules, as `bundle` makes them, into an executable. Throws with what the compiler says. */
export function compileModules(
  modules: ReadonlyMap<string, string>,
  executable: string,
  ...more: readonly string[]
): void {
  const directory = mkdtempSync(`${tmpdir()}/berth-program-`);
  try {
    for (const [name, code] of modules) writeFileSync(`${directory}/${name}`, code);
    const compiled = `${directory}/compiled/program`; // it has its source's maps within; the files of them are left behind
    compileFile(`${directory}/main.js`, compiled, ...more);
    copyFileSync(compiled, executable);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Compiles a file, and what it imports, as the program is compiled. Throws with what the compiler says. */
export function compileFile(source: string, executable: string, ...more: readonly string[]): void {
  const command = [
    process.execPath,
    "build",
    `./${basename(source)}`,
    ...flags,
    ...more,
    "--outfile",
    resolve(executable),
  ];
  const r = Bun.spawnSync(command, { cwd: dirname(source), stdout: "pipe", stderr: "pipe" });
  if (r.exitCode !== 0) throw new Error(`bun build: ${r.stderr.toString()}${r.stdout.toString()}`);
}

if (import.meta.main) await compile(process.argv[2] ?? "dist/berth");
