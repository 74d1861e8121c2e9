// A Linux kernel that a virtual machine is started with: its release, and the modules that go with it.
import { existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { Failure } from "../report/failure.ts";

// Documentation/arch/x86/boot.rst
const MAGIC_AT = 0x202;
const MAGIC = "HdrS";
const VERSION_POINTER_AT = 0x20e;

/** The release in a bzImage's header, as `6.1.0-9-cloud-amd64`. Throws `Failure` (`request`) where it is none. */
export function releaseOf(path: string): string {
  const bytes = readFileSync(path);
  const refuse = (): never => {
    throw new Failure(
      "request",
      `start a virtual machine with the kernel ${path}: it is no x86 kernel image (bzImage)`,
      {
        advice: "Debian has them as /boot/vmlinuz-RELEASE.",
      },
    );
  };
  if (bytes.subarray(MAGIC_AT, MAGIC_AT + MAGIC.length).toString("latin1") !== MAGIC) return refuse();
  const at = bytes.readUInt16LE(VERSION_POINTER_AT) + 0x200;
  return /^[\w.+~-]+/u.exec(bytes.subarray(at, at + 128).toString("latin1"))?.[0] ?? refuse();
}

/**
 * The directory of a kernel's modules: that of a kernel in DIR/boot is DIR/lib/modules/RELEASE, wherever its package was
 * unpacked. Throws `Failure` (`unavailable`) where there is none.
 */
export function modulesOf(kernel: string, release: string): string {
  const base = dirname(dirname(kernel)).replace(/\/$/u, "");
  const places = [`${base}/lib/modules/${release}`, `/lib/modules/${release}`];
  const found = places.find((d) => existsSync(`${d}/modules.dep`));
  if (found !== undefined) return found;
  throw new Failure("unavailable", `find the modules of the kernel ${kernel}: there is no ${places[0]}/modules.dep`, {
    advice: [
      "Install the kernel's package, or unpack it into a directory of its own:",
      "    dpkg -x linux-image-….deb DIR && depmod -b DIR RELEASE && berth lab tunnels --vm DIR/boot/vmlinuz-RELEASE",
    ],
  });
}

/** A module and those that it needs, as files below a directory of modules. */
export interface ModuleFiles {
  readonly files: readonly string[];
  /** Their lines of modules.dep. */
  readonly dependencies: string;
}

function nameOf(file: string): string {
  return file
    .replace(/^.*\//u, "")
    .replace(/\.ko.*$/u, "")
    .replaceAll("-", "_");
}

/** The files of modules and of all that they need, with their lines of modules.dep; a built-in one has none. */
export function moduleFiles(directory: string, names: readonly string[]): ModuleFiles {
  const lines = new Map<string, string>();
  for (const line of readFileSync(`${directory}/modules.dep`, "utf8").trim().split("\n"))
    lines.set(nameOf(line.slice(0, line.indexOf(":"))), line);
  const files = new Set<string>();
  for (const name of names)
    for (const file of (lines.get(name) ?? "").split(/:? /u)) if (file !== "") files.add(file.replace(/:$/u, ""));
  const dependencies = [...lines.values()].filter((l) => files.has(l.slice(0, l.indexOf(":"))));
  return { files: [...files], dependencies: `${dependencies.join("\n")}\n` };
}
