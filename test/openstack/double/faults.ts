// What goes wrong on the way to a service, or within it, at a test's command.
import type { Question, Reply } from "./answers.ts";

/** What happens to a request. */
export interface Fault {
  /** The service takes so long before it does anything, milliseconds. */
  readonly delayMs?: number;
  /** Nothing is done: this is answered, the connection is closed, or nothing ever comes. */
  readonly instead?: Reply | "dropped" | "silence";
  /** It is done, and the connection is closed before the answer. */
  readonly lost?: boolean;
}

interface Planned {
  readonly method: string;
  readonly path: RegExp;
  readonly fault: Fault;
  left: number;
}

/** Faults that wait for their request, and a list of all requests. */
export class Faults {
  readonly #planned: Planned[] = [];
  readonly #seen: string[] = [];

  /** The next requests of a method, whose path below the service matches, go wrong. */
  plan(method: string, path: RegExp, fault: Fault, times = 1): void {
    this.#planned.push({ method, path, fault, left: times });
  }

  /** The requests since the last call, as `GET /v2.0/ports`. */
  seen(): string[] {
    return this.#seen.splice(0);
  }

  take({ method, path }: Question): Fault | undefined {
    this.#seen.push(`${method} ${path}`);
    const planned = this.#planned.find((p) => p.left > 0 && p.method === method && p.path.test(path));
    if (planned === undefined) return undefined;
    planned.left--;
    return planned.fault;
  }
}
