// A plan read four ways: applied, undone, verified, explained.
import { asFailure, Failure } from "../report/failure.ts";
import { mark } from "../report/trace.ts";
import { accessLink } from "./access-link.ts";
import { addressPairs } from "./address-pairs.ts";
import { address } from "./address.ts";
import { announce } from "./announce.ts";
import { down } from "./down.ts";
import { device } from "./device.ts";
import { HostSection, type LockHost } from "./host-section.ts";
import { link } from "./link.ts";
import { neighbour } from "./neighbour.ts";
import { Pipeline, type PipelineOptions } from "./pipeline.ts";
import type { Places } from "./places.ts";
import { probe } from "./probe.ts";
import { reach } from "./reach.ts";
import { route } from "./route.ts";
import { rule } from "./rule.ts";
import { settle } from "./settle.ts";
import { inside, shellFor } from "./shell.ts";
import type { Step } from "./step.ts";
import type { Occasion, StepType } from "./step-type.ts";
import { sysctl } from "./sysctl.ts";
import { tableRule } from "./table-rule.ts";
import { tap } from "./tap.ts";
import { up } from "./up.ts";

/** An attachment's ordered list of small changes. */
export type Plan = readonly Step[];

const types: { readonly [T in Step["type"]]: StepType<Extract<Step, { type: T }>> } = {
  link,
  device,
  "access-link": accessLink,
  sysctl,
  address,
  up,
  down,
  tap,
  settle,
  probe,
  announce,
  reach,
  route,
  rule,
  "table-rule": tableRule,
  neighbour,
  "address-pairs": addressPairs,
};

function typeOf<S extends Step>(step: S): StepType<S> {
  // the table pairs each type's name with its module; TypeScript cannot follow that through a union
  return types[step.type] as unknown as StepType<S>;
}

/** What a plan needs beside its namespaces. */
export interface PlanOptions extends PipelineOptions {
  /** Taken while the host's part is changed; absent: no lock. */
  readonly lockHost?: LockHost;
}

// Only what acts in the cloud is waited for: between two steps on the host, whose lock is held, no other attachment of this
// process may run, as it would wait for that lock and never come back.

/**
 * Applies a plan. Where a step fails, the steps before it (and those after it that the kernel had already been sent) are
 * undone in reverse, and the step's failure is thrown; failures of the undoing follow in its message.
 * @returns what the caller ought to know though it succeeded, a sentence each
 */
export async function applyPlan(plan: Plan, places: Places, options: PlanOptions = {}): Promise<readonly string[]> {
  const pipeline = new Pipeline(places, options);
  try {
    using section = new HostSection(options.lockHost);
    for (const [i, step] of plan.entries()) {
      section.enter(step.where, () => pipeline.flushOrThrow());
      pipeline.begin(i);
      const done = typeOf(step).apply(step, pipeline);
      if (done instanceof Promise) await done;
      mark(`step ${step.type}`);
    }
    pipeline.flushOrThrow();
    mark("flushed");
    return pipeline.remarks;
  } catch (thrown) {
    const first = asFailure(thrown, "apply the plan");
    const undone = await undoSteps(
      plan.filter((_, i) => pipeline.applied(i)),
      places,
      "rollback",
      options.lockHost,
    );
    if (undone.length === 0) throw first;
    const rest = undone.map((f) => f.message).join("; ");
    throw new Failure(first.reason, `${first.message}. Undoing what was done failed too: ${rest}`, {
      cause: first,
      incomplete: true,
      ...(first.advice === undefined ? {} : { advice: first.advice }),
    });
  }
}

/**
 * Makes the steps of a plan hold that do not. The rest is left alone, and nothing is undone where a step fails: what was
 * mended stays mended. Throws the first failure.
 * @returns what did not hold, a sentence each
 */
export async function mendPlan(plan: Plan, places: Places, options: PlanOptions = {}): Promise<string[]> {
  const pipeline = new Pipeline(places, options);
  using section = new HostSection(options.lockHost);
  const found: string[] = [];
  for (const [i, step] of plan.entries()) {
    if (step.where === "cloud" && !places.reaches(step)) continue;
    section.enter(step.where, () => pipeline.flushOrThrow());
    const type = typeOf(step);
    const wrong = type.verify(step, places);
    const sentences = wrong instanceof Promise ? await wrong : wrong;
    if (sentences.length === 0 && (type.follows !== true || found.length === 0)) continue;
    found.push(...sentences);
    pipeline.begin(i);
    const done = type.mend === undefined ? type.apply(step, pipeline) : type.mend(step, pipeline);
    if (done instanceof Promise) await done;
    pipeline.flushOrThrow(); // the next step is verified against what this one made
  }
  return found;
}

/**
 * Undoes a plan in reverse, as far as it can: what is gone already, or was not made by Berth, is left alone.
 * @returns what could not be undone
 */
export function undoPlan(plan: Plan, places: Places, lockHost?: LockHost): Promise<Failure[]> {
  return undoSteps(plan, places, "detach", lockHost);
}

/** The steps to be undone one by one: addresses, routes and neighbours of a link that the plan made go with that link, and those of a NIC that leaves. */
function withoutWhatGoesWithLinks(plan: Plan): Plan {
  const links = new Set(
    plan.flatMap((s) => (s.type === "link" || s.type === "device" ? [`${s.where} ${s.name}`] : [])),
  );
  return plan.filter((s) => !("link" in s && links.has(`${s.where} ${s.link}`)));
}

async function undoSteps(
  plan: Plan,
  places: Places,
  occasion: Occasion,
  lockHost: LockHost | undefined,
): Promise<Failure[]> {
  const pipeline = new Pipeline(places);
  using section = new HostSection(lockHost);
  for (const [i, step] of withoutWhatGoesWithLinks(plan).toReversed().entries()) {
    if (step.where !== "cloud" && !places.reaches(step)) continue;
    pipeline.begin(i);
    try {
      section.enter(step.where, () => pipeline.flush());
      const done = typeOf(step).undo(step, pipeline, occasion);
      if (done instanceof Promise) await done;
    } catch (thrown) {
      pipeline.fail(asFailure(thrown, `undo ${step.type}`));
    }
  }
  pipeline.flush();
  return pipeline.failures();
}

/** Compares a plan with the kernel: a sentence for each thing that does not hold. */
export async function verifyPlan(plan: Plan, places: Places): Promise<string[]> {
  const found: string[] = [];
  for (const step of plan) {
    if (step.where === "cloud" && !places.reaches(step)) continue;
    const wrong = typeOf(step).verify(step, places);
    found.push(...(wrong instanceof Promise ? await wrong : wrong));
  }
  return found;
}

/** The commands that would have built the same state; paste them into a root shell on the host. */
export function explainPlan(plan: Plan, netns: string): string[] {
  const shell = shellFor(netns);
  return plan.flatMap((step) => typeOf(step).explain(step, shell));
}

/** The commands for somebody who is in the namespace where a plan is to be applied by hand. */
export function explainInside(plan: Plan): string[] {
  return plan.flatMap((step) => typeOf(step).explain(step, inside));
}

/** The commands that would undo it; what goes with a link that is deleted is left out. */
export function explainUndo(plan: Plan, netns: string): string[] {
  const shell = shellFor(netns);
  return withoutWhatGoesWithLinks(plan)
    .toReversed()
    .flatMap((step) => typeOf(step).explainUndo(step, shell));
}
