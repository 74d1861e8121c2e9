// What the program waits for where nothing else is left to do: a moment, or the answer to a request (engine/carrier.ts).
import { dlopen, FFIType, ptr } from "./ffi.ts";
import { host } from "./host.ts";

const { symbols } = dlopen("libc.so.6", { poll: { returns: FFIType.i32 } });
const POLLIN = 1;
/** The longest that poll(2) takes, milliseconds. */
const LONGEST = 0x7fffffff;

/** A moment that is waited for. */
export interface Timer {
  readonly at: number;
  readonly ring: () => void;
}

/** Something that may be waited for; the descriptor is undefined where nothing is to come of it. */
export interface Source {
  readonly descriptor: () => number | undefined;
  readonly ready: () => void;
}

const timers = new Set<Timer>();
let source: Source | undefined;

/** Has something done after a time, milliseconds. */
export function after(milliseconds: number, ring: () => void): Timer {
  const timer = { at: host.now() + milliseconds, ring };
  timers.add(timer);
  return timer;
}

/** It need not be done any more. */
export function cancel(timer: Timer): void {
  timers.delete(timer);
}

/** The one source that there is. */
export function waitFor(what: Source): void {
  source = what;
}

/** Whether something can be read, which is waited for; -1: for ever. */
export function isReadable(descriptor: number, milliseconds: number): boolean {
  const asked = new Int32Array([descriptor, POLLIN]);
  const timeout = milliseconds < 0 ? -1 : Math.min(Math.ceil(milliseconds), LONGEST);
  return (symbols["poll"]?.(ptr(asked), 1, timeout) ?? 0) > 0;
}

/** Waits for the next thing and has it done; false where there is none. */
host.idle = (): boolean => {
  const descriptor = source?.descriptor();
  let next = Infinity;
  for (const { at } of timers) next = Math.min(next, at);
  if (descriptor === undefined && timers.size === 0) return false;
  const left = next === Infinity ? -1 : Math.max(0, next - host.now());
  if (descriptor === undefined) host.sleep(left);
  else if (isReadable(descriptor, left)) source?.ready();
  const now = host.now();
  for (const timer of timers) {
    if (timer.at > now) continue;
    timers.delete(timer);
    timer.ring();
  }
  return true;
};
