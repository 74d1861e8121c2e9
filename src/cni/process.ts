// A process that is one CNI call: its environment and its streams.
import { readDescriptor, writeDescriptor } from "../kernel/files.ts";
import { setUmask, UMASK } from "../kernel/libc.ts";
import { mark, traced } from "../report/trace.ts";
import { cni } from "./cni.ts";

/** The standard input of this process, to its end. Throws `SysError`. */
function ownStdin(): string {
  return readDescriptor(0, "stdin");
}

/** Makes what this process writes have the modes that it says, whatever its caller's umask. */
export function ownUmask(): void {
  setUmask(UMASK);
}

/** Writes all of a text to the standard output of this process. Throws `SysError`. */
function ownStdout(text: string): void {
  writeDescriptor(1, text, "the answer to stdout");
}

/**
 * Answers the call that the environment names.
 * @param program the name we were called by, with or without its directory
 * @returns the exit status; all was written, and nothing else is to be waited for
 */
export async function serveProcess(program: string): Promise<number> {
  ownUmask();
  mark("modules loaded");
  const answer = await cni(process.env, ownStdin, calledAs(program));
  for (const remark of answer.remarks) console.error(`berth: ${remark}`);
  let { exitCode } = answer;
  try {
    if (answer.text !== "") ownStdout(`${answer.text}\n`);
  } catch (e) {
    exitCode = 1; // console.log would say nothing; a runtime that got no answer takes back what was done
    console.error(`berth: ${e instanceof Error ? e.message : String(e)}`);
  }
  mark("printed");
  for (const line of traced()) console.error(line);
  return exitCode;
}

/** The name a program was called by, without its directory. */
function calledAs(program: string): string {
  return program.slice(program.lastIndexOf("/") + 1);
}
