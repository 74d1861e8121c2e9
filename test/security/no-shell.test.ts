// Nothing of the program starts a shell: whoever names a container cannot write a command.
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";

const root = new URL("../../src/", import.meta.url).pathname;
const ENGINE = "../engine/";
const files = [
  ...readdirSync(root, { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".ts")),
  ...readdirSync(root + ENGINE, { encoding: "utf8" }).map((f) => ENGINE + f),
];

/** Where programs are started: which, and why it is no danger. */
const starting: Readonly<Record<string, string>> = {
  "../engine/carrier.c": "Berth itself, without arguments, to carry requests to a cloud",
  "ipam/delegated.ts": "the IPAM plugin of CNI_PATH: a path, no arguments",
  "cli/install.ts": "what an administrator has in the plugins' directory, to see whether it is Berth",
  "lab/guest-image.ts": "the dynamic loader, to list the libraries of the guests' programs: the lab",
  "lab/lab.ts": "unshare, with Berth itself: the lab",
  "lab/machines.ts": "QEMU, and Berth itself by nsenter: the lab's virtual machines",
  "lab/nat.ts": "the packet filter's program, for the lab's router",
  "lab/plugin.ts": "nsenter, with Berth itself, or Berth itself: the lab",
  "vm/run.ts": "the virtual machine that an administrator asks for, with its arguments",
};

test("programs are started in these files only, by their paths, with lists of arguments", () => {
  const found = files.filter((f) =>
    /Bun\.spawn|Bun\.\$|child_process|\bexecv|\bposix_spawn|\bpopen\b|\bsystem:/u.test(code(f)),
  );
  expect(found.toSorted()).toEqual(Object.keys(starting).toSorted());
});

test("none of them is a shell", () => {
  for (const file of files)
    expect([file, /["'`](?:\/bin\/|\/usr\/bin\/)?(?:ba|da|z)?sh["'`]/u.test(code(file))]).toEqual([file, false]);
});

test("no text becomes code", () => {
  for (const file of files)
    expect([file, /\beval\(|new Function\(|import\([^"]/u.test(code(file))]).toEqual([file, false]);
});

/** Without comments. */
function code(file: string): string {
  return readFileSync(root + file, "utf8").replaceAll(/\/\*.*?\*\/|\/\/[^\n]*/gsu, "");
}
