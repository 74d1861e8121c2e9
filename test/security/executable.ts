// The compiled program, for what only it can show: how it starts, and what it takes from its surroundings.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { compile } from "../../scripts/compile.ts";

/** A compiled program of one test file's own. */
export class Executable implements Disposable {
  readonly directory = mkdtempSync(`${tmpdir()}/berth-executable-`);
  readonly path = `${this.directory}/berth`;

  /** Compiles it. */
  static async make(): Promise<Executable> {
    const executable = new Executable();
    await compile(executable.path);
    return executable;
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** True where a program is installed. */
export function isInstalled(program: string): boolean {
  return Bun.which(program) !== null;
}
