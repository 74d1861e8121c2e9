// An initramfs: a cpio archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst).

/** One entry: a file's contents, a directory, or a symbolic link's target. */
type Entry =
  | { readonly path: string; readonly contents: Uint8Array; readonly executable: boolean }
  | { readonly path: string; readonly directory: true }
  | { readonly path: string; readonly target: string };

function padded(length: number): number {
  return (length + 3) & ~3;
}

/** A file tree that becomes an archive, owned by root. Paths have no slash before them. */
export class FileTree {
  readonly #entries: Entry[] = [];
  readonly #directories = new Set<string>();

  /** A directory, with those above it; one that is there already is left alone. */
  directory(path: string): this {
    if (path === "" || this.#directories.has(path)) return this;
    this.directory(path.replace(/\/?[^/]*$/u, ""));
    this.#directories.add(path);
    this.#entries.push({ path, directory: true });
    return this;
  }

  /** A file, in a directory that is made for it. */
  file(path: string, contents: Uint8Array, executable = false): this {
    this.directory(path.replace(/\/?[^/]*$/u, ""));
    this.#entries.push({ path, contents, executable });
    return this;
  }

  /** A symbolic link, in a directory that is made for it. */
  link(path: string, target: string): this {
    this.directory(path.replace(/\/?[^/]*$/u, ""));
    this.#entries.push({ path, target });
    return this;
  }

  /** The archive. */
  cpio(): Uint8Array {
    const parts: Uint8Array[] = [];
    const add = (bytes: Uint8Array): void => {
      parts.push(bytes, new Uint8Array(padded(bytes.length) - bytes.length));
    };
    const entry = (inode: number, path: string, mode: number, data: Uint8Array): void => {
      const name = new TextEncoder().encode(`${path}\0`);
      const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0];
      const header = new TextEncoder().encode(`070701${fields.map((f) => f.toString(16).padStart(8, "0")).join("")}`);
      add(Buffer.concat([header, name]));
      add(data);
    };
    this.#entries.forEach((e, i) => {
      if ("directory" in e) entry(i + 1, e.path, 0o040755, new Uint8Array());
      else if ("target" in e) entry(i + 1, e.path, 0o120777, new TextEncoder().encode(e.target));
      else entry(i + 1, e.path, e.executable ? 0o100755 : 0o100644, e.contents);
    });
    entry(0, "TRAILER!!!", 0, new Uint8Array());
    return Buffer.concat(parts);
  }
}
