// Following a virtual machine that moves: its link is up where it runs, as its own QEMU says.
import { announceGuest, arrive, leave } from "../attachment/presence.ts";
import { describeKey, type Key } from "../attachment/key.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { Qmp, type QmpEvent } from "./qmp.ts";

/** How long QEMU may take to make its monitor's socket, milliseconds, and how often it is looked for. */
const APPEARS_MS = 30_000;
const POLL_MS = 50;
/** When the addresses are announced again, milliseconds after the machine has come: one may get lost. */
const AGAIN_MS = [100, 1000, 3000];

/** What a watch has to say. */
export interface VmReport {
  /** The machine runs here now. */
  arrived(): void;
  /** It runs here no longer: it is stopped, or has left. */
  left(): void;
  /** It runs on another host. */
  moved(): void;
  failed(failure: Failure): void;
}

/** How a watch ended. */
interface Watched {
  /** The machine runs on another host. */
  readonly moved: boolean;
}

async function connect(path: string, goesOn: () => boolean, onEvent: (event: QmpEvent) => void): Promise<Qmp> {
  for (const end = performance.now() + APPEARS_MS; ; await Bun.sleep(POLL_MS)) {
    try {
      return await Qmp.connect(path, onEvent);
    } catch (e) {
      const failure = asFailure(e, `watch ${path}`);
      if (failure.reason !== "unavailable" || performance.now() >= end || !goesOn()) throw failure;
    }
  }
}

/**
 * Follows a machine, with its attachments, by its monitor until QEMU ends. Throws `Failure` (`unavailable`) where there is no monitor.
 * @param goesOn false when QEMU has ended: then its monitor is not waited for any more
 */
export async function watchVm(
  keys: readonly Key[],
  path: string,
  report: VmReport,
  goesOn: () => boolean = () => true,
): Promise<Watched> {
  let moved = false;
  const timers: Timer[] = [];
  const each = async (doing: string, f: (key: Key) => void | Promise<void>): Promise<void> => {
    for (const key of keys) {
      try {
        await f(key);
      } catch (e) {
        report.failed(asFailure(e, `${doing} ${describeKey(key)}`));
      }
    }
  };
  // one after the other: a machine may stop and resume within a moment
  let work: Promise<void> = Promise.resolve();
  const next = (f: (key: Key) => Promise<void>, done: () => void): void => {
    const before = work;
    work = (async (): Promise<void> => {
      await before;
      await each("switch", f);
      done();
    })();
  };
  let running = false;
  const here = (): void => {
    running = true;
    moved = false;
    next(arrive, () => {
      report.arrived();
      for (const after of AGAIN_MS) timers.push(setTimeout(() => void each("announce", announceGuest), after));
    });
  };
  const gone = (): void => {
    running = false;
    next(leave, () => report.left());
  };
  using qmp = await connect(path, goesOn, ({ event, data }) => {
    if (event === "RESUME") here();
    else if (event === "STOP") gone();
    // the target says so too, of a machine that it has let run by then
    else if (event === "MIGRATION" && data["status"] === "completed") moved = !running;
  });
  // what happened before the connection was made
  const status = await qmp.execute("query-status");
  if (typeof status === "object" && status !== null && "running" in status && status.running === true) here();
  else gone();
  await qmp.ended;
  for (const timer of timers) clearTimeout(timer);
  await work;
  if (moved) report.moved();
  return { moved };
}
