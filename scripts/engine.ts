// The engine: a small program in front of the runtime, in the same file, which carries CNI calls (docs/design: Two engines).
// It needs a C compiler and the C library to link statically; where there is none the runtime carries CNI calls too, slower.
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { bundleForEngine } from "./bundle.ts";
import { type Start, startOf, together } from "./elf.ts";
import { hash, Store } from "./kept.ts";

const root = new URL("../", import.meta.url).pathname;
const OWN = `${root}engine`;
const QUICKJS = `${root}node_modules/qjsc/deps/quickjs_2021_03_27`;
const QUICKJS_FILES = ["quickjs", "libregexp", "libunicode", "cutils", "libbf"];
const QUICKJS_FLAGS = ["-D_GNU_SOURCE", "-DCONFIG_BIGNUM", '-DCONFIG_VERSION="2021-03-27"', "-w"];
/** Behind all that the runtime has, and within the 2 GiB that code can name shortly. */
const ADDRESS = 0x40000000;
const COMPILER = "gcc";
const LIBRARIES = ["-lm", "-lpthread"];

const flags = ["-O3", "-fno-stack-protector", "-fcf-protection=none", "-fno-pie"];
const ownFlags = [...flags, "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-cast-function-type"];
/** No call of the C library, not even one that the compiler puts in by itself. */
const aloneFlags = ["-ffreestanding", "-fno-tree-loop-distribute-patterns"];

async function run(command: readonly string[]): Promise<Uint8Array> {
  const child = Bun.spawn([...command], { stdout: "pipe", stderr: "pipe" });
  const [out, errors, status] = await Promise.all([
    new Response(child.stdout).bytes(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (status !== 0) throw new Error(`${command.join(" ")}: ${errors}`);
  return out;
}

/** Why there is no engine on this machine, and what to do; undefined where one can be built. */
export async function engineRefused(): Promise<string | undefined> {
  if (process.platform !== "linux" || process.arch !== "x64")
    return "The engine's first instructions are for x86-64 only.";
  const advice = "apt-get install gcc libc6-dev   (Debian, Ubuntu)";
  if (Bun.which(COMPILER) === null) return `There is no C compiler (${COMPILER}).\n  ${advice}`;
  const library = new TextDecoder().decode(await run([COMPILER, "-print-file-name=libc.a"])).trim();
  return library.includes("/") ? undefined : `There is no C library to link statically (libc.a).\n  ${advice}`;
}

/** QuickJS compiled, in a directory of its own: once for each version of it, as it takes some 15 s of a processor. */
async function quickjs(): Promise<string> {
  const texts = QUICKJS_FILES.map((f) => readFileSync(`${QUICKJS}/${f}.c`));
  const version = new TextDecoder().decode(await run([COMPILER, "-dumpfullversion"]));
  const key = hash(version, [...flags, ...QUICKJS_FLAGS].join(" "), ...texts);
  return await new Store(`${root}dist/engine`, 1).get("quickjs", key, async (path) => {
    mkdirSync(path);
    await Promise.all(
      QUICKJS_FILES.map((f) =>
        run([COMPILER, ...flags, ...QUICKJS_FLAGS, "-c", `${QUICKJS}/${f}.c`, "-o", `${path}/${f}.o`]),
      ),
    );
  });
}

async function compileC(...what: readonly string[]): Promise<void> {
  await run([COMPILER, ...ownFlags, "-isystem", QUICKJS, ...what]);
}

/** A program's modules, by file name, as QuickJS's bytecode: the file that the engine carries. */
async function modulesFile(
  modules: ReadonlyMap<string, string>,
  directory: string,
  objects: readonly string[],
): Promise<string> {
  const sources = `${directory}/modules`;
  mkdirSync(sources);
  for (const [name, code] of modules) writeFileSync(`${sources}/${name}`, code);
  const tool = `${directory}/bytecode`;
  await compileC("-no-pie", `${OWN}/bytecode.c`, ...objects, ...LIBRARIES, "-o", tool);
  const file = `${directory}/modules.bytecode`;
  writeFileSync(file, await run([tool, ...[...modules.keys()].map((name) => `${sources}/${name}`)]));
  return file;
}

/**
 * The engine with a program, as a file of its own.
 * @param modules by file name; `main.js` is the first to run
 * @param runtime what it becomes where it cannot go on
 * Throws with what the compilers say.
 */
export async function engineWith(modules: ReadonlyMap<string, string>, runtime: Start): Promise<Uint8Array> {
  const directory = mkdtempSync(`${tmpdir()}/berth-engine-`);
  try {
    const compiled = await quickjs();
    const objects = QUICKJS_FILES.map((f) => `${compiled}/${f}.o`);
    const bytecode = await modulesFile(modules, directory, objects);
    const files = readdirSync(OWN).filter((f) => f.endsWith(".c") && f !== "bytecode.c");
    const own = files.map((f) => `${directory}/${f}.o`);
    await Promise.all(
      files.map(async (f, i) => {
        const how = f === "enter.c" ? aloneFlags : [`-DMODULES="${bytecode}"`];
        await compileC(...how, "-c", `${OWN}/${f}`, "-o", own[i] ?? "");
      }),
    );
    const { entry, headers, count } = runtime;
    const symbols = { runtime_entry: entry, runtime_headers: headers, runtime_header_count: count };
    const said = Object.entries(symbols).map(([name, value]) => `-Wl,--defsym=${name}=0x${value.toString(16)}`);
    const layout = ["-Wl,-e,enter", `-Wl,-Ttext-segment=0x${ADDRESS.toString(16)}`, "-Wl,-z,noseparate-code"];
    const file = `${directory}/engine`;
    const linker = [COMPILER, "-static", "-no-pie", "-s", ...layout, ...said, "-Wl,--build-id=none"];
    await run([...linker, ...own, ...objects, ...LIBRARIES, "-o", file]);
    return readFileSync(file);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Puts the engine in front of a compiled program, where this machine can build one; else says why not, on stderr. The file is
 * written in one go: the page cache then holds it in large pieces, which a start maps with fewer page faults.
 * Throws with what the compilers say.
 */
export async function finish(executable: string): Promise<void> {
  const program = readFileSync(executable);
  const refused = await engineRefused();
  if (refused !== undefined)
    console.error(`The executable is slower than it could be: it has no engine of its own for CNI calls.\n${refused}`);
  const whole = `${executable}.whole`;
  const engine = refused === undefined ? await engineWith(await bundleForEngine(), startOf(program)) : undefined;
  writeFileSync(whole, engine === undefined ? program : together(program, engine));
  chmodSync(whole, 0o755);
  renameSync(whole, executable);
}
