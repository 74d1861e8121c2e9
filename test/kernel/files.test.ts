import { beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { Errno, SysError } from "../../src/kernel/errno.ts";
import {
  isExecutable,
  isThere,
  linkFile,
  listDirectory,
  makeDirectory,
  readFile,
  readSecretFile,
  readFileIfThere,
  readLink,
  removeDirectory,
  removeFile,
  renameFile,
  setModified,
  statusOf,
  writeFile,
} from "../../src/kernel/files.ts";

const top = "/run/files";

beforeEach(() => {
  removeDirectory(top);
  mkdirSync(top);
});

/** The errno that it fails with; undefined where it does not. */
function errnoOf(f: () => unknown): number | undefined {
  try {
    f();
    return undefined;
  } catch (e) {
    if (e instanceof SysError) return e.errno;
    throw e;
  }
}

describe("a file", () => {
  test("holds what was written, characters that lie across two reads included", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 40 });
    fc.assert(
      fc.property(text, fc.integer({ min: 32_750, max: 32_770 }), (end, length) => {
        writeFile(`${top}/f`, "x".repeat(length) + end);
        expect(readFile(`${top}/f`)).toBe("x".repeat(length) + end.toWellFormed());
        expect(readFileSync(`${top}/f`, "utf8")).toBe(readFile(`${top}/f`));
      }),
      { numRuns: 60 },
    );
  });

  test("is emptied before it is written; without it, or with it, only where that is wanted", () => {
    writeFile(`${top}/f`, "a long text", { mode: 0o600 });
    writeFile(`${top}/f`, "short");
    expect(readFile(`${top}/f`)).toBe("short");
    expect(statSync(`${top}/f`).mode & 0o777).toBe(0o600);
    expect(errnoOf(() => writeFile(`${top}/f`, "", { only: "new" }))).toBe(Errno.EEXIST);
    expect(errnoOf(() => writeFile(`${top}/g`, "", { only: "present" }))).toBe(Errno.ENOENT);
    expect(readdirSync(top)).toEqual(["f"]);
  });

  test("that is not there is undefined where that may be, and an error with its path elsewhere", () => {
    expect(readFileIfThere(`${top}/f`)).toBeUndefined();
    expect(readFileIfThere(`/proc/version/f`)).toBeUndefined(); // ENOTDIR
    expect(() => readFile(`${top}/f`)).toThrow(`open ${top}/f: no such file or directory (ENOENT)`);
    expect(removeFile(`${top}/f`)).toBe(false);
    expect(isThere(`${top}/f`)).toBe(false);
    expect(errnoOf(() => readFileIfThere(top))).toBe(21); // EISDIR is no "not there"
  });

  test("is renamed, gets a second name, and loses one", () => {
    writeFile(`${top}/a`, "1");
    linkFile(`${top}/a`, `${top}/b`);
    expect(statusOf(`${top}/a`)?.inode).toBe(statusOf(`${top}/b`)?.inode ?? 0);
    expect(errnoOf(() => linkFile(`${top}/a`, `${top}/b`))).toBe(Errno.EEXIST);
    renameFile(`${top}/a`, `${top}/c`);
    expect(removeFile(`${top}/b`)).toBe(true);
    expect(readdirSync(top)).toEqual(["c"]);
  });

  test("with a NUL in its path is refused: C would read another path", () => {
    writeFile(`${top}/f`, "1");
    for (const f of [readFile, statusOf, removeFile, listDirectory, readLink, isExecutable]) {
      expect(errnoOf(() => f(`${top}/f\0.json`))).toBe(Errno.EINVAL);
    }
    expect(readdirSync(top)).toEqual(["f"]);
  });
});

/** glibc's major and minor of a device number (sys/sysmacros.h). */
function number(n: bigint): string {
  return `${((n >> 8n) & 0xfffn) | ((n >> 32n) & ~0xfffn)}:${(n & 0xffn) | ((n >> 12n) & ~0xffn)}`;
}

test("a file that others may use is no secret", () => {
  writeFile(`${top}/secret`, "s", { mode: 0o600 });
  expect(readSecretFile(`${top}/secret`)).toBe("s");
  for (const mode of [0o640, 0o604, 0o620, 0o602]) {
    chmodSync(`${top}/secret`, mode);
    expect(errnoOf(() => readSecretFile(`${top}/secret`))).toBe(Errno.EPERM);
  }
  expect(readSecretFile(`${top}/none`)).toBeUndefined();
});

describe("what is known of a file", () => {
  test("is what node:fs says", () => {
    writeFile(`${top}/f`, "12345");
    for (const path of [`${top}/f`, top, "/dev/null", "/proc/self/ns/net"]) {
      const [own, node] = [statusOf(path), statSync(path, { bigint: true })];
      if (path.startsWith("/proc") && own !== undefined) {
        expect(own.inode).toBe(Number(node.ino)); // its other numbers are the kernel's of the moment
        continue;
      }
      expect(own).toEqual({
        inode: Number(node.ino),
        device: number(node.dev),
        size: Number(node.size),
        modified: Number(node.mtimeNs / 1_000_000_000n) * 1000 + Number(node.mtimeNs % 1_000_000_000n) / 1e6,
        kind: node.isFile() ? "file" : node.isDirectory() ? "directory" : "other",
        represents: number(node.rdev),
        permissions: Number(node.mode & 0o7777n),
      });
    }
  });

  test("its time can be set", () => {
    writeFile(`${top}/f`, "");
    setModified(`${top}/f`, 1_790_000_000_123.5);
    expect(statusOf(`${top}/f`)?.modified).toBe(1_790_000_000_123.5);
  });

  test("whether it may be executed, and what a link says", () => {
    writeFile(`${top}/f`, "");
    expect(isExecutable(`${top}/f`)).toBe(false);
    chmodSync(`${top}/f`, 0o755);
    expect(isExecutable(`${top}/f`)).toBe(true);
    symlinkSync("../somewhere", `${top}/l`);
    expect(readLink(`${top}/l`)).toBe("../somewhere");
    expect(errnoOf(() => readLink(`${top}/f`))).toBe(Errno.EINVAL);
  });
});

describe("a directory", () => {
  test("lists all its names, more than one read brings", () => {
    const names = Array.from({ length: 2000 }, (_, i) => `${"long-name-".repeat(8)}${i}`);
    for (const name of names) writeFileSync(`${top}/${name}`, "");
    mkdirSync(`${top}/sub`);
    const listed = listDirectory(top);
    expect(listed.map((e) => e.name).toSorted()).toEqual([...names, "sub"].toSorted());
    expect(listed.filter((e) => e.directory).map((e) => e.name)).toEqual(["sub"]);
    expect(listDirectory(`${top}/none`)).toEqual([]);
  });

  test("is made with those above it, and may be there", () => {
    makeDirectory(`${top}/a/b/c`, 0o700);
    makeDirectory(`${top}/a/b/c`, 0o700);
    expect(statSync(`${top}/a/b`).mode & 0o777).toBe(0o700);
    writeFile(`${top}/f`, "");
    expect(errnoOf(() => makeDirectory(`${top}/f`))).toBe(Errno.EEXIST);
    expect(errnoOf(() => makeDirectory(`${top}/f/g`))).toBe(Errno.ENOTDIR);
  });

  test("is removed with all in it, but not what a link in it leads to", () => {
    mkdirSync(`${top}/a/b`, { recursive: true });
    mkdirSync(`${top}/kept`);
    writeFileSync(`${top}/kept/f`, "");
    writeFileSync(`${top}/a/b/g`, "");
    symlinkSync(`${top}/kept`, `${top}/a/link`);
    removeDirectory(`${top}/a`);
    removeDirectory(`${top}/a`);
    expect(readdirSync(top)).toEqual(["kept"]);
    expect(readdirSync(`${top}/kept`)).toEqual(["f"]);
  });
});
