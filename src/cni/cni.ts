// The CNI plugin: one call, one answer on stdout, one exit status.
import { asFailure, Failure } from "../report/failure.ts";
import { mark } from "../report/trace.ts";
import { errorJson } from "./error.ts";
import { type Call, type Environment, parseJson, readCall, readStdin, validAttachments } from "./request.ts";
import { prevResultAddresses, resultJson } from "./result.ts";
import { isVerb, verbs } from "./verbs.ts";
import { newest, versionJson, versionOf } from "./version.ts";

/** What a call is answered with. */
export interface Answer {
  /** For stdout; empty for commands that answer nothing. */
  readonly text: string;
  /** For stderr, a sentence each: what the caller ought to know though it succeeded. */
  readonly remarks: readonly string[];
  /** The exit status: 0, or 1 with an error object as text. */
  readonly exitCode: number;
}

/**
 * Serves one CNI call. Never throws: whatever happens becomes an error object.
 * @param env the environment variables CNI_… and PATH
 * @param stdin reads standard input, when it is needed
 * @param calledAs the name Berth was called by, without its directory
 */
export async function cni(env: Environment, stdin: () => string, calledAs: string): Promise<Answer> {
  const name = env["CNI_COMMAND"] ?? "";
  let text = "";
  try {
    if (!isVerb(name)) {
      throw new Failure("request", `serve CNI_COMMAND=${JSON.stringify(name)}: there is no such command`, {
        advice: `The commands are ${Object.keys(verbs).join(", ")}.`,
      });
    }
    text = readStdin(stdin);
    mark("stdin read");
    if (name === "VERSION") return { text: version(text), remarks: [], exitCode: 0 };
    const remarks: string[] = [];
    return { text: await serve(await readCall(name, env, text, calledAs), remarks), remarks, exitCode: 0 };
  } catch (thrown) {
    const failure = asFailure(thrown, `serve ${name}`);
    return { text: errorJson(failure, answerVersion(text)), remarks: [], exitCode: 1 };
  }
}

/** The version an error is answered in: the configuration's, if it can be read. */
function answerVersion(stdin: string): string {
  try {
    const json = parseJson(stdin);
    if (typeof json === "object" && json !== null && "cniVersion" in json) return versionOf(json.cniVersion);
    return versionOf(undefined);
  } catch {
    return newest;
  }
}

function version(stdin: string): string {
  if (stdin.trim() === "") return versionJson(newest); // the spec wants {"cniVersion": …}, old callers send nothing
  const json = parseJson(stdin);
  return versionJson(
    typeof json === "object" && json !== null && "cniVersion" in json ? versionOf(json.cniVersion) : newest,
  );
}

// A verb loads what it needs and no more: a runtime waits for every one.
async function serve(call: Call, remarks: string[]): Promise<string> {
  const { config, kind, key, netns, delegate } = call;
  switch (call.verb) {
    case "ADD": {
      mark("configuration read");
      const request = { key, kind, netns, config, mac: call.mac, ips: call.ips, delegate };
      const { attach } = await import("../attachment/attach.ts");
      const { record, allocation, link, remarks: said } = await attach(request);
      remarks.push(...said);
      mark("attached");
      const dns = config.dns ?? allocation.dns;
      const tap = record.plan.find((s) => s.type === "tap")?.path;
      return resultJson(
        { interfaceName: key.ifName, mac: link?.mac, mtu: link?.mtu ?? 0, sandbox: netns, allocation, dns, tap },
        call.version,
      );
    }
    case "DEL": {
      const known = prevResultAddresses(call.prevResult, key.ifName).map((cidr) => cidr.replace(/\/.*/u, ""));
      const { detach } = await import("../attachment/detach.ts");
      mark("detach loaded");
      await detach({ key, netns, config, knownIps: known, delegate });
      return "";
    }
    case "CHECK": {
      const expectedIps = prevResultAddresses(call.prevResult, key.ifName);
      const { check } = await import("../attachment/check.ts");
      remarks.push(...(await check({ key, netns, config, expectedIps, delegate })));
      return "";
    }
    case "GC": {
      const valid = validAttachments(config);
      if (valid === undefined) return "";
      const { collect } = await import("../attachment/collect.ts");
      await collect(config, valid, delegate);
      return "";
    }
    case "STATUS": {
      const { status } = await import("../attachment/status.ts");
      remarks.push(...(await status(config, kind, delegate)));
      return "";
    }
    case "VERSION":
      return versionJson(call.version);
  }
}
