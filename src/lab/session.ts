// What every story of the lab needs of the session it is played in.
import type { TunnelKind } from "../kernel/tunnels.ts";

/** How a lab shall run. */
export interface LabOptions {
  /** Answer as JSON. */
  readonly json: boolean;
  /** Leave it standing until interrupted, with a command to enter it. */
  readonly keep: boolean;
  /** The story of tunnels: of which kind they are; absent: gretap. */
  readonly tunnel?: TunnelKind;
  /** The story of tunnels: virtual machines with this kernel, a path, or empty for the host's own; absent: a namespace stands for each. */
  readonly vm?: string;
}

/** This program, as a command to start it again: the executable, or the runtime with its script. */
export function self(): string[] {
  return /\/bun(\.exe)?$/u.test(process.execPath) ? [process.execPath, Bun.main] : [process.execPath];
}

/** Waits until interrupted. */
export async function untilInterrupted(): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {}, 60_000); // something must keep the event loop alive
    const end = (): void => {
      clearInterval(timer);
      resolve();
    };
    process.on("SIGINT", end);
    process.on("SIGTERM", end);
  });
}
