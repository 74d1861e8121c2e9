// What attachments that one process makes, one after the other, have in common: it is asked for once.
import type { DelegateCall } from "../ipam/delegated.ts";
import type { Link } from "../kernel/links.ts";
import { Place } from "../plan/places.ts";
import { type Providers, providersOf } from "./allocation.ts";
import type { NetworkConfig } from "./config.ts";

/**
 * The host's socket, and of each network its parent and its IPAM. What was learned may come to be wrong, as when a parent is
 * made anew: so after a failure it is to be forgotten.
 */
export class Common implements Disposable {
  /** The host, as all plans reach it. */
  readonly host = new Place();
  readonly #providers = new Map<NetworkConfig, Providers>();
  readonly #parents = new Map<NetworkConfig, Link>();

  /** Who gives a network's attachments their addresses: one that need not know the call. Throws `Failure` (`config`). */
  async providersOf(config: NetworkConfig, delegate: DelegateCall): Promise<Providers> {
    const known = this.#providers.get(config);
    if (known !== undefined) return known;
    const providers = await providersOf(config, delegate);
    if (providers.ipam.type === "host-local") this.#providers.set(config, providers);
    return providers;
  }

  /** A network's parent on the host. Throws what `find` throws. */
  parentOf(config: NetworkConfig, find: () => Link): Link {
    const parent = this.#parents.get(config) ?? find();
    this.#parents.set(config, parent);
    return parent;
  }

  /** Nothing of what was learned is believed from now on. */
  forget(): void {
    this.#providers.clear();
    this.#parents.clear();
  }

  [Symbol.dispose](): void {
    this.host[Symbol.dispose]();
  }
}
