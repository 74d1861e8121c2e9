import { type Address, listAddresses } from "../kernel/addresses.ts";
import { findLink } from "../kernel/links.ts";
import { probeIpv6 } from "../kernel/ndisc.ts";
import { SCOPE_LINK } from "../kernel/routes.ts";
import { Failure } from "../report/failure.ts";
import { AddressConflict } from "./conflict.ts";
import type { Pipeline } from "./pipeline.ts";
import type { SettleStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

const POLL_MS = 10;
/** How often each of several attachments is looked at that wait at the same time, milliseconds. */
const ASIDE_POLL_MS = 20;
/** How long the holder of a duplicate address has to answer, milliseconds. */
const HOLDER_MS = 300;

/** The kernel does not say who has the address: that is asked once more. */
function conflict(step: SettleStep, ip: string, { places }: Pipeline): AddressConflict {
  const place = places.at(step.where);
  const link = place === undefined ? undefined : findLink(place.netlink, step.link);
  const holder = link === undefined ? undefined : probeIpv6(place?.namespace, link, ip, HOLDER_MS);
  return AddressConflict.onLan(ip, step.link, holder);
}

function list(addresses: readonly Address[]): string {
  return addresses.map((a) => a.cidr.ip).join(", ");
}

/** Waits for the addresses of a link that `counts` names: with this thread, unless the caller has other work for it. */
function wait(step: SettleStep, pipeline: Pipeline, counts: (address: Address) => boolean): Promise<void> | undefined {
  const index = pipeline.indexOrThrow(step.where, step.link);
  pipeline.flushOrThrow();
  const nl = pipeline.settled(step.where);
  if (nl === undefined) return undefined;
  const hasEnded = (waited: number): boolean => {
    const addresses = listAddresses(nl, index).filter(counts);
    const duplicate = addresses.find((a) => a.duplicate);
    if (duplicate !== undefined) throw conflict(step, duplicate.cidr.ip, pipeline);
    const tentative = addresses.filter((a) => a.tentative);
    if (tentative.length === 0) return true;
    if (waited >= step.timeoutMs) {
      throw new Failure(
        "busy",
        `wait for duplicate address detection of ${list(tentative)} on ${step.link}: no end after ${step.timeoutMs} ms`,
        { advice: "Detection ends only while the parent has carrier: check its cable or its peer." },
      );
    }
    return false;
  };
  if (hasEnded(0)) return undefined;
  if (pipeline.waiting !== undefined) return waitAside(hasEnded, pipeline.waiting);
  for (let waited = POLL_MS; ; waited += POLL_MS) {
    Bun.sleepSync(POLL_MS);
    if (hasEnded(waited)) return undefined;
  }
}

async function waitAside(hasEnded: (waited: number) => boolean, waiting: () => void): Promise<void> {
  const start = performance.now();
  waiting();
  do await Bun.sleep(ASIDE_POLL_MS);
  while (!hasEnded(performance.now() - start));
}

/** The type of step `settle`. */
export const settle: StepType<SettleStep> = {
  follows: true,
  precedes: true,

  apply(step, pipeline) {
    return wait(step, pipeline, () => true);
  },

  // the link's own address, which the kernel checks since it is up, is no route's source
  mend(step, pipeline) {
    return wait(step, pipeline, (a) => a.scope !== SCOPE_LINK);
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
