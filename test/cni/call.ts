import { cni } from "../../src/cni/cni.ts";

/** What a call was answered with. */
export interface Reply {
  readonly exitCode: number;
  readonly text: string;
  /** What would go to stderr. */
  readonly remarks: readonly string[];
  /** The parsed text; `{}` where there was none. */
  readonly json: Record<string, unknown>;
}

/** A CNI call in this process: the plugin's own entry, without a process around it. */
export async function call(
  verb: string,
  config: unknown,
  env: Readonly<Record<string, string | undefined>> = {},
  calledAs = "berth",
): Promise<Reply> {
  const stdin = typeof config === "string" ? config : JSON.stringify(config);
  const all = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/opt/cni/bin",
    PATH: process.env["PATH"],
    ...env,
  };
  const answer = await cni(all, () => stdin, calledAs);
  const json = answer.text === "" ? {} : (JSON.parse(answer.text) as Record<string, unknown>);
  return { ...answer, json };
}
