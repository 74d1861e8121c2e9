// A plan read four ways: applied, undone, verified, explained.
import { asFailure, Failure } from "../report/failure.ts";
import { log } from "../report/log.ts";
import { mark } from "../report/trace.ts";
import { address } from "./address.ts";
import { HostSection, type LockHost } from "./host-section.ts";
import { link } from "./link.ts";
import { Pipeline, type PipelineOptions } from "./pipeline.ts";
import type { Places } from "./places.ts";
import { route } from "./route.ts";
import { inside, shellFor } from "./shell.ts";
import type { Step } from "./step.ts";
import type { Occasion, StepType } from "./step-type.ts";
import { sysctl } from "./sysctl.ts";
import { up } from "./up.ts";

/** An attachment's ordered list of small changes. */
export type Plan = readonly Step[];

type Types = { readonly [T in Step["type"]]: StepType<Extract<Step, { type: T }>> };

/** The types that every attachment has. */
const common = { link, sysctl, address, up, route };
/** The others are loaded where a plan has such a step. */
const others: { readonly [T in Exclude<Step["type"], keyof typeof common>]: () => Promise<Types[T]> } = {
  "access-link": async () => (await import("./access-link.ts")).accessLink,
  device: async () => (await import("./device.ts")).device,
  down: async () => (await import("./down.ts")).down,
  tap: async () => (await import("./tap.ts")).tap,
  settle: async () => (await import("./settle.ts")).settle,
  probe: async () => (await import("./probe.ts")).probe,
  announce: async () => (await import("./announce.ts")).announce,
  reach: async () => (await import("./reach.ts")).reach,
  rule: async () => (await import("./rule.ts")).rule,
  "table-rule": async () => (await import("./table-rule.ts")).tableRule,
  neighbour: async () => (await import("./neighbour.ts")).neighbour,
  "address-pairs": async () => (await import("./address-pairs.ts")).addressPairs,
};
const loaded: Partial<Record<Step["type"], unknown>> = { ...common };

/** Loads the types of a plan's steps that are not loaded yet; undefined where all are. */
function load(plan: Plan): Promise<void> | undefined {
  const missing: (keyof typeof others)[] = [];
  for (const { type } of plan)
    if (loaded[type] === undefined && type in others) missing.push(type as keyof typeof others);
  return missing.length === 0 ? undefined : loadTypes(missing);
}

async function loadTypes(types: readonly (keyof typeof others)[]): Promise<void> {
  for (const type of types) loaded[type] = await others[type]();
}

/** The type of a step of a plan that was given to {@link load}. */
function typeOf<S extends Step>(step: S): StepType<S> {
  // the tables pair each type's name with its module; TypeScript cannot follow that through a union
  return loaded[step.type] as StepType<S>;
}

/** What a plan needs beside its namespaces. */
export interface PlanOptions extends PipelineOptions {
  /** Taken while the host's part is changed; absent: no lock. */
  readonly lockHost?: LockHost;
}

// Only what acts in the cloud is waited for, and duplicate address detection in a container: between two steps on the host,
// whose lock is held, no other attachment of this process may run, as it would wait for that lock and never come back.

/**
 * Applies a plan. Where a step fails, the steps before it (and those after it that the kernel had already been sent) are
 * undone in reverse, and the step's failure is thrown; failures of the undoing follow in its message.
 * @returns what the caller ought to know though it succeeded, a sentence each
 */
export async function applyPlan(plan: Plan, places: Places, options: PlanOptions = {}): Promise<readonly string[]> {
  const loading = load(plan);
  if (loading !== undefined) await loading;
  const pipeline = new Pipeline(places, options);
  try {
    using section = new HostSection(options.lockHost);
    for (let wait = applyFrom(0, plan, pipeline, section); wait !== undefined;) {
      await wait.done;
      wait = applyFrom(wait.next, plan, pipeline, section);
    }
    return pipeline.remarks;
  } catch (thrown) {
    const done = plan.filter((_, i) => pipeline.applied(i));
    throw await rollBack(asFailure(thrown, "apply the plan"), done, places, options.lockHost);
  }
}

/** A step that is waited for, and the one after it. */
interface Wait {
  readonly done: Promise<void>;
  readonly next: number;
}

/** Applies the steps from one on, until one has to be waited for; undefined where the plan's end was reached. */
function applyFrom(first: number, plan: Plan, pipeline: Pipeline, section: HostSection): Wait | undefined {
  const flush = (): void => pipeline.flushOrThrow();
  for (let i = first; i < plan.length; i++) {
    const step = plan[i] as Step;
    section.enter(step.where, flush);
    pipeline.begin(i);
    const done = typeOf(step).apply(step, pipeline);
    mark(`step ${step.type}`);
    log("debug", "apply", () => ({ step: step.type, where: step.where }));
    if (done instanceof Promise) return { done, next: i + 1 };
  }
  pipeline.flushOrThrow();
  mark("flushed");
  return undefined;
}

/**
 * Undoes steps that were applied a moment ago because something failed after them.
 * @returns the failure to report: it says so where something could not be undone
 */
export async function rollBack(
  first: Failure,
  done: Plan,
  places: Places,
  lockHost: LockHost | undefined,
): Promise<Failure> {
  const undone = await undoSteps(done, places, "rollback", lockHost);
  if (undone.length === 0) return first;
  const rest = undone.map((f) => f.message).join("; ");
  return new Failure(first.reason, `${first.message}. Undoing what was done failed too: ${rest}`, {
    cause: first,
    incomplete: true,
    ...(first.advice === undefined ? {} : { advice: first.advice }),
  });
}

/**
 * Makes the steps of a plan hold that do not. The rest is left alone, and nothing is undone where a step fails: what was
 * mended stays mended. Throws the first failure.
 * @returns what did not hold, a sentence each
 */
export async function mendPlan(plan: Plan, places: Places, options: PlanOptions = {}): Promise<string[]> {
  await load(plan);
  const pipeline = new Pipeline(places, options);
  using section = new HostSection(options.lockHost);
  const found: string[] = [];
  let foundations: [number, Step][] = [];
  for (const [i, step] of plan.entries()) {
    if (step.where === "cloud" && !places.reaches(step)) continue;
    section.enter(step.where, () => pipeline.flushOrThrow());
    const type = typeOf(step);
    const wrong = type.verify(step, places);
    const sentences = wrong instanceof Promise ? await wrong : wrong;
    if (sentences.length === 0 && (type.follows !== true || found.length === 0)) {
      if (type.precedes === true) foundations.push([i, step]);
      continue;
    }
    found.push(...sentences);
    for (const [n, earlier] of [...foundations.filter(([, e]) => e.where === step.where), [i, step] as const]) {
      const done = mendStep(n, earlier, pipeline);
      if (done !== undefined) await done;
    }
    foundations = foundations.filter(([, e]) => e.where !== step.where);
  }
  return found;
}

/** Makes one step hold, and sends it at once: the next one is verified against what it made. */
function mendStep(i: number, step: Step, pipeline: Pipeline): Promise<void> | undefined {
  const type = typeOf(step);
  pipeline.begin(i);
  const done = type.mend === undefined ? type.apply(step, pipeline) : type.mend(step, pipeline);
  if (done instanceof Promise) return done.then(() => pipeline.flushOrThrow());
  pipeline.flushOrThrow();
  return undefined;
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
  const links: string[] = [];
  for (const s of plan) if (s.type === "link" || s.type === "device") links.push(`${s.where} ${s.name}`);
  const rest: Step[] = [];
  for (const s of plan) if (!("link" in s && links.includes(`${s.where} ${s.link}`))) rest.push(s);
  return rest;
}

async function undoSteps(
  plan: Plan,
  places: Places,
  occasion: Occasion,
  lockHost: LockHost | undefined,
): Promise<Failure[]> {
  const loading = load(plan);
  if (loading !== undefined) await loading;
  const pipeline = new Pipeline(places);
  using section = new HostSection(lockHost);
  const steps = withoutWhatGoesWithLinks(plan).toReversed();
  for (let wait = undoFrom(0, steps, pipeline, section, occasion); wait !== undefined;) {
    await wait.done;
    wait = undoFrom(wait.next, steps, pipeline, section, occasion);
  }
  return pipeline.failures();
}

/** Undoes the steps from one on as {@link applyFrom} applies them; what fails is noted, and does not keep the others. */
function undoFrom(
  first: number,
  steps: Plan,
  pipeline: Pipeline,
  section: HostSection,
  occasion: Occasion,
): Wait | undefined {
  const flush = (): void => pipeline.flush();
  for (let i = first; i < steps.length; i++) {
    const step = steps[i] as Step;
    if (step.where !== "cloud" && !pipeline.places.reaches(step)) continue;
    const failed = (thrown: unknown): void => pipeline.fail(asFailure(thrown, `undo ${step.type}`));
    pipeline.begin(i);
    log("debug", "undo", () => ({ step: step.type, where: step.where, occasion }));
    try {
      section.enter(step.where, flush);
      const done = typeOf(step).undo(step, pipeline, occasion);
      if (done instanceof Promise) return { done: done.catch(failed), next: i + 1 };
    } catch (thrown) {
      failed(thrown);
    }
  }
  pipeline.flush();
  return undefined;
}

/** Compares a plan with the kernel: a sentence for each thing that does not hold. */
export async function verifyPlan(plan: Plan, places: Places): Promise<string[]> {
  const loading = load(plan);
  if (loading !== undefined) await loading;
  const found: string[] = [];
  for (const step of plan) {
    if (step.where === "cloud" && !places.reaches(step)) continue;
    const wrong = typeOf(step).verify(step, places);
    found.push(...(wrong instanceof Promise ? await wrong : wrong));
  }
  return found;
}

/** The commands that would have built the same state; paste them into a root shell on the host. */
export async function explainPlan(plan: Plan, netns: string): Promise<string[]> {
  const shell = shellFor(netns);
  await load(plan);
  return plan.flatMap((step) => typeOf(step).explain(step, shell));
}

/** The commands for somebody who is in the namespace where a plan is to be applied by hand. */
export async function explainInside(plan: Plan): Promise<string[]> {
  await load(plan);
  return plan.flatMap((step) => typeOf(step).explain(step, inside));
}

/** The commands that would undo it; what goes with a link that is deleted is left out. */
export async function explainUndo(plan: Plan, netns: string): Promise<string[]> {
  const shell = shellFor(netns);
  await load(plan);
  return withoutWhatGoesWithLinks(plan)
    .toReversed()
    .flatMap((step) => typeOf(step).explainUndo(step, shell));
}
