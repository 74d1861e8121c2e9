// A namespace with a web server, for callers that are handed a namespace instead of starting a container.
import { makeRootfs, SERVER } from "./image.ts";
import { type ClientHost, type Kind, run } from "./host.ts";

const ROOTFS = "/run/rootfs";

/** A namespace and what runs in it; disposing removes both. */
export class Tenant implements Disposable {
  readonly netns = "/run/netns/tenant";
  readonly #host: ClientHost;
  readonly #server: Bun.Subprocess;

  /** Makes the namespace. {@link makeTenantRootfs} comes first. */
  constructor(host: ClientHost) {
    this.#host = host;
    host.namespace("tenant");
    this.#server = Bun.spawn(["nsenter", `--net=${this.netns}`, "chroot", ROOTFS, ...SERVER], {
      stdio: ["ignore", "ignore", "ignore"],
    });
  }

  /** Runs a script in it; its output. Throws where it fails. */
  inside(script: string): string {
    return run(["nsenter", `--net=${this.netns}`, "chroot", ROOTFS, "/bin/sh", "-c", script]);
  }

  /** All that is promised of it (see `ClientHost.prove`). */
  prove(kind: Kind, addresses: readonly string[], mac?: string): void {
    const inside = (script: string): string => this.inside(script);
    this.#host.prove({ netns: this.netns, kind, addresses, inside, ...(mac === undefined ? {} : { mac }) });
  }

  [Symbol.dispose](): void {
    this.#server.kill();
    this.#host.removeNamespace("tenant");
  }
}

/** Makes the root file system that tenants share. */
export function makeTenantRootfs(): void {
  makeRootfs(ROOTFS);
}
