import { type Answer, cni } from "../../src/cni/cni.ts";

/** What a call was answered with. */
export interface Reply {
  readonly exitCode: number;
  readonly text: string;
  /** What would go to stderr. */
  readonly remarks: readonly string[];
  /** The parsed text; `{}` where there was none. */
  readonly json: Record<string, unknown>;
}

/** The compiled program, where calls are to be processes of it: then its engine carries them (scripts/test.ts). */
const program = process.env["BERTH_TEST_PROGRAM"];

/** A call by a process of the compiled program; what the tests have set in their own environment holds for it, too. */
async function apart(
  path: string,
  env: Record<string, string | undefined>,
  stdin: string,
  as: string,
): Promise<Answer> {
  const child = Bun.spawn([path], {
    argv0: as,
    env: { ...process.env, ...env },
    stdin: Buffer.from(stdin),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, said, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const remarks = said.split("\n").filter((line) => line.startsWith("berth: "));
  return { text: text.trimEnd(), remarks: remarks.map((line) => line.slice("berth: ".length)), exitCode };
}

/** A CNI call: the plugin's own entry, without a process around it, or a process of the compiled program. */
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
  const answer = await (program === undefined ? cni(all, () => stdin, calledAs) : apart(program, all, stdin, calledAs));
  const json = answer.text === "" ? {} : (JSON.parse(answer.text) as Record<string, unknown>);
  return { ...answer, json };
}
