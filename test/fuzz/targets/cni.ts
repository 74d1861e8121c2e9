// A CNI call's environment and stdin, up to where the kernel would be asked; and a plan for what is accepted.
import { readConfigQuickly } from "../../../src/attachment/quick-config.ts";
import { hostAccessOf } from "../../../src/attachment/host-access.ts";
import { subInterfaceOf } from "../../../src/attachment/sub-interface.ts";
import { providersOf } from "../../../src/attachment/allocation.ts";
import { errorJson } from "../../../src/cni/error.ts";
import { type Call, readCall, validAttachments } from "../../../src/cni/request.ts";
import { prevResultAddresses } from "../../../src/cni/result.ts";
import { isVerb, verbs } from "../../../src/cni/verbs.ts";
import { cni } from "../../../src/cni/cni.ts";
import { asFailure } from "../../../src/report/failure.ts";
import { Broken, type Target } from "../engine.ts";
import { hostileText, mutateJson, mutateText } from "../mutate.ts";
import type { Random } from "../random.ts";
import { cniCalls, configs, type CniCall } from "./samples.ts";

interface Case {
  readonly calledAs: string;
  readonly env: Readonly<Record<string, unknown>>;
  /** As a value, or as text that need not be JSON. */
  readonly stdin: { readonly json: unknown } | { readonly text: string };
}

function mutatedEnv(r: Random, env: CniCall["env"]): Case["env"] {
  const all: Record<string, unknown> = { ...env };
  for (let n = r.int(4); n > 0; n--) {
    const key = r.pick([...Object.keys(env), "CNI_ARGS", "CNI_IFNAME", "CNI_CONTAINERID"]);
    if (r.once(6)) delete all[key];
    else {
      const value = all[key];
      all[key] = typeof value === "string" && r.once(2) ? mutateText(r, value) : hostileText(r);
    }
  }
  return all;
}

function checkNames({ key }: Call): void {
  const name = `${key.network}:${key.containerId}:${key.ifName}.json`;
  if (name.includes("/") || name.includes("\0") || name.startsWith(".")) throw new Broken(`a record named ${name}`);
  if (Buffer.byteLength(name) > 255) throw new Broken(`a record's name of ${Buffer.byteLength(name)} bytes`);
}

/** Environment and stdin of the plugin. */
export const cniTarget: Target<Case> = {
  name: "cni",
  brief: "environment and stdin of a CNI call, until the kernel would be asked",
  make(r) {
    const { env, stdin } = r.pick(cniCalls);
    const changed = r.once(3) ? stdin : mutateJson(r, stdin);
    const text = r.once(8) ? mutateText(r, JSON.stringify(changed)) : undefined;
    return {
      calledAs: r.pick(["berth", "macvlan", "macvtap", "ipvlan", "vlan"]),
      env: mutatedEnv(r, env),
      stdin: text === undefined ? { json: changed } : { text },
    };
  },
  async run({ calledAs, env, stdin }) {
    const text = "text" in stdin ? stdin.text : (JSON.stringify(stdin.json) ?? "");
    const variables = env as Record<string, string | undefined>;
    const verb = variables["CNI_COMMAND"] ?? "";
    if (verb === "VERSION" || !isVerb(verb)) {
      const { text: answer } = await cni(variables, () => text, calledAs);
      JSON.parse(answer);
      return;
    }
    try {
      const call = await readCall(verb, variables, text, calledAs);
      if (verbs[verb].requires.length > 0) checkNames(call);
      validAttachments(call.config)?.forEach((key) => {
        if (typeof key.containerId !== "string" || typeof key.ifName !== "string") throw new Broken("a key of no text");
      });
      prevResultAddresses(call.prevResult, call.key.ifName);
      subInterfaceOf(call.config, call.kind);
      hostAccessOf(call.config);
      if (call.config.ipam?.type !== "neutron") await providersOf(call.config, call.delegate);
    } catch (e) {
      const answer = JSON.parse(errorJson(asFailure(e, "serve"), "1.1.0")) as Record<string, unknown>;
      if (!Number.isInteger(answer["code"]) || typeof answer["msg"] !== "string") throw new Broken("no error object");
      throw e;
    }
  },
};

/** Configurations alone: both readers must say the same of them. */
export const configTarget: Target = {
  name: "config",
  brief: "network configurations, by both of their readers",
  make: (r) => mutateJson(r, r.pick(configs)),
  async run(json) {
    await readConfigQuickly(JSON.parse(JSON.stringify(json)));
  },
};

const results = [...configs, ...cniCalls.map((c) => c.stdin)].flatMap((c) =>
  typeof c === "object" && c !== null && "prevResult" in c ? [c.prevResult] : [],
);

/** A prevResult is another plugin's word: whatever it is, nothing is thrown. */
export const prevResultTarget: Target<{ readonly result: unknown; readonly ifName: string }> = {
  name: "prevresult",
  brief: "prevResults of every version",
  make: (r) => ({ result: mutateJson(r, r.pick(results)), ifName: r.once(3) ? hostileText(r) : "eth0" }),
  run({ result, ifName }) {
    for (const text of prevResultAddresses(result, ifName))
      if (!/^[\da-f.:]+\/\d{1,3}$/u.test(text)) throw new Broken(`${text} is no address with a prefix length`);
  },
};
