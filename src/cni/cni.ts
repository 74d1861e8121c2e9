// The CNI plugin: one call, one answer on stdout, one exit status.
import { withoutPrefix } from "../address/cidr.ts";
import { attach, type Attached } from "../attachment/attach.ts";
import { check } from "../attachment/check.ts";
import { detach } from "../attachment/detach.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { log } from "../report/log.ts";
import { mark } from "../report/trace.ts";
import { codeOf, errorJson } from "./error.ts";
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
    const read = readCall(name, env, text, calledAs);
    const call = read instanceof Promise ? await read : read;
    log("debug", "call", () => ({ verb: name, ...call.key, netns: call.netns }));
    const answer = await serve(call, remarks);
    for (const remark of remarks) log("warn", "remark", () => ({ verb: name, ...call.key, remark }));
    log("info", "done", () => ({ verb: name, ...call.key, ms: Math.round(performance.now()) }));
    return { text: answer, remarks, exitCode: 0 };
  } catch (thrown) {
    const failure = asFailure(thrown, `serve ${name}`);
    log("error", "failed", () => ({
      verb: name,
      network: networkIn(text),
      containerId: env["CNI_CONTAINERID"],
      ifName: env["CNI_IFNAME"],
      code: codeOf(failure),
      message: failure.message,
      advice: failure.advice,
    }));
    await keep(name, failure);
    return { text: errorJson(failure, answerVersion(text)), remarks: [], exitCode: 1 };
  }
}

/** Keeps a failure for `berth report`. */
async function keep(name: string, failure: Failure): Promise<void> {
  const { keepError } = await import("../attachment/last-errors.ts");
  keepError(`CNI ${name}`, failure);
}

/** The network's name in a configuration that may be none. */
function networkIn(stdin: string): unknown {
  try {
    const json = parseJson(stdin);
    return typeof json === "object" && json !== null && "name" in json ? json.name : undefined;
  } catch {
    return undefined;
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

// Each in a function of its own: of those that are not called nothing comes to be. And in a function that waits for another
// little else is alive meanwhile, as the runtime stores and restores all of it.
function serve(call: Call, remarks: string[]): string | Promise<string> {
  switch (call.verb) {
    case "ADD":
      return add(call, remarks);
    case "DEL":
      return del(call);
    case "CHECK":
      return verify(call, remarks);
    case "GC":
      return collectGarbage(call);
    case "STATUS":
      return tellStatus(call, remarks);
    case "VERSION":
      return versionJson(call.version);
  }
}

async function add(call: Call, remarks: string[]): Promise<string> {
  mark("configuration read");
  const attached = await attach(call);
  mark("attached");
  return resultOf(call, attached, remarks);
}

function resultOf({ key, netns, config, version: asked }: Call, attached: Attached, remarks: string[]): string {
  const { record, allocation, link } = attached;
  remarks.push(...attached.remarks);
  const dns = config.dns ?? allocation.dns;
  let tap: string | undefined;
  for (const step of record.plan) if (step.type === "tap") tap = step.path;
  const result = { interfaceName: key.ifName, mac: link?.mac, mtu: link?.mtu ?? 0, sandbox: netns };
  return resultJson({ ...result, allocation, dns, tap }, asked);
}

async function del({ key, netns, config, prevResult, delegate }: Call): Promise<string> {
  const knownIps: string[] = [];
  for (const cidr of prevResultAddresses(prevResult, key.ifName)) knownIps.push(withoutPrefix(cidr));
  await detach({ key, netns, config, knownIps, delegate });
  return "";
}

async function verify({ key, netns, config, prevResult, delegate }: Call, remarks: string[]): Promise<string> {
  const expectedIps = prevResultAddresses(prevResult, key.ifName);
  remarks.push(...(await check({ key, netns, config, expectedIps, delegate })));
  return "";
}

async function collectGarbage({ config, delegate }: Call): Promise<string> {
  const valid = validAttachments(config);
  if (valid === undefined) return "";
  const { collect } = await import("../attachment/collect.ts");
  await collect(config, valid, delegate);
  return "";
}

async function tellStatus({ config, kind, delegate }: Call, remarks: string[]): Promise<string> {
  const { status } = await import("../attachment/status.ts");
  remarks.push(...(await status(config, kind, delegate)));
  return "";
}
