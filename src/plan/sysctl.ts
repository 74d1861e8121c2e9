import { readSysctl, writeSysctl } from "../kernel/sysctls.ts";
import { quote } from "./shell.ts";
import type { SysctlStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** The type of step `sysctl`. */
export const sysctl: StepType<SysctlStep> = {
  apply(step, pipeline) {
    pipeline.flushOrThrow(); // the link must be there
    pipeline.acts();
    pipeline.places.at(step.where)?.run(() => {
      try {
        writeSysctl(step.key, step.value);
      } catch (e) {
        if (step.ifThere !== true || readSysctl(step.key) !== undefined) throw e;
      }
    });
  },

  undo() {
    // it belongs to a link that Berth made, and goes with it
  },

  verify(step, places) {
    const value = places.at(step.where)?.run(() => readSysctl(step.key));
    if (value === undefined && step.ifThere === true) return [];
    return value === step.value ? [] : [`sysctl ${step.key}: is ${value ?? "not there"}, planned was ${step.value}`];
  },

  explain(step, shell) {
    return [
      `${shell.within(step.where)}sysctl -q ${step.ifThere === true ? "-e " : ""}-w ${quote(step.key)}=${quote(step.value)}`,
    ];
  },

  explainUndo() {
    return [];
  },
};
