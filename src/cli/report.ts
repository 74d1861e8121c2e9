// berth report: all that is worth knowing where something does not work, to be pasted where somebody can help.
import { buildCommand } from "@stricli/core";
import { attachmentsReport, kernelReport, reservationsReport, systemReport } from "../attachment/host-report.ts";
import { lastErrors } from "../attachment/last-errors.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { redacted } from "../report/redact.ts";
import { version } from "../report/version.ts";
import * as flag from "./flags.ts";
import { listNetworks } from "./networks.ts";
import { failureJson, printJson, reporting } from "./output.ts";

interface Flags {
  readonly json: boolean;
  readonly confDir: string;
}

type Sections = Readonly<Record<string, unknown>>;

/** What a part says; where it cannot, why: the rest is worth having all the same. */
async function part(name: string, tell: () => unknown): Promise<readonly [string, unknown]> {
  try {
    return [name, await tell()];
  } catch (e) {
    return [name, { error: failureJson(asFailure(e, `report ${name}`)) }];
  }
}

async function collect(confDir: string): Promise<Sections> {
  const unreadable: Failure[] = [];
  const parts = [
    await part("berth", () => ({ version, runtime: `Bun ${Bun.version}`, executable: process.execPath })),
    await part("system", systemReport),
    await part("networks", () =>
      listNetworks(confDir, (f) => unreadable.push(f)).map(({ file, json }) => ({ file, config: redacted(json) })),
    ),
    await part("attachments", async () => {
      const told = await attachmentsReport();
      unreadable.push(...told.unreadable);
      return told.attachments;
    }),
    await part("reservations", reservationsReport),
    await part("kernel", kernelReport),
    await part("errors", () => lastErrors().map(redacted)),
  ];
  return Object.fromEntries([...parts, ["unreadable", unreadable.map(failureJson)] as const]);
}

/** A section as text: a line for each thing in it. */
function print(title: string, section: unknown): void {
  console.log(`== ${title}`);
  const entries: unknown[] = Array.isArray(section) ? section : [];
  const pairs = Array.isArray(section) || typeof section !== "object" ? [] : Object.entries(section ?? {});
  for (const entry of entries) console.log(JSON.stringify(entry));
  for (const [key, value] of pairs) {
    if (!Array.isArray(value)) console.log(`${key}: ${JSON.stringify(value)}`);
    else for (const one of value) console.log(`${key}: ${JSON.stringify(one)}`);
  }
  if (entries.length + pairs.length === 0) console.log("(none)");
}

/** `berth report`. */
export const reportCommand = buildCommand({
  docs: {
    brief: "tell all that helps where something does not work, without secrets",
    fullDescription:
      "Versions, the networks that are configured, the attachments and what of them does not hold, reservations, what of the kernel is Berth's or in its way, and the last errors. Values of keys that are named like secrets are removed. Nothing is changed, and no cloud is asked.",
  },
  parameters: { flags: { confDir: flag.network.confDir, json: flag.json } },
  async func({ json, confDir }: Flags) {
    await reporting(json, async () => {
      const sections = await collect(confDir);
      if (json) printJson(sections);
      else for (const [title, section] of Object.entries(sections)) print(title, section);
    });
  },
});
