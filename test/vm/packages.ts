// Debian packages: installed on this machine where a program of the bench is missing, or only downloaded for the guest.
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { hash } from "../../scripts/kept.ts";
import { store } from "./state.ts";

/** Why virtual machines cannot be started here, and what to do about it. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}

const LISTS = "/var/lib/apt/lists";

/** Runs a program; its standard output. Throws with its error text where it fails. */
export function output(argv: readonly string[]): string {
  const r = Bun.spawnSync([...argv], { env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" } });
  if (r.exitCode === 0) return r.stdout.toString();
  throw new Error(`${argv.join(" ")}: exit ${r.exitCode}: ${r.stderr.toString().trim() || r.stdout.toString().trim()}`);
}

function apt(...args: readonly string[]): string {
  return output(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600", ...args]);
}

/** Debian's package lists are there afterwards; fetched where this machine has none. Throws `Unavailable`. */
function needLists(): void {
  if (process.arch !== "x64" || Bun.which("apt-get") === null) {
    throw new Unavailable(
      "the bench takes its kernel and programs from Debian's packages for amd64, which this machine does not use",
    );
  }
  if (existsSync(LISTS) && readdirSync(LISTS).some((f) => f.includes("_Packages"))) return;
  try {
    apt("update");
  } catch (e) {
    throw new Unavailable(`apt-get update: ${e instanceof Error ? e.message : String(e)}`);
  }
}

/** Installs packages on this machine whose programs are missing. Throws `Unavailable` where that fails or needs root. */
export function needPrograms(programs: Readonly<Record<string, string>>): void {
  const packages = [...new Set(Object.entries(programs).flatMap(([p, pkg]) => (Bun.which(p) === null ? [pkg] : [])))];
  if (packages.length === 0) return;
  needLists();
  if (process.getuid?.() !== 0) {
    throw new Unavailable(
      `install ${packages.join(", ")} first (apt-get install ${packages.join(" ")}): that needs root`,
    );
  }
  try {
    apt("install", "-y", "--no-install-recommends", ...packages);
  } catch (e) {
    throw new Unavailable(`cannot install ${packages.join(", ")}: ${e instanceof Error ? e.message : String(e)}`);
  }
}

/** apt with an empty list of installed packages: what it resolves is complete without this machine's own. */
function aptFromNothing(...args: readonly string[]): string {
  const nothing = `${store.directory}/nothing-installed`;
  mkdirSync(store.directory, { recursive: true });
  writeFileSync(nothing, "");
  return apt("-o", `Dir::State::status=${nothing}`, "-o", "Debug::NoLocking=1", ...args);
}

/** Packages with all that they depend on, by file name: what to download, and a key for what is made of it. */
export interface Resolved {
  readonly packages: readonly string[];
  readonly files: readonly string[];
}

function fileNames(uris: string): string[] {
  return uris.split("\n").flatMap((l) => /^'[^']*' (\S+)/u.exec(l)?.[1] ?? []);
}

/** Which files these packages are now, as the package lists say. Throws `Unavailable`. */
export async function resolve(packages: readonly string[], kernel: string): Promise<Resolved> {
  needLists();
  // asking apt takes seconds, and its answer changes only with its lists
  const key = hash(kernel, ...packages, `${statSync(LISTS).mtimeMs}`);
  const answer = await store.get("resolved", key, (path) => {
    const image = /^\s*Depends: (linux-image-\S+)/mu.exec(output(["apt-cache", "depends", kernel]))?.[1];
    if (image === undefined) throw new Unavailable(`Debian's package lists have no ${kernel}`);
    // apt leaves out what it finds downloaded
    const nowhere = `${store.directory}/nothing-downloaded`;
    mkdirSync(`${nowhere}/partial`, { recursive: true });
    const cache = ["-o", `Dir::Cache::archives=${nowhere}`];
    const uris = aptFromNothing(...cache, "install", "-y", "--no-install-recommends", "--print-uris", ...packages);
    const files = [...fileNames(uris), ...fileNames(apt("download", "--print-uris", image))];
    writeFileSync(path, JSON.stringify({ packages: [...packages, image], files } satisfies Resolved));
  });
  return (await Bun.file(answer).json()) as Resolved;
}

/** Downloads what was resolved, into a directory. Nothing is installed. */
export function download({ packages, files }: Resolved, directory: string): void {
  mkdirSync(`${directory}/partial`, { recursive: true });
  const wanted = packages.filter((p) => !p.startsWith("linux-image-"));
  aptFromNothing(
    "-o",
    `Dir::Cache::archives=${directory}`,
    "install",
    "-y",
    "--no-install-recommends",
    "--download-only",
    ...wanted,
  );
  for (const image of packages.filter((p) => p.startsWith("linux-image-"))) {
    // without its dependencies: they make an initramfs and write to /boot
    output(["sh", "-c", `cd "$0" && apt-get -qq -o APT::Sandbox::User=root download "$1"`, directory, image]);
  }
  const missing = files.filter((f) => !existsSync(`${directory}/${f}`));
  if (missing.length > 0) throw new Error(`not downloaded: ${missing.join(" ")}`);
}
