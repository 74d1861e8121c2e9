// The image of a small guest: Debian's kernel, and an initramfs with busybox and iproute2. It starts in two seconds under
// software emulation, and has little memory to migrate.
import { mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { cpio, type Entry } from "../vm/cpio.ts";
import { elfOf, moduleFiles, releaseIn } from "../vm/kernel.ts";
import { download, output, resolve } from "../vm/packages.ts";
import { hash, kept, stateDirectory } from "../vm/state.ts";

const KERNEL = "linux-image-cloud-amd64";
const MODULES = ["virtio_pci", "virtio_net", "virtio_console"];

/** A program of this machine, with the libraries that it loads. */
function withLibraries(program: string): string[] {
  const libraries = [...output(["ldd", program]).matchAll(/(\/\S+) \(0x/gu)].map((m) => m[1] ?? "");
  return [program, ...libraries];
}

function initramfs(system: string, modules: string): Uint8Array {
  const release = releaseIn(system);
  const { files, dependencies } = moduleFiles(modules, MODULES);
  const entries: Entry[] = [];
  const directories = new Set<string>();
  const directory = (path: string): void => {
    if (path === "" || directories.has(path)) return;
    directory(path.replace(/\/?[^/]*$/u, ""));
    directories.add(path);
    entries.push({ path, directory: true });
  };
  const file = (path: string, contents: Uint8Array, executable = false): void => {
    directory(path.replace(/\/?[^/]*$/u, ""));
    entries.push({ path, contents, executable });
  };
  for (const d of ["proc", "sys", "dev", "tmp", "run"]) directory(d);
  file("bin/busybox", readFileSync(`${system}/bin/busybox`), true);
  entries.push({ path: "bin/sh", target: "busybox" });
  entries.push({ path: "sbin", target: "bin" }); // the kernel calls /sbin/modprobe
  const [ip = "", ...libraries] = withLibraries(realpathSync(Bun.which("ip") ?? "/usr/sbin/ip"));
  file("bin/iproute2", readFileSync(ip), true);
  for (const library of libraries) file(library.slice(1), readFileSync(library), true);
  for (const f of files) file(`lib/modules/${release}/${f}`, readFileSync(`${modules}/${f}`));
  file(`lib/modules/${release}/modules.dep`, Buffer.from(dependencies));
  file("init", readFileSync(`${import.meta.dir}/init.sh`), true);
  return cpio(entries);
}

/** The directory of `kernel` and `initramfs`, built where they were not built before. Throws `Unavailable` of test/vm. */
export async function smallImage(): Promise<string> {
  const resolved = await resolve(["busybox-static"], KERNEL);
  const sources = ["image.ts", "init.sh"].map((f) => readFileSync(`${import.meta.dir}/${f}`));
  return await kept("small", hash(...resolved.files, ...sources), (path) => {
    const packages = `${stateDirectory}/packages`;
    download(resolved, packages);
    const system = `${path}/unpacked`;
    for (const d of ["bin", "sbin", "lib"]) {
      mkdirSync(`${system}/usr/${d}`, { recursive: true });
      symlinkSync(`usr/${d}`, `${system}/${d}`);
    }
    const script = `dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1"`;
    for (const file of resolved.files) output(["sh", "-c", script, `${packages}/${file}`, system]);
    const release = releaseIn(system);
    output(["depmod", "-b", system, release]);
    writeFileSync(`${path}/kernel`, elfOf(readFileSync(`${system}/boot/vmlinuz-${release}`)));
    writeFileSync(`${path}/initramfs`, initramfs(system, `${system}/usr/lib/modules/${release}`));
    rmSync(system, { recursive: true });
  });
}
