// A cloud in memory: the parts of Keystone and Neutron that Berth needs, with the real ones' answers (test/openstack/contract.ts).
import { Faults } from "./faults.ts";
import { Keystone } from "./keystone.ts";
import { Listener } from "./listener.ts";
import { Neutron } from "./neutron.ts";

/** How the cloud is set up. */
export interface DoubleOptions {
  /** As Neutron's `max_allowed_address_pair`. */
  readonly maxAllowedAddressPair?: number;
  /** The services' ports; absent: any that are free. */
  readonly ports?: { readonly keystone: number; readonly neutron: number };
}

/** A running double. Its users are admin, demo and reader (both of project demo) and other; a password is its user's name. */
export class DoubleCloud implements AsyncDisposable {
  readonly keystone = new Keystone();
  readonly neutron: Neutron;
  /** What goes wrong with requests to Keystone. */
  readonly keystoneFaults = new Faults();
  /** What goes wrong with requests to Neutron. */
  readonly faults = new Faults();
  readonly #listeners: Listener[] = [];

  private constructor(maxPairs: number) {
    this.neutron = new Neutron(this.keystone, maxPairs);
  }

  static async start({ maxAllowedAddressPair = 10, ports }: DoubleOptions = {}): Promise<DoubleCloud> {
    const cloud = new DoubleCloud(maxAllowedAddressPair);
    const { keystone, neutron } = cloud;
    const identity = await Listener.listen(ports?.keystone ?? 0, cloud.keystoneFaults, async (q) => keystone.answer(q));
    const network = await Listener.listen(ports?.neutron ?? 0, cloud.faults, async (q) => await neutron.answer(q));
    cloud.#listeners.push(identity, network);
    keystone.endpoints = { identity: `${identity.url}/v3`, network: network.url };
    return cloud;
  }

  /** Keystone's URL, as in `auth_url`. */
  get authUrl(): string {
    return this.keystone.endpoints.identity;
  }

  /** How long it took to answer all requests, milliseconds. */
  get answeringMs(): number {
    return this.#listeners.reduce((sum, listener) => sum + listener.answeringMs, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const listener of this.#listeners) listener.stop();
  }
}
