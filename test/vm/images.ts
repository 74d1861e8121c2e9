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
import { cpio, type Entry } from "./cpio.ts";
import { elfOf, moduleFiles, releaseIn } from "./kernel.ts";
import { download, needPrograms, output, resolve } from "./packages.ts";
import { hash, kept, stateDirectory } from "./state.ts";

const root = new URL("../..", import.meta.url).pathname;
const here = import.meta.dir;

const KERNEL = "linux-image-cloud-amd64";
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
export interface System {
  readonly kernel: string;
  readonly initramfs: string;
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
  const chroot = ["unshare", "--user", "--map-root-user", "chroot", system];
  output([...chroot, "/sbin/depmod", "-a", releaseIn(system)]);
}

function initramfs(system: string): Uint8Array {
  const release = releaseIn(system);
  const modules = `usr/lib/modules/${release}`;
  const { files, dependencies } = moduleFiles(`${system}/${modules}`, BOOT_MODULES);
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
  for (const d of ["proc", "sys", "dev", "new", "system", "written"]) directory(d);
  file("bin/busybox", readFileSync(`${system}/bin/busybox`), true);
  entries.push({ path: "bin/sh", target: "busybox" });
  entries.push({ path: "sbin", target: "bin" }); // the kernel calls /sbin/modprobe
  for (const f of files) file(`lib/modules/${release}/${f}`, readFileSync(`${system}/${modules}/${f}`));
  file(`lib/modules/${release}/modules.dep`, Buffer.from(dependencies));
  file("init", readFileSync(`${here}/guest/init.sh`), true);
  return cpio(entries);
}

/** Kernel, initramfs and the system's disk, built where they were not built before. Throws `Unavailable`. */
export async function systemImages(): Promise<System> {
  const resolved = await resolve(GUEST_PACKAGES, KERNEL);
  const sources = ["images.ts", "kernel.ts", "cpio.ts", "guest/init.sh", "guest/agent.sh"].map((f) =>
    readFileSync(`${here}/${f}`),
  );
  const directory = await kept("system", hash(...resolved.files, ...sources), (path) => {
    needPrograms({ mksquashfs: "squashfs-tools", xz: "xz-utils" });
    const packages = `${stateDirectory}/packages`;
    download(resolved, packages);
    const system = `${path}/unpacked`;
    mkdirSync(system, { recursive: true });
    unpack(packages, resolved.files, system);
    configure(system);
    copyFileSync(`${here}/guest/agent.sh`, `${system}/usr/sbin/agent`);
    output(["chmod", "755", `${system}/usr/sbin/agent`]);
    writeFileSync(`${path}/kernel`, elfOf(readFileSync(`${system}/boot/vmlinuz-${releaseIn(system)}`)));
    writeFileSync(`${path}/initramfs`, initramfs(system));
    for (const d of [...UNUSED, "boot"]) rmSync(`${system}/${d}`, { recursive: true, force: true });
    pack(system, `${path}/disk`);
    rmSync(system, { recursive: true });
  });
  return { kernel: `${directory}/kernel`, initramfs: `${directory}/initramfs`, disk: `${directory}/disk` };
}

/** What of node_modules no test and no source imports at run time: tools, the types, other copies of the runtime. */
const TOOLS =
  /^(\.bin|\.package-lock\.json|bun|typescript|@typescript|oxlint.*|@oxlint.*|@oxc.*|oxc-.*|knip|zod|bun-types|undici-types|@types)$/u;

/** The runtime and the packages that tests import: a disk that changes with the lockfile only. */
async function dependenciesDisk(): Promise<string> {
  const runtime = process.execPath;
  const { size, mtimeMs } = statSync(runtime);
  const key = hash(readFileSync(`${root}package-lock.json`), `${size} ${mtimeMs}`, TOOLS.source);
  return kept("dependencies", key, (path) => {
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

/** The project as it is now. */
async function projectDisk(): Promise<string> {
  const files = projectFiles();
  const key = hash(...files.flatMap((f) => [f, readFileSync(root + f)]));
  return kept("project", key, (path) => {
    const tree = `${path}.tree`;
    rmSync(tree, { recursive: true, force: true });
    for (const f of files) {
      mkdirSync(`${tree}/${f}`.replace(/\/[^/]*$/u, ""), { recursive: true });
      copyFileSync(root + f, `${tree}/${f}`);
    }
    mkdirSync(`${tree}/node_modules`);
    mkdirSync(`${tree}/dist`);
    pack(tree, path);
    rmSync(tree, { recursive: true });
  });
}

/** The project and its dependencies as disks: the first is to be mounted at /project, the second at /project/node_modules. */
export async function projectDisks(): Promise<readonly [project: string, dependencies: string]> {
  return [await projectDisk(), await dependenciesDisk()];
}
