// The commands of a caller's page in docs/: typed as a reader would, each must succeed.
import { expect } from "bun:test";
import { readFileSync } from "node:fs";

const root = new URL("../..", import.meta.url).pathname;

/** The commands in a page's blocks ```` ```sh PAGE ````, in their order. Installing packages is the runner's. */
function commandsOf(page: string): string[] {
  const text = readFileSync(`${root}docs/${page}.md`, "utf8");
  const blocks = [...text.matchAll(new RegExp(`^\`\`\`sh ${page}\n([\\s\\S]*?)^\`\`\``, "gmu"))];
  const lines = blocks.flatMap((m) => (m[1] ?? "").replaceAll("\\\n", "").trim().split("\n"));
  return lines.filter((line) => !line.startsWith("apt-get "));
}

/** Runs the commands of docs/PAGE.md, in the project's directory as the pages say. */
export function runPage(page: string): void {
  const commands = commandsOf(page);
  expect(commands.length).toBeGreaterThan(2);
  for (const command of commands) {
    const r = Bun.spawnSync(["sh", "-c", command], { cwd: root });
    const said = `${r.stdout.toString()}${r.stderr.toString()}`;
    expect({ command, code: r.exitCode, said }).toEqual({ command, code: 0, said });
  }
}
