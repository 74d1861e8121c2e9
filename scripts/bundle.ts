// The program as a few JavaScript modules. To come to be is most of what a CNI call's code costs: each module, each function
// that is called once, each constant. So all that every attachment's commands run is one module, whose functions stand where
// they are called as far as that can be told; what is rare stays apart and is loaded when it is needed. (bun build by itself
// makes a module of every set of files that some entry shares: an ADD then loads twenty.)
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { type GetModuleInfo, type Plugin, rollup } from "rollup";
import { minify, type MinifyOptions } from "terser";

const root = new URL("../", import.meta.url).pathname;
const ENTRY = `${root}src/main.ts`;
/** Where the code of a CNI call begins. */
const CNI = `${root}src/cni/process.ts`;
const BUILT_IN = /^(?:bun|node):/u;

/** What the engine's program begins with, and what stands in it for modules of the runtime. */
const ENGINE_ENTRY = `${root}engine/program.ts`;
const ENGINE_MODULES: ReadonlyMap<string, string> = new Map([
  ["bun:ffi", `${root}engine/ffi.ts`],
  ["bun:wrap", `${root}engine/disposal.ts`],
]);
/** What the engine leaves to the runtime: it has no way to start programs. Only ever imported when it is needed. */
const RUNTIME_ONLY = /\/src\/ipam\/delegated\.ts$/u;

/** How TypeScript becomes JavaScript. */
interface Target {
  /** Bun's names for how much of the language may stay: `browser` has no `using`. */
  readonly language: "bun" | "browser";
  /** Modules of the runtime and what stands for them; without any they are the runtime's own. */
  readonly modules: ReadonlyMap<string, string>;
  /** Modules that are left out: to import them fails, or whatever the engine does then. */
  readonly without?: RegExp;
}

/** TypeScript, JSON and text as JavaScript modules, found as Bun finds them. */
function sources({ language, modules, without }: Target): Plugin {
  return {
    name: "sources",
    resolveId(source, importer) {
      const replaced = modules.get(source);
      if (replaced !== undefined) return replaced;
      if (BUILT_IN.test(source)) return { id: source, external: true };
      if (importer === undefined) return source;
      const path = Bun.resolveSync(source, importer.slice(0, importer.lastIndexOf("/")));
      return without?.test(path) === true ? { id: path, external: true } : path;
    },
    load(path) {
      const text = readFileSync(path, "utf8");
      if (path.endsWith(".ts")) return new Bun.Transpiler({ loader: "ts", target: language }).transformSync(text);
      if (path.endsWith(".json")) return objectModule(JSON.parse(text) as Readonly<Record<string, unknown>>);
      return path.endsWith("js") ? text : `export default ${JSON.stringify(text)};`;
    },
  };
}

/** A module that exports an object's keys, of which only those that are used get into the program. */
function objectModule(object: Readonly<Record<string, unknown>>): string {
  const lines = Object.entries(object).map(
    ([key, value], i) => `const v${i} = ${JSON.stringify(value)};\nexport { v${i} as ${JSON.stringify(key)} };`,
  );
  return lines.join("\n");
}

/** A module and all that it imports, but for what it imports when it is needed. */
function closureOf(path: string, getModuleInfo: GetModuleInfo): Set<string> {
  const found = new Set([path]);
  for (const module of found) {
    for (const imported of getModuleInfo(module)?.importedIds ?? []) if (!BUILT_IN.test(imported)) found.add(imported);
  }
  return found;
}

/** The name of the module that a CNI call runs. */
const HOT = "cni";

/** Nothing here assumes more of the code than that it is a module. Names are left to bun build, which needs them no more. */
const shrinking: MinifyOptions = {
  module: true,
  ecma: 2020,
  // a buffer lives as long as a variable names it: a variable that is used once must stay, as the kernel writes to its address
  compress: { passes: 3, inline: 3, keep_fargs: false, collapse_vars: false },
  mangle: false,
  format: { beautify: true, comments: false },
};

async function shrunk(source: string, options: MinifyOptions): Promise<string> {
  const { code } = await minify(source, options);
  if (code === undefined) throw new Error("terser: nothing came of it");
  return code;
}

/** The program's modules by file name; the first to run is `main.js`. Throws with what Rollup or terser say. */
export async function bundle(): Promise<ReadonlyMap<string, string>> {
  const program = await rollup({
    input: { main: ENTRY },
    plugins: [sources({ language: "bun", modules: new Map() })],
    // whoever imports a file wants its exports: none here does something by being loaded
    treeshake: { moduleSideEffects: false },
  });
  let hot: ReadonlySet<string> | undefined;
  const { output } = await program.generate({
    format: "es",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    onlyExplicitManualChunks: true,
    manualChunks: (path, { getModuleInfo }) => ((hot ??= closureOf(CNI, getModuleInfo)).has(path) ? HOT : undefined),
  });
  await program.close();
  const modules = new Map<string, string>();
  for (const file of output) {
    if (file.type !== "chunk") continue;
    // the others are left to bun build: terser takes seconds for them, which no call would get back
    modules.set(file.fileName, file.name === HOT ? await shrunk(file.code, shrinking) : file.code);
  }
  return modules;
}

/**
 * A program for the engine: modules by file name, of which `main.js` is the first to run. Throws with what Rollup or terser say.
 * @param entry its first file; it is to begin with what engine/program.ts begins with
 */
export async function bundleForEngine(entry = ENGINE_ENTRY): Promise<ReadonlyMap<string, string>> {
  const program = await rollup({
    input: { main: entry },
    plugins: [sources({ language: "browser", modules: ENGINE_MODULES, without: RUNTIME_ONLY })],
    // as above, but that the engine's own files put things into the global object, and whoever begins does something
    treeshake: { moduleSideEffects: (path) => [`${root}engine`, dirname(entry)].includes(dirname(path)) },
  });
  const { output } = await program.generate({
    format: "es",
    entryFileNames: "[name].js",
    chunkFileNames: "[name].js",
    onlyExplicitManualChunks: true,
  });
  await program.close();
  const modules = new Map<string, string>();
  for (const file of output)
    if (file.type === "chunk") modules.set(file.fileName, await shrunk(file.code, { ...shrinking, mangle: true }));
  return modules;
}
