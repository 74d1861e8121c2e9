// Networks that Docker removed while the driver was away: Docker does so all the same, and never says it again. So it is
// asked for its networks now and then, and never from inside a call of its own, which it would not answer.
import * as v from "valibot";
import { asFailure, type Failure } from "../report/failure.ts";

/** Longer does no answer take, milliseconds. */
const ANSWER_MS = 10_000;
const Networks = v.array(v.object({ Id: v.string() }));

/** What is compared. */
interface Known {
  /** The networks that the driver knows. */
  networks(): readonly string[];
  /** Removes one, and all that it has. */
  forget(id: string): Promise<void>;
  /** Gets what cannot be told to Docker. */
  failed(failure: Failure): void;
}

/** Ids of Docker's networks; undefined where dockerd does not answer, or is not done with its start. */
async function networksOf(socket: string): Promise<ReadonlySet<string> | undefined> {
  try {
    const response = await fetch("http://docker/networks", { unix: socket, signal: AbortSignal.timeout(ANSWER_MS) });
    const answer = v.safeParse(Networks, await response.json());
    return answer.success ? new Set(answer.output.map((n) => n.Id)) : undefined;
  } catch {
    return undefined;
  }
}

/** Looks now and then, until it is disposed of. */
export class Forgotten implements Disposable {
  readonly #socket: string;
  readonly #known: Known;
  readonly #timer: ReturnType<typeof setInterval>;
  /** Those that were not among Docker's at the last look: one that is being created is not yet. */
  #missed: ReadonlySet<string> = new Set();
  #looking = false;

  /** @param everyMs a network is removed when it was missed twice */
  constructor(socket: string, everyMs: number, known: Known) {
    this.#socket = socket;
    this.#known = known;
    this.#timer = setInterval(() => void this.#look(), everyMs);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#looking || this.#known.networks().length === 0) return;
    this.#looking = true;
    const theirs = await networksOf(this.#socket);
    const missing = theirs === undefined ? [] : this.#known.networks().filter((id) => !theirs.has(id));
    for (const id of missing.filter((m) => this.#missed.has(m))) {
      try {
        await this.#known.forget(id);
      } catch (e) {
        this.#known.failed(asFailure(e, `remove Docker's former network ${id}`));
      }
    }
    this.#missed = new Set(missing);
    this.#looking = false;
  }
}
