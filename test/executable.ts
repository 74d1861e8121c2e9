// The compiled program, for what only it can show: how it starts, what it takes from its surroundings, how many of it go on.
// It is compiled once for each state of its source, as that takes some ten seconds of a processor; the files of tests share it.
import { readdirSync, readFileSync } from "node:fs";
import { hash, Store } from "../scripts/kept.ts";

const root = new URL("..", import.meta.url).pathname;
/** Relative to the project, with whose copies it goes. */
const DIRECTORY = "dist/test";
const store = new Store(root + DIRECTORY, 1);

/** All that it is made from, relative to the project. */
function sources(): string[] {
  const directories = ["src", "engine"].flatMap((d) => readdirSync(root + d, { recursive: true, withFileTypes: true }));
  const files = directories.flatMap((f) => (f.isFile() ? [`${f.parentPath}/${f.name}`.slice(root.length)] : []));
  const scripts = ["bundle", "compile", "elf", "engine"].map((name) => `scripts/${name}.ts`);
  return [...files.toSorted(), "package.json", "package-lock.json", ...scripts];
}

/** Its path, from the project's root; nobody may change what is there. Throws with what the compilers say. */
export async function executableFile(): Promise<string> {
  const key = hash(...sources().flatMap((f) => [f, readFileSync(root + f)]));
  return (await store.get("berth", key, compile)).slice(root.length);
}

/** In a process of its own: what memory it takes would count as its caller's, and as that of what the caller starts (ru_maxrss). */
function compile(path: string): void {
  const r = Bun.spawnSync([process.execPath, "scripts/compile.ts", path], { cwd: root, stderr: "pipe" });
  if (r.exitCode !== 0) throw new Error(`compile ${path}: ${r.stderr.toString()}`);
}

/** Its path. Throws with what the compilers say. */
export async function executablePath(): Promise<string> {
  return root + (await executableFile());
}
