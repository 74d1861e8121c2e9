// The plugin in a world: a host on a LAN, a neighbour there, and what must be left of everything at the end.
import { expect } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { listRecords } from "../../src/attachment/record.ts";
import { type DockerApi, type DockerServer, serveDocker } from "../../src/docker/server.ts";
import type { Failure } from "../../src/report/failure.ts";
import { HOST, type Snapshot, TestWorld } from "../world.ts";

/** Where the plugin listens. */
export const SOCKET = "/run/docker/plugins/berth.sock";
const RESERVATIONS = "/var/lib/cni/networks";
const STATE = "/var/lib/berth/docker";

/** A host with `eth1` on a LAN and `eth0` elsewhere; a peer on the LAN. */
export class PluginHost extends TestWorld {
  readonly #before: Snapshot;
  /** What the plugin could tell nobody. */
  readonly failures: Failure[] = [];
  #server: DockerServer | undefined;

  constructor() {
    super();
    for (const state of ["/run/berth", "/run/docker", "/var/lib/cni", "/var/lib/berth"])
      rmSync(state, { recursive: true, force: true });
    // or every world begins, and ends, with a wait until the NICs' own addresses have been checked
    this.sysctl(HOST, "net/ipv6/conf/default/accept_dad", "0");
    this.lan("tasks");
    this.lan("office");
    this.namespace("peer");
    this.plug("tasks", HOST, "eth1", "10.77.0.5/24", "fd77::5/64");
    this.plug("office", HOST, "eth0", "192.168.10.22/24");
    this.route(HOST, "eth1", "0.0.0.0/0", "10.77.0.1");
    this.plug("tasks", "peer", "eth0", "10.77.0.10/24", "10.78.0.10/24", "fd77::10/64");
    this.#before = this.snapshot(HOST);
  }

  /** Starts the plugin; a former one must have been stopped. */
  async start(api?: DockerApi): Promise<void> {
    this.#server = await serveDocker(SOCKET, { failed: (f) => this.failures.push(f), refused: () => {} }, api);
  }

  /** Stops the plugin. */
  async stop(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  /** What the plugin and everything that it did left behind: nothing. */
  nothingIsLeft(): void {
    expect(this.failures.map((f) => f.message)).toEqual([]);
    expect(listRecords((f) => expect.unreachable(f.message))).toEqual([]);
    expect(reserved()).toEqual([]);
    const kept = existsSync(STATE) ? readdirSync(STATE, { recursive: true }).map(String) : [];
    expect(kept.filter((f) => f.includes(".json"))).toEqual([]);
    expect(this.snapshot(HOST)).toEqual(this.#before);
  }
}

/** Addresses that are reserved, of all networks. */
function reserved(): string[] {
  if (!existsSync(RESERVATIONS)) return [];
  return readdirSync(RESERVATIONS).flatMap((n) =>
    readdirSync(`${RESERVATIONS}/${n}`).filter((f) => /^[\da-f]+[.:][\da-f.:]+$/u.test(f)),
  );
}
