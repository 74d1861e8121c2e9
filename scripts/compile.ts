// The program as one executable.
const root = new URL("../", import.meta.url).pathname;

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

/** Compiles the program into an executable. Throws with what the compiler says. */
export function compile(executable: string, ...more: readonly string[]): void {
  compileFile("src/main.ts", executable, ...more);
}

/** Compiles another program as this one is compiled. Throws with what the compiler says. */
export function compileFile(source: string, executable: string, ...more: readonly string[]): void {
  const r = Bun.spawnSync([process.execPath, "build", source, ...flags, ...more, "--outfile", executable], {
    cwd: root,
    stdout: "pipe",
    stderr: "pipe",
  });
  if (r.exitCode !== 0) throw new Error(`bun build: ${r.stderr.toString()}${r.stdout.toString()}`);
}
