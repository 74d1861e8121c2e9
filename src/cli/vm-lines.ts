// What is said of a virtual machine that comes and goes.
import type { VmReport } from "../vm/watch.ts";
import { describeFailure, failureJson } from "./output.ts";

/** What a watch says, a line for each thing. */
export function lines(machine: string, json: boolean, print: (line: string) => void): VmReport {
  const say = (state: string): void => print(json ? JSON.stringify({ name: machine, state }) : `${state} ${machine}`);
  return {
    arrived: () => say("here"),
    left: () => say("away"),
    moved: () => say("moved"),
    failed: (failure) => {
      if (json) print(JSON.stringify({ name: machine, error: failureJson(failure) }));
      else console.error(`berth: ${describeFailure(failure)}`);
    },
  };
}
