import { buildCommand } from "@stricli/core";
import { copyFileSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import example from "../../examples/host-access-auto.conflist" with { type: "text" };
import { HOST_DEVICE, kinds } from "../attachment/kinds.ts";
import { RTPROT_BERTH } from "../kernel/protocol.ts";
import { quote } from "../plan/shell.ts";
import { Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { CONFIG_DIRECTORY } from "./networks.ts";
import { printJson, reporting } from "./output.ts";

/** Kind device has the name of the standard plugin, which is replaced only where that is asked for: it does more (DPDK). */
const usual: readonly string[] = [...kinds.filter((k) => k !== "device"), "berth"];
const names: readonly string[] = [...usual, HOST_DEVICE];

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
  readonly confDir: string;
  readonly iproute2Dir: string;
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
    const answer = Bun.spawnSync([path, "version"], { env: {}, stdin: "ignore", timeout: 10_000 });
    return answer.stdout.toString().startsWith("berth ");
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

/** Puts the executable under all names: what had to be copied to another file system is copied once. */
function placeAll(executable: string, targets: readonly string[]): { target: string; how: "link" | "copy" }[] {
  let source = executable;
  return targets.map((target) => {
    if (inodeOf(target) === inodeOf(source)) return { target, how: "link" };
    const how = place(source, target);
    if (how === "copy") source = target;
    return { target, how };
  });
}

/** A text file beside the plugins. */
interface TextFile {
  readonly path: string;
  readonly text: string;
}

/** What is installed beside the plugins: an example no runtime reads (its name), and iproute2's name for the routes' protocol. */
function textFiles({ confDir, iproute2Dir }: Flags): TextFile[] {
  return [
    { path: `${confDir}/berth.conflist.example`, text: example },
    { path: `${iproute2Dir}/rt_protos.d/berth.conf`, text: `${RTPROT_BERTH} berth\n` },
  ];
}

/** Writes a file unless there is one: a person may have edited it. Throws `Failure` (`io`). */
function provide({ path, text }: TextFile, force: boolean): "written" | "kept" {
  try {
    if (!force && inodeOf(path) !== undefined) return readFileSync(path, "utf8") === text ? "written" : "kept";
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    writeFileSync(path, text, { mode: 0o644 });
    return "written";
  } catch (e) {
    throw new Failure("io", `write ${path}: ${e instanceof Error ? e.message : String(e)}`, {
      advice: "The plugins are in place. Name another directory (--conf-dir, --iproute2-dir).",
      cause: e,
    });
  }
}

/** `berth install`. */
export const installCommand = buildCommand({
  docs: {
    brief: "put the plugins into a CNI plugin directory",
    fullDescription:
      "Hard-links the executable under the plugins' names, and puts an example configuration (berth.conflist.example, which no runtime reads under that name) and the routing protocol's name for ip (proto berth) beside them. What is there already and differs is never overwritten without --force.",
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
        default: usual.join(","),
        placeholder: "LIST",
      },
      confDir: {
        kind: "parsed",
        parse: flag.text,
        brief: "where the example goes",
        default: CONFIG_DIRECTORY,
        placeholder: "DIR",
      },
      iproute2Dir: {
        kind: "parsed",
        parse: flag.text,
        brief: "iproute2's configuration",
        default: "/etc/iproute2",
        placeholder: "DIR",
      },
      force: {
        kind: "boolean",
        brief: "overwrite other programs and files of these names",
        default: false,
        withNegated: false,
      },
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
        const commands = [
          ...targets.map((t) => `ln -f ${quote(executable)} ${quote(t)}`),
          ...textFiles(flags).map(({ path, text }) => `printf %s ${quote(text)} >${quote(path)}`),
        ];
        return flags.json ? printJson({ commands }) : console.log(commands.join("\n"));
      }
      mkdirSync(flags.binDir, { recursive: true, mode: 0o755 });
      const done = placeAll(executable, targets);
      const files = textFiles(flags).map((file) => ({ path: file.path, how: provide(file, flags.force) }));
      if (flags.json) return printJson({ installed: done, files });
      for (const { target, how } of done)
        console.log(`${target}${how === "copy" ? " (a copy: another file system)" : ""}`);
      for (const { path, how } of files)
        console.log(`${path}${how === "kept" ? " (kept: it was there and differs)" : ""}`);
    });
  },
});
