// `berth repair --watch` as a process of its own, and what it prints.
const main = `${import.meta.dir}/../src/main.ts`;

/** A running watcher. */
export class Watcher implements AsyncDisposable {
  readonly process: Bun.Subprocess<"ignore", "pipe", "inherit">;
  /** What it has printed since this was last emptied. */
  log = "";

  constructor() {
    this.process = Bun.spawn([process.execPath, main, "repair", "--watch"], {
      argv0: "berth",
      env: { PATH: process.env["PATH"] ?? "" },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    void this.#follow();
  }

  async #follow(): Promise<void> {
    const decoder = new TextDecoder();
    const reader = this.process.stdout.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) this.log += decoder.decode(part.value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
  }
}
