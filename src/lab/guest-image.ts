// What a small guest starts from: an initramfs with the drivers of its kernel, busybox, and some programs of this machine.
// It starts in two seconds under software emulation, and has little memory to migrate.
import { readFileSync, realpathSync } from "node:fs";
import { Failure } from "../report/failure.ts";
import agent from "./agent.sh" with { type: "text" };
import { FileTree } from "./cpio.ts";
import { moduleFiles } from "./guest-kernel.ts";
import init from "./guest-init.sh" with { type: "text" };
import server from "./guest-server.sh" with { type: "text" };

const MODULES = ["virtio_pci", "virtio_net", "virtio_console"];
/** Programs of this machine that the guest has as they are: busybox's can do less. Their packages are Debian's. */
const WHOLE = { ip: "iproute2", ping: "iputils-ping", ss: "iproute2" } as const;
const BUSYBOX = { busybox: "busybox-static" } as const;

/** Where programs are. Throws `Failure` (`unavailable`) that names all that are missing, with their packages. */
export function findPrograms(programs: Readonly<Record<string, string>>, what: string): Map<string, string> {
  const path = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`; // where ip and ping may be, and no user's PATH leads
  const found = new Map<string, string>();
  const missing: string[] = [];
  for (const [program, ofPackage] of Object.entries(programs)) {
    const at = Bun.which(program, { PATH: path });
    if (at === null) missing.push(`${program} (Debian's package ${ofPackage})`);
    else found.set(program, realpathSync(at));
  }
  if (missing.length === 0) return found;
  throw new Failure("unavailable", `${what}: this machine has no ${missing.join(", no ")}`, {
    advice: `Install what is missing: apt-get install ${[...new Set(Object.values(programs))].join(" ")}`,
  });
}

/** The dynamic loader, where the x86-64 ABI has it. */
const LOADER = "/lib64/ld-linux-x86-64.so.2";

/** The libraries that a program loads, the loader among them, as that says; none of one that is linked statically. */
function librariesOf(program: string): string[] {
  if (Bun.spawnSync([LOADER, "--verify", program]).exitCode !== 0) return [];
  const said = Bun.spawnSync([LOADER, "--list", program]).stdout.toString();
  return [...said.matchAll(/(\/\S+) \(0x/gu)].map((m) => m[1] ?? "");
}

/**
 * A small guest's initramfs. Throws `Failure` (`unavailable`) where a program is missing.
 * @param modules directory of the kernel's modules, as /lib/modules/RELEASE
 */
export function guestInitramfs(release: string, modules: string): Uint8Array {
  const programs = findPrograms({ ...BUSYBOX, ...WHOLE }, "build a virtual machine's image");
  const tree = new FileTree();
  for (const d of ["proc", "sys", "dev", "tmp", "run", "bin"]) tree.directory(d);
  tree.link("bin/sh", "busybox").link("sbin", "bin"); // the kernel calls /sbin/modprobe
  const copied = new Set<string>();
  for (const [name, path] of programs) {
    tree.file(name in WHOLE ? `bin/whole/${name}` : `bin/${name}`, readFileSync(path), true);
    for (const library of librariesOf(path)) {
      if (!copied.has(library)) tree.file(library.slice(1), readFileSync(library), true);
      copied.add(library);
    }
  }
  const { files, dependencies } = moduleFiles(modules, MODULES);
  for (const f of files) tree.file(`lib/modules/${release}/${f}`, readFileSync(`${modules}/${f}`));
  tree.file(`lib/modules/${release}/modules.dep`, Buffer.from(dependencies));
  for (const [name, script] of Object.entries({ init, "bin/agent": agent, "bin/server": server }))
    tree.file(name, Buffer.from(script), true);
  return tree.cpio();
}
