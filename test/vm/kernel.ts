// Debian's kernel, taken out of its package, and the uncompressed image that QEMU starts at once.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { download, needPrograms, output, resolve } from "./packages.ts";
import { hash } from "../../scripts/kept.ts";
import { store } from "./state.ts";

/** The package that Debian's clouds use. */
export const KERNEL_PACKAGE = "linux-image-cloud-amd64";

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
function elfOf(bzImage: Uint8Array): Uint8Array {
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

/** A kernel as its package has it. */
export interface Kernel {
  /** As `6.1.0-9-cloud-amd64`. */
  readonly release: string;
  /** Path of the bzImage, in a directory `boot` beside `lib/modules`. */
  readonly bzImage: string;
  /** Path of its ELF image. */
  readonly elf: string;
  /** Directory of its modules. */
  readonly modules: string;
}

/** Debian's kernel, unpacked where it was not before. Throws `Unavailable`. */
export async function debianKernel(): Promise<Kernel> {
  const resolved = await resolve([], KERNEL_PACKAGE);
  const source = readFileSync(import.meta.path);
  const directory = await store.get("kernel", hash(...resolved.files, source), (path) => {
    needPrograms({ depmod: "kmod", xz: "xz-utils" });
    download(resolved, `${store.directory}/packages`);
    mkdirSync(path);
    for (const file of resolved.files) output(["dpkg", "-x", `${store.directory}/packages/${file}`, path]);
    const release = releaseIn(path);
    output(["depmod", "-b", path, release]);
    writeFileSync(`${path}/elf`, elfOf(readFileSync(`${path}/boot/vmlinuz-${release}`)));
  });
  const release = releaseIn(directory);
  return {
    release,
    bzImage: `${directory}/boot/vmlinuz-${release}`,
    elf: `${directory}/elf`,
    modules: `${directory}/lib/modules/${release}`,
  };
}

function releaseIn(directory: string): string {
  const release = readdirSync(`${directory}/lib/modules`)[0];
  if (release === undefined) throw new Error(`there are no kernel modules in ${directory}`);
  return release;
}
