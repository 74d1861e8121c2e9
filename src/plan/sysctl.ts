import { linkVariable, readLinkVariable, setLinkVariable } from "../kernel/link-variables.ts";
import { readSysctl, writeSysctl } from "../kernel/sysctls.ts";
import type { Place } from "./places.ts";
import { quote } from "./shell.ts";
import type { SysctlStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** A sysctl's value; undefined where there is none of that key. Throws `SysError`. */
function valueOf(key: string, place: Place): string | undefined {
  const variable = linkVariable(key);
  return variable === undefined ? place.run(() => readSysctl(key)) : readLinkVariable(place.netlink, variable);
}

/** The type of step `sysctl`. */
export const sysctl: StepType<SysctlStep> = {
  apply(step, pipeline) {
    const variable = linkVariable(step.key);
    if (variable?.family === 4) {
      pipeline.send(step.where, setLinkVariable(variable, `set sysctl ${step.key} to ${step.value}`, step.value));
      return;
    }
    pipeline.flushOrThrow(); // the link must be there
    const place = pipeline.places.at(step.where);
    if (place === undefined || valueOf(step.key, place) === step.value) return;
    pipeline.acts();
    place.run(() => {
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
    const place = places.at(step.where);
    const value = place === undefined ? undefined : valueOf(step.key, place);
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
