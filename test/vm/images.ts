// The images that a guest starts from: kernel, initramfs, the system's disk (Debian's packages), the project's disk.
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { FileTree } from "../../src/lab/cpio.ts";
import type { GuestImage } from "../../src/lab/guest.ts";
import { moduleFiles } from "../../src/lab/guest-kernel.ts";
import { executableFile } from "../executable.ts";
import { debianKernel, type Kernel, KERNEL_PACKAGE } from "./kernel.ts";
import { download, needPrograms, output, resolve } from "./packages.ts";
import { hash } from "../../scripts/kept.ts";
import { store } from "./state.ts";

const root = new URL("../..", import.meta.url).pathname;
const here = import.meta.dir;

const GUEST_PACKAGES = [
  "busybox-static",
  "coreutils",
  "dash",
  "grep",
  "kmod",
  "mount",
  "procps",
  "sed",
  "usr-is-merged",
  "util-linux",
  "ebtables",
  "iproute2",
  "iptables",
  "iputils-ping",
  "netbase",
  "nftables",
  "containernetworking-plugins",
  "libgcc-s1",
  "libstdc++6", // the JavaScript runtime's
];
/** What the initramfs needs to come to the system's disk; everything else the kernel loads from there. */
const BOOT_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "squashfs", "overlay"];
/** Left out of the system's disk. */
const UNUSED = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"];

/** Paths of what every guest starts from. */
export interface System extends GuestImage {
  readonly disk: string;
}

/** Packs a directory, owned by root, not compressed: emulation reads it faster, and the host's page cache holds it. */
function pack(directory: string, image: string): void {
  output([
    "mksquashfs",
    directory,
    image,
    "-all-root",
    "-no-progress",
    "-noI",
    "-noD",
    "-noF",
    "-noX",
    "-no-xattrs",
    "-quiet",
  ]);
}

/** Unpacks packages into a directory, as dpkg would on a system whose /bin is /usr/bin; no maintainer script runs. */
function unpack(packages: string, files: readonly string[], into: string): void {
  for (const d of ["bin", "sbin", "lib", "lib64"]) {
    mkdirSync(`${into}/usr/${d}`, { recursive: true });
    symlinkSync(`usr/${d}`, `${into}/${d}`);
  }
  const script = `dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$1"`;
  for (const file of files) output(["sh", "-c", script, `${packages}/${file}`, into]);
}

/** What maintainer scripts would have done. */
function configure(system: string): void {
  for (const name of ["iptables", "ip6tables", "ebtables", "arptables"]) {
    const link = `${system}/usr/sbin/${name}`;
    if (!existsSync(link)) symlinkSync(`${name}-nft`, link);
  }
  for (const d of ["proc", "sys", "dev", "run", "tmp", "root", "etc", "mnt", "project", "var/lib", "var/tmp"])
    mkdirSync(`${system}/${d}`, { recursive: true });
  writeFileSync(
    `${system}/etc/passwd`,
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
  );
  writeFileSync(`${system}/etc/group`, "root:x:0:\nnogroup:x:65534:\n");
  writeFileSync(`${system}/etc/hosts`, "127.0.0.1 localhost\n::1 localhost\n");
  writeFileSync(`${system}/etc/hostname`, "guest\n");
  output(["chmod", "1777", `${system}/tmp`, `${system}/var/tmp`]);
}

function initramfs(system: string, { release, modules }: Kernel): Uint8Array {
  const { files, dependencies } = moduleFiles(modules, BOOT_MODULES);
  const tree = new FileTree();
  for (const d of ["proc", "sys", "dev", "new", "system", "written"]) tree.directory(d);
  tree.file("bin/busybox", readFileSync(`${system}/bin/busybox`), true);
  tree.link("bin/sh", "busybox").link("sbin", "bin"); // the kernel calls /sbin/modprobe
  for (const f of files) tree.file(`lib/modules/${release}/${f}`, readFileSync(`${modules}/${f}`));
  tree.file(`lib/modules/${release}/modules.dep`, Buffer.from(dependencies));
  return tree.file("init", readFileSync(`${here}/guest/init.sh`), true).cpio();
}

/** The guest's own programs, by their names in /usr/sbin. */
const programs = { start: `${here}/guest/start.sh`, agent: `${root}src/lab/agent.sh` } as const;

/** Kernel, initramfs and the system's disk, built where they were not built before. Throws `Unavailable`. */
export async function systemImages(): Promise<System> {
  const kernel = await debianKernel();
  const resolved = await resolve(GUEST_PACKAGES, KERNEL_PACKAGE);
  const sources = [import.meta.path, `${root}src/lab/cpio.ts`, `${here}/guest/init.sh`, ...Object.values(programs)];
  const key = hash(...resolved.files, ...sources.map((f) => readFileSync(f)));
  const directory = await store.get("system", key, (path) => {
    needPrograms({ mksquashfs: "squashfs-tools" });
    const packages = `${store.directory}/packages`;
    download(resolved, packages);
    const system = `${path}/unpacked`;
    mkdirSync(system, { recursive: true });
    unpack(
      packages,
      resolved.files.filter((f) => !f.startsWith("linux-image-")),
      system,
    );
    configure(system);
    cpSync(kernel.modules, `${system}/usr/lib/modules/${kernel.release}`, { recursive: true });
    for (const [name, source] of Object.entries(programs)) {
      copyFileSync(source, `${system}/usr/sbin/${name}`);
      output(["chmod", "755", `${system}/usr/sbin/${name}`]);
    }
    writeFileSync(`${path}/initramfs`, initramfs(system, kernel));
    for (const d of UNUSED) rmSync(`${system}/${d}`, { recursive: true, force: true });
    pack(system, `${path}/disk`);
    rmSync(system, { recursive: true });
  });
  return { kernel: kernel.elf, initramfs: `${directory}/initramfs`, disk: `${directory}/disk` };
}

/** What of node_modules no test and no source imports at run time: tools, the types, other copies of the runtime. */
const TOOLS =
  /^(\.bin|\.package-lock\.json|bun|typescript|@typescript|oxlint.*|@oxlint.*|@oxc.*|oxc-.*|knip|zod|bun-types|undici-types|@types)$/u;

/** The runtime and the packages that tests import: a disk that changes with the lockfile only. */
async function dependenciesDisk(): Promise<string> {
  const runtime = process.execPath;
  const { size, mtimeMs } = statSync(runtime);
  const key = hash(readFileSync(`${root}package-lock.json`), `${size} ${mtimeMs}`, TOOLS.source);
  return store.get("dependencies", key, (path) => {
    needPrograms({ mksquashfs: "squashfs-tools" });
    const tree = `${path}.tree`;
    rmSync(tree, { recursive: true, force: true });
    mkdirSync(`${tree}/.bin`, { recursive: true });
    for (const name of readdirSync(`${root}node_modules`).filter((n) => !TOOLS.test(n)))
      cpSync(`${root}node_modules/${name}`, `${tree}/${name}`, { recursive: true });
    copyFileSync(runtime, `${tree}/.bin/bun`);
    pack(tree, path);
    rmSync(tree, { recursive: true });
  });
}

/** The project's files, without history, dependencies and what is made of them. */
function projectFiles(): string[] {
  const not = /^(\.git|node_modules|dist|coverage|test-results)(\/|$)/u;
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((f) => !not.test(f) && statSync(root + f).isFile())
    .toSorted();
}

/** The project as it is now, with the program compiled: an emulated machine takes minutes for it. */
async function projectDisk(): Promise<string> {
  const files = [...projectFiles(), await executableFile()];
  const key = hash(...files.flatMap((f) => [f, readFileSync(root + f)]));
  return store.get("project", key, (path) => {
    const tree = `${path}.tree`;
    rmSync(tree, { recursive: true, force: true });
    for (const f of files) {
      mkdirSync(`${tree}/${f}`.replace(/\/[^/]*$/u, ""), { recursive: true });
      copyFileSync(root + f, `${tree}/${f}`);
    }
    mkdirSync(`${tree}/node_modules`);
    pack(tree, path);
    rmSync(tree, { recursive: true });
  });
}

/** The project and its dependencies as disks: the first is to be mounted at /project, the second at /project/node_modules. */
export async function projectDisks(): Promise<readonly [project: string, dependencies: string]> {
  return [await projectDisk(), await dependenciesDisk()];
}
