import { findNamespace, type Namespace, openNamespace } from "../kernel/namespaces.ts";
import { Netlink } from "../kernel/netlink.ts";
import type { Where } from "./step.ts";

/** A namespace as steps use it: one netlink socket, opened when first needed. */
class Place implements Disposable {
  readonly #namespace: Namespace | undefined;
  #netlink: Netlink | undefined;

  constructor(namespace: Namespace | undefined) {
    this.#namespace = namespace;
  }

  /** The socket; throws `SysError` where it cannot be opened. */
  get netlink(): Netlink {
    this.#netlink ??= this.#namespace === undefined ? new Netlink() : this.#namespace.netlink();
    return this.#netlink;
  }

  /** The namespace; undefined for the one Berth was called in. */
  get namespace(): Namespace | undefined {
    return this.#namespace;
  }

  /** The namespace's descriptor; undefined for the one Berth was called in. */
  get fd(): number | undefined {
    return this.#namespace?.fd;
  }

  /** Identity of the namespace while it lives; undefined for the one Berth was called in. */
  get inode(): number | undefined {
    return this.#namespace?.inode;
  }

  /** Runs synchronous code with this thread in the namespace; see `Namespace.run`. */
  run<T>(f: () => T & (T extends PromiseLike<unknown> ? never : unknown)): T {
    return this.#namespace === undefined ? f() : this.#namespace.run(f);
  }

  [Symbol.dispose](): void {
    this.#netlink?.[Symbol.dispose]();
    this.#namespace?.[Symbol.dispose]();
  }
}

/** The two namespaces of an attachment. The container's may be gone: then nothing of it is left to undo or to verify. */
export class Places implements Disposable {
  readonly host: Place;
  readonly container: Place | undefined;

  private constructor(container: Namespace | undefined) {
    this.host = new Place(undefined);
    this.container = container === undefined ? undefined : new Place(container);
  }

  /** With a container's namespace, which must be there. Throws `Failure` (`namespace`). */
  static open(netns: string): Places {
    return new Places(openNamespace(netns));
  }

  /** With a container's namespace if it is there. */
  static find(netns: string | undefined): Places {
    return new Places(netns === undefined || netns === "" ? undefined : findNamespace(netns));
  }

  /** The place of a step; undefined where the container's namespace is gone. */
  at(where: Where): Place | undefined {
    return where === "host" ? this.host : this.container;
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
    this.container?.[Symbol.dispose]();
  }
}
