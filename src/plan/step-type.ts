import type { Pipeline } from "./pipeline.ts";
import type { Places } from "./places.ts";
import type { Step, Where } from "./step.ts";

/** Why a step is undone: the plan failed a moment ago, or the attachment ends. */
export type Occasion = "rollback" | "detach";

/** What acts in the cloud is waited for; duplicate address detection is where the caller has other work meanwhile. */
type Done<S extends Step> = S extends { where: "cloud" }
  ? Promise<void>
  : S extends { type: "settle" }
    ? Promise<void> | void
    : void;

/** How a type of step is applied, undone, verified and explained. One file a type; step-types.ts is their table. */
export interface StepType<S extends Step> {
  /**
   * Queues or makes the change. Throws `Failure`, or leaves the error to the pipeline. On the kernel it is synchronous: a
   * lock of the host may be held, for which another attachment of this process would wait.
   */
  apply(step: S, pipeline: Pipeline): Done<S>;
  /** Makes a step hold that no longer does, where {@link apply} cannot: what is there already is changed, not made anew. */
  mend?(step: S, pipeline: Pipeline): Done<S>;
  /** It has no state that could be verified: on mending it is applied where something before it was mended. */
  readonly follows?: true;
  /** What comes after it relies on it: on mending it is applied before the first of these is mended, too. */
  readonly precedes?: true;
  /** Queues or makes the reverse: tolerates what is gone, touches only what Berth made. Reports by `pipeline.fail`. */
  undo(step: S, pipeline: Pipeline, occasion: Occasion): Done<S>;
  /** What does not hold, a sentence each; empty where all is as planned. */
  verify(step: S, places: Places): S extends { where: "cloud" } ? Promise<string[]> : string[];
  /** The commands that an administrator would have typed; `#` lines where `ip` cannot express something. */
  explain(step: S, shell: Shell): string[];
  /** The commands for the reverse. */
  explainUndo(step: S, shell: Shell): string[];
}

/** How explained commands name the container's namespace. */
export interface Shell {
  /** `ip`, with the namespace where it is the container's. */
  ip(where: Where): string;
  /** Whether what is made gets Berth's marks, by which it is undone; without them it may be there already, and is replaced. */
  readonly marks: boolean;
  /** A prefix that runs any program in the namespace; empty on the host. */
  within(where: Where): string;
  /** The container's namespace as `ip link … netns` takes it; undefined where it is the host's own. */
  readonly netns: string | undefined;
}
