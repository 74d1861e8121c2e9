// Whether anything was written, made or removed outside of where it belongs.
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Broken } from "../engine.ts";

const SECRET = "root:x:0:0:do not touch\n";

function names(path: string): string {
  return readdirSync(path).toSorted().join(" ");
}

/** A place on disk for a target's cases, with a file and a directory beside it that nothing may change. */
export class Place {
  readonly root: string;
  /** Cases work in here. */
  readonly inside: string;
  /** A file that hostile links point to. */
  readonly precious: string;
  /** A directory that hostile links point to; it holds a directory with a file. */
  readonly preciousDirectory: string;

  constructor(name: string) {
    this.root = `/run/fuzz-${name}`;
    this.inside = `${this.root}/a/b/inside`;
    this.precious = `${this.root}/passwd`;
    this.preciousDirectory = `${this.root}/etc`;
    mkdirSync(this.inside, { recursive: true });
    mkdirSync(`${this.preciousDirectory}/sub`, { recursive: true });
    writeFileSync(this.precious, SECRET);
    writeFileSync(`${this.preciousDirectory}/sub/file`, SECRET);
  }

  /** An empty directory. */
  empty(): void {
    rmSync(this.inside, { recursive: true, force: true });
    mkdirSync(this.inside, { recursive: true });
  }

  /** Throws `Broken` where something outside of {@link inside} is otherwise than it was. */
  check(): void {
    const good =
      names(this.root) === "a etc passwd" &&
      names(`${this.root}/a`) === "b" &&
      names(`${this.root}/a/b`) === "inside" &&
      names(this.preciousDirectory) === "sub" &&
      names(`${this.preciousDirectory}/sub`) === "file" &&
      lstatSync(this.precious).isFile() &&
      readFileSync(this.precious, "utf8") === SECRET &&
      existsSync(`${this.preciousDirectory}/sub/file`) &&
      readFileSync(`${this.preciousDirectory}/sub/file`, "utf8") === SECRET;
    if (good) return;
    rmSync(this.root, { recursive: true, force: true });
    const again = new Place(this.root.slice("/run/fuzz-".length));
    again.empty();
    throw new Broken("something outside of the directory was changed");
  }

  /** Throws `Broken` where a text has what a hostile link points to. */
  checkTold(text: string): void {
    if (text.includes("do not touch")) throw new Broken(`what a link points to was read: ${text.slice(0, 200)}`);
  }
}

/** A text that becomes a file's name; undefined where no file can have it. */
export function fileName(text: string): string | undefined {
  const bytes = Buffer.byteLength(text);
  return bytes === 0 || bytes > 200 || /[/\0]/u.test(text) || text === "." || text === ".." ? undefined : text;
}
