import { type Address, listAddresses } from "../kernel/addresses.ts";
import { Failure } from "../report/failure.ts";
import type { SettleStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

const POLL_MS = 10;

function list(addresses: readonly Address[]): string {
  return addresses.map((a) => a.cidr.ip).join(", ");
}

/** The type of step `settle`. */
export const settle: StepType<SettleStep> = {
  apply(step, pipeline) {
    const index = pipeline.indexOrThrow(step.where, step.link);
    pipeline.flushOrThrow();
    const nl = pipeline.settled(step.where);
    if (nl === undefined) return;
    for (let waited = 0; ; waited += POLL_MS) {
      const addresses = listAddresses(nl, index);
      const duplicates = addresses.filter((a) => a.duplicate);
      if (duplicates.length > 0) {
        throw new Failure("address", `use ${list(duplicates)} on ${step.link}: another machine on this LAN has it`, {
          advice: "Find that machine (ip -6 neigh, on a neighbour), or take the address out of the range.",
        });
      }
      const tentative = addresses.filter((a) => a.tentative);
      if (tentative.length === 0) return;
      if (waited >= step.timeoutMs) {
        throw new Failure(
          "busy",
          `wait for duplicate address detection of ${list(tentative)} on ${step.link}: no end after ${step.timeoutMs} ms`,
          { advice: "Detection ends only while the parent has carrier: check its cable or its peer." },
        );
      }
      Bun.sleepSync(POLL_MS);
    }
  },

  undo() {
    // waiting changes nothing
  },

  verify() {
    return []; // the address steps look for duplicates
  },

  explain(step, shell) {
    const tentative = `${shell.ip(step.where)} -6 address show dev ${step.link} tentative`;
    return [`while ${tentative} | grep -q inet6; do sleep 0.1; done`];
  },

  explainUndo() {
    return [];
  },
};
