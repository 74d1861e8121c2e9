import type { Link } from "../kernel/links.ts";
import type { Where } from "./step.ts";

/** Links as the kernel described them when they were looked up: a call that asks once more waits once more. */
export class KnownLinks {
  readonly #links = new Map<string, Link>();

  /** A link that was looked up; undefined where none of that name was. */
  get(where: Where, name: string): Link | undefined {
    return this.#links.get(`${where} ${name}`);
  }

  /** Remembers a link under the name by which it was looked up. */
  add(where: Where, name: string, link: Link): void {
    this.#links.set(`${where} ${name}`, link);
  }
}
