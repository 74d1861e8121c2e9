import { buildCommand } from "@stricli/core";
import { copyFileSync, linkSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { kinds } from "../attachment/config.ts";
import { quote } from "../plan/shell.ts";
import { Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { printJson, reporting } from "./output.ts";

const names: readonly string[] = [...kinds, "berth"];

/** A comma-separated list of plugin names. */
function types(value: string): readonly string[] {
  const list = value.split(",").filter((t) => t !== "");
  const unknown = list.find((t) => !names.includes(t));
  if (unknown !== undefined) throw new SyntaxError(`${unknown} is no plugin of Berth's; there are ${names.join(", ")}`);
  return list;
}

interface Flags {
  readonly binDir: string;
  readonly types: readonly string[];
  readonly force: boolean;
  readonly json: boolean;
  readonly dryRun: boolean;
}

function inodeOf(path: string): string | undefined {
  try {
    const s = statSync(path);
    return `${s.dev}:${s.ino}`;
  } catch {
    return undefined;
  }
}

/** True for a plugin that says itself that it is Berth, of whatever version. */
function isBerth(path: string): boolean {
  try {
    const answer = Bun.spawnSync([path], { env: {}, stdin: "ignore", timeout: 10_000 });
    return answer.stdout.toString().includes("(Berth ") || answer.stdout.toString().startsWith("berth ");
  } catch {
    return false;
  }
}

/** Puts the executable under a name, at once or not at all: a plugin that is being called never misses. */
function place(executable: string, target: string): "link" | "copy" {
  const temporary = `${target}.berth-new`;
  rmSync(temporary, { force: true });
  let how: "link" | "copy" = "link";
  try {
    linkSync(executable, temporary);
  } catch {
    copyFileSync(executable, temporary); // another file system
    how = "copy";
  }
  renameSync(temporary, target);
  rmSync(temporary, { force: true }); // rename of two names of one file leaves both
  return how;
}

/** `berth install`. */
export const installCommand = buildCommand({
  docs: {
    brief: "put the plugins into a CNI plugin directory",
    fullDescription:
      "Hard-links the executable under the plugins' names. A foreign file is never overwritten without --force.",
  },
  parameters: {
    flags: {
      binDir: {
        kind: "parsed",
        parse: flag.text,
        brief: "the plugin directory",
        default: "/opt/cni/bin",
        placeholder: "DIR",
      },
      types: {
        kind: "parsed",
        parse: types,
        brief: "the names, comma separated",
        default: names.join(","),
        placeholder: "LIST",
      },
      force: { kind: "boolean", brief: "overwrite other programs of these names", default: false, withNegated: false },
      json: flag.json,
      dryRun: flag.dryRun,
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      const executable = process.execPath;
      const targets = flags.types.map((name) => `${flags.binDir}/${name}`);
      const foreign = targets.filter(
        (t) => inodeOf(t) !== undefined && inodeOf(t) !== inodeOf(executable) && !isBerth(t),
      );
      if (foreign.length > 0 && !flags.force) {
        throw new Failure(
          "exists",
          `install into ${flags.binDir}: ${foreign.join(", ")} ${foreign.length === 1 ? "is another program" : "are other programs"}`,
          {
            advice: "Choose another --bin-dir, fewer --types, or overwrite with --force.",
          },
        );
      }
      if (flags.dryRun) {
        const commands = targets.map((t) => `ln -f ${quote(executable)} ${quote(t)}`);
        return flags.json ? printJson({ commands }) : console.log(commands.join("\n"));
      }
      mkdirSync(flags.binDir, { recursive: true, mode: 0o755 });
      const done = targets.map((target) => ({
        target,
        how: inodeOf(target) === inodeOf(executable) ? "link" : place(executable, target),
      }));
      if (flags.json) return printJson({ installed: done });
      for (const { target, how } of done)
        console.log(`${target}${how === "copy" ? " (a copy: another file system)" : ""}`);
    });
  },
});
