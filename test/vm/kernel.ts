// Debian's kernel, taken out of its package: the uncompressed image that QEMU starts at once, and modules in their order.
import { readdirSync, readFileSync } from "node:fs";

const SETUP_SECTORS = 0x1f1;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

const decompressors: readonly (readonly [magic: string, argv: readonly string[]])[] = [
  ["fd377a58", ["xz", "-dc"]],
  ["02214c18", ["lz4", "-dc"]],
  ["28b52ffd", ["zstd", "-dc"]],
];

/**
 * The ELF image in a bzImage (Documentation/x86/boot.rst: payload_offset, payload_length). It has the PVH entry, by which
 * QEMU starts it without the decompressor, which takes seconds in emulation.
 */
export function elfOf(bzImage: Uint8Array): Uint8Array {
  const view = new DataView(bzImage.buffer, bzImage.byteOffset, bzImage.byteLength);
  const start = (view.getUint8(SETUP_SECTORS) + 1) * 512 + view.getUint32(PAYLOAD_OFFSET, true);
  const payload = bzImage.subarray(start, start + view.getUint32(PAYLOAD_LENGTH, true));
  const size = new DataView(payload.buffer, payload.byteOffset).getUint32(payload.length - 4, true);
  const magic = Buffer.from(payload.subarray(0, 4)).toString("hex");
  const argv = decompressors.find(([m]) => m === magic)?.[1];
  if (argv === undefined)
    throw new Error(`the kernel is compressed in an unknown way: its payload begins with ${magic}`);
  // the last four bytes are the size, which decompressors take for garbage: what counts is what they wrote
  const r = Bun.spawnSync([...argv], { stdin: payload.subarray(0, -4) });
  const elf = r.stdout;
  if (elf.length !== size || elf.subarray(1, 4).toString() !== "ELF") {
    throw new Error(`${argv.join(" ")} made ${elf.length} of ${size} bytes of the kernel: ${r.stderr.toString()}`);
  }
  return elf;
}

/** The release whose modules are in a system's /lib/modules, as `6.1.0-9-cloud-amd64`. */
export function releaseIn(system: string): string {
  const release = readdirSync(`${system}/usr/lib/modules`)[0];
  if (release === undefined) throw new Error(`there are no kernel modules in ${system}`);
  return release;
}

/** The files of modules and of all that they need, with their lines of modules.dep; a built-in one has none. */
export function moduleFiles(directory: string, names: readonly string[]): { files: string[]; dependencies: string } {
  const lines = new Map<string, string>();
  for (const line of readFileSync(`${directory}/modules.dep`, "utf8").trim().split("\n")) {
    const file = line.slice(0, line.indexOf(":"));
    lines.set(
      file
        .replace(/^.*\//u, "")
        .replace(/\.ko.*$/u, "")
        .replaceAll("-", "_"),
      line,
    );
  }
  const files = new Set<string>();
  for (const name of names)
    for (const file of (lines.get(name) ?? "").split(/:? /u)) if (file !== "") files.add(file.replace(/:$/u, ""));
  const dependencies = [...lines.values()].filter((l) => files.has(l.slice(0, l.indexOf(":"))));
  return { files: [...files], dependencies: `${dependencies.join("\n")}\n` };
}
