// npm run docs: writes docs/reference/ from the schema of a network's configuration, the error codes and the command's own
// help, and from that schema the function that does without it. `--check` fails where a file is stale.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { toJsonSchema } from "@valibot/to-json-schema";
import { NetworkConfig } from "../src/attachment/config.ts";
import { acceptorOf } from "./acceptor.ts";

/** What is used of a JSON Schema. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
}

const root = new URL("../", import.meta.url).pathname;

/** Functions that check a text (IP address, CIDR, MAC) have no JSON Schema: they become a description of the format. */
const schema = toJsonSchema(NetworkConfig, {
  typeMode: "input",
  target: "draft-2020-12",
  errorMode: "throw",
  ignoreActions: ["check"],
  // JSON Schema's patterns are Unicode ones, so the flag goes without saying
  overrideAction: ({ valibotAction, jsonSchema }) =>
    valibotAction.type === "regex" && "requirement" in valibotAction && valibotAction.requirement instanceof RegExp
      ? { ...jsonSchema, pattern: valibotAction.requirement.source }
      : undefined,
}) as unknown as Schema;

function kindOf(s: Schema): string {
  if (s.enum !== undefined) return s.enum.map((e) => `\`${e}\``).join(", ");
  if (s.const !== undefined) return `\`${JSON.stringify(s.const)}\``;
  if (s.anyOf !== undefined) return [...new Set(s.anyOf.map(kindOf))].join(" or ");
  if (s.type === "array") return `list of ${kindOf(s.items ?? {})}`;
  const range = s.minimum === undefined && s.maximum === undefined ? "" : ` ${s.minimum ?? ""}–${s.maximum ?? ""}`;
  return `${s.type ?? "anything"}${range}`;
}

function rows(s: Schema, prefix: string): string[] {
  return Object.entries(s.properties ?? {}).flatMap(([key, p]) => {
    const fallback = p.default === undefined ? "" : `\`${JSON.stringify(p.default)}\``;
    const need = s.required?.includes(key) === true ? "required" : fallback;
    const row = `| \`${prefix}${key}\` | ${kindOf(p).replaceAll("|", String.raw`\|`)} | ${need} | ${p.description ?? ""} |`;
    const inner = [p, ...(p.anyOf ?? []), ...items(p)];
    return [row, ...new Set(inner.flatMap((q) => rows(q, `${prefix}${key}.`)))];
  });
}

/** What a list, or a list of lists, holds. */
function items(s: Schema): Schema[] {
  if (s.items === undefined) return [];
  return s.items.items === undefined ? [s.items] : items(s.items);
}

/** The error codes' table, from the doc comment of the file that defines them. */
function errorCodes(): string {
  const source = readFileSync(new URL("../src/cni/error.ts", import.meta.url), "utf8");
  const table = source.split("\n").filter((line) => line.startsWith(" * |"));
  return table.map((line) => line.slice(3)).join("\n");
}

/** The command's help, as it prints it. */
function help(): string {
  const main = new URL("../src/main.ts", import.meta.url).pathname;
  const of = (command: string): string => {
    const r = Bun.spawnSync([process.execPath, main, ...command.split(" "), "--help"], {
      argv0: "berth",
      env: { PATH: process.env["PATH"] ?? "" },
    });
    return `## berth ${command}\n\n\`\`\`text\n${r.stdout.toString().trim().replaceAll(/ +$/gmu, "")}\n\`\`\`\n`;
  };
  const commands = [
    "attach",
    "detach",
    "up",
    "down",
    "ls",
    "check",
    "repair",
    "gc",
    "status",
    "install",
    "network ls",
    "network check",
    "lab routing",
    "version",
  ];
  return commands.map(of).join("\n");
}

const files: Record<string, string> = {
  "docs/reference/network.schema.json": `${JSON.stringify(schema, null, 2)}\n`,
  "docs/reference/network.md": `# Network configuration\n\nEvery key, as \`network.schema.json\` has it for editors. Written by \`npm run docs\`.\n\n| key | value | default | meaning |\n|---|---|---|---|\n${rows(schema, "").join("\n")}\n`,
  "docs/reference/errors.md": `# Error codes\n\nA failure is one JSON object on standard output (CNI spec 1.1.0, section 5) and exit status 1: \`code\`, \`msg\` (what was\nattempted, on what, what the system answered) and \`details\` (what to do). Written by \`npm run docs\`.\n\n${errorCodes()}\n`,
  "docs/reference/command.md": `# The command\n\nWritten by \`npm run docs\`.\n\n${help()}`,
  "src/attachment/config-accepts.ts": acceptorOf(NetworkConfig),
};

mkdirSync(`${root}docs/reference`, { recursive: true });
for (const [name, text] of Object.entries(files)) {
  const path = `${root}${name}`;
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (!existsSync(path) || readFileSync(path, "utf8") !== text) {
    console.error(`${name} is stale: npm run docs`);
    process.exitCode = 1;
  }
}
