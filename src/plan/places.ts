import { findNamespace, type Namespace, openNamespace } from "../kernel/namespaces.ts";
import { Netlink } from "../kernel/netlink.ts";
import type { Cloud } from "./cloud.ts";
import type { Step, Where } from "./step.ts";

/** A namespace as steps use it: one netlink socket, opened when first needed. */
export class Place implements Disposable {
  readonly #namespace: Namespace | undefined;
  #netlink: Netlink | undefined;

  /** Of the namespace that Berth was called in, where none is given. */
  constructor(namespace?: Namespace) {
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

/**
 * Where steps act: the two namespaces of an attachment, and a cloud. The container's namespace may be gone: then nothing of
 * it is left to undo or to verify. The cloud may be left out: then what is there is neither mended nor verified.
 */
export class Places implements Disposable {
  readonly host: Place;
  readonly container: Place | undefined;
  readonly cloud: Cloud | undefined;

  readonly #ownHost: boolean;

  private constructor(container: Namespace | undefined, cloud: Cloud | undefined, host: Place | undefined) {
    this.#ownHost = host === undefined;
    this.host = host ?? new Place();
    this.container = container === undefined ? undefined : new Place(container);
    this.cloud = cloud;
  }

  /**
   * With a container's namespace, which must be there. Throws `Failure` (`namespace`).
   * @param host the host's place, where others use it too: its owner disposes of it
   */
  static open(netns: string, cloud?: Cloud, host?: Place): Places {
    return new Places(openNamespace(netns), cloud, host);
  }

  /** With a container's namespace if it is there. */
  static find(netns: string | undefined, cloud?: Cloud): Places {
    return new Places(netns === undefined || netns === "" ? undefined : findNamespace(netns), cloud, undefined);
  }

  /** Whether what a step changed, or would, is within reach. */
  reaches({ where }: Step): boolean {
    return (where === "cloud" ? this.cloud : this.at(where)) !== undefined;
  }

  /** The place of a step; undefined where the container's namespace is gone. */
  at(where: Where): Place | undefined {
    return where === "host" ? this.host : this.container;
  }

  [Symbol.dispose](): void {
    if (this.#ownHost) this.host[Symbol.dispose]();
    this.container?.[Symbol.dispose]();
  }
}
