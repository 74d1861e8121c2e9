// Docker's calls, of which several are at work at once: what each of them logs, and asks a cloud, has an id of its own.
import { AsyncLocalStorage } from "node:async_hooks";
import { callsAre, newTrace } from "../report/log.ts";

const traces = new AsyncLocalStorage<string>();
callsAre(() => traces.getStore());

/** Does a call's work: all that it leads to, also what waits its turn in a queue, belongs to that call. */
export function asCall<T>(work: () => T): T {
  return traces.run(newTrace(), work);
}
