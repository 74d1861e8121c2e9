// What the driver remembers of Docker's networks and endpoints: Docker says it once and never again. One file each, written
// whole; they outlive the driver, dockerd and the machine's boot.
import * as v from "valibot";
import { parseCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { isObject, parseJson } from "../ipam/json.ts";
import {
  isMissing,
  listDirectory,
  makeDirectory,
  readOwnFile,
  removeFile,
  renameFile,
  writeFile,
} from "../kernel/files.ts";
import { secondsSinceBoot } from "../kernel/libc.ts";
import { bootId } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";
import type { ExposedPort } from "../openstack/security-groups.ts";
import type { CloudPool, EndpointPort } from "./cloud.ts";
import type { DockerNetwork } from "./options.ts";

const DIRECTORY = "/var/lib/berth/docker";
/** Of the files' form that this Berth writes and reads. */
export const VERSION = 1;
/** The ending of a file while it is written. */
const UNFINISHED = ".new";

/** A container's place on a network. */
export interface DockerEndpoint {
  /** Of this file's form. */
  readonly version: typeof VERSION;
  readonly id: string;
  readonly network: string;
  /** The MAC that Docker or the driver chose; absent where the kind takes the parent's. */
  readonly mac?: string;
  /** With prefix lengths. */
  readonly addresses: readonly string[];
  /** The reservations of {@link addresses} in their pools, `NAME IP`, as far as the driver's IPAM made them. */
  readonly reservations: readonly string[];
  /** Where it was joined and not left: path of the container's namespace, which may not exist yet. */
  readonly sandbox?: string;
  /** Of a cloud's network. */
  readonly port?: EndpointPort;
  /** What everybody shall reach of it there. */
  readonly exposed?: readonly ExposedPort[];
}

/** Where the reservations of a pool's addresses are, and which addresses it has. */
export interface Pool {
  readonly network: string;
  /** The subnet as a CIDR. */
  readonly pool: string;
  /** The part of it to hand out, as a CIDR; absent: all. */
  readonly range?: string;
  /** Absent: where the standard plugin has them. */
  readonly dataDir?: string;
  /** The subnet that it is of a cloud's. */
  readonly cloud?: CloudPool;
}

/** An address that was reserved for Docker, and is no endpoint's yet. */
export interface Grant {
  /** Of this file's form. */
  readonly version: typeof VERSION;
  readonly id: string;
  readonly pool: Pool;
  /** Milliseconds since the epoch, for who reads it: a clock can be set. */
  readonly made: number;
  /** When that was, in seconds since which boot. Earlier Berths did not say. */
  readonly since?: { readonly boot: string; readonly seconds: number };
  /** Absent before it is reserved. */
  readonly ip?: string;
  /** What holds it in a cloud. */
  readonly port?: EndpointPort;
}

/** A grant that is being made. */
export function newGrant(pool: Pool): Grant {
  const since = { boot: bootId(), seconds: secondsSinceBoot() };
  return { version: VERSION, id: crypto.randomUUID(), pool, made: Date.now(), since };
}

/** How long ago a grant was made, seconds; for ever where that was before the boot, as who asked for it is gone. */
export function ageOf({ since, made }: Grant): number {
  if (since === undefined) return (Date.now() - made) / 1000;
  return since.boot === bootId() ? secondsSinceBoot() - since.seconds : Number.POSITIVE_INFINITY;
}

// what a file must look like before anything is done by it
const address = v.pipe(
  v.string(),
  v.check((text) => parseIp(text) !== undefined),
);
const cidr = v.pipe(
  v.string(),
  v.check((text) => parseCidr(text) !== undefined),
);
const port = v.object({ id: v.string(), mac: v.string() });
/** A subnet of a cloud's, as pool ids and files have it. */
export const cloudPool = v.object({ cloud: v.exactOptional(v.string()), network: v.string(), subnet: v.string() });
const version = v.literal(VERSION);
const NetworkForm: v.GenericSchema<unknown, DockerNetwork> = v.object({
  version,
  id: v.string(),
  name: v.string(),
  config: v.record(v.string(), v.unknown()),
  gateway: v.exactOptional(address),
  gateway6: v.exactOptional(address),
  pools: v.array(cidr),
  reserved: v.array(v.string()),
  prefix: v.string(),
  cloud: v.exactOptional(
    v.object({ cloud: v.exactOptional(v.string()), network: v.string(), subnets: v.record(v.string(), v.string()) }),
  ),
});
const EndpointForm: v.GenericSchema<unknown, DockerEndpoint> = v.object({
  version,
  id: v.string(),
  network: v.string(),
  mac: v.exactOptional(v.string()),
  addresses: v.array(cidr),
  reservations: v.array(v.string()),
  sandbox: v.exactOptional(v.pipe(v.string(), v.regex(/^\/[^\0]+$/u))),
  port: v.exactOptional(port),
  exposed: v.exactOptional(v.array(v.object({ protocol: v.string(), port: v.number() }))),
});
const GrantForm: v.GenericSchema<unknown, Grant> = v.object({
  version,
  id: v.string(),
  pool: v.object({
    network: v.string(),
    pool: cidr,
    range: v.exactOptional(cidr),
    dataDir: v.exactOptional(v.pipe(v.string(), v.regex(/^\/[^\0]*$/u))),
    cloud: v.exactOptional(cloudPool),
  }),
  made: v.number(),
  since: v.exactOptional(v.object({ boot: v.string(), seconds: v.number() })),
  ip: v.exactOptional(address),
  port: v.exactOptional(port),
});

interface Kept {
  readonly version: typeof VERSION;
  readonly id: string;
}

/** The files of one sort, and what is in them. */
class Store<T extends Kept> {
  readonly #directory: string;
  readonly #form: v.GenericSchema<unknown, T>;
  readonly #items = new Map<string, T>();

  constructor(sort: string, form: v.GenericSchema<unknown, T>, unreadable: (failure: Failure) => void) {
    this.#directory = `${DIRECTORY}/${sort}`;
    this.#form = form;
    for (const { name } of listDirectory(this.#directory)) {
      if (name.endsWith(UNFINISHED)) removeFile(`${this.#directory}/${name}`); // of a process that was killed
      if (!name.endsWith(".json")) continue;
      try {
        const item = this.#read(name);
        this.#items.set(item.id, item);
      } catch (e) {
        unreadable(
          e instanceof Failure ? e : new Failure("io", e instanceof Error ? e.message : String(e), { cause: e }),
        );
      }
    }
  }

  #read(name: string): T {
    const path = `${this.#directory}/${name}`;
    const advice = "Remove it, and create the network anew.";
    const json = parseJson(readOwnFile(path) ?? "", `read ${path}`, advice);
    const stated = isObject(json) ? json["version"] : undefined;
    if (Number.isSafeInteger(stated) && stated !== VERSION) {
      throw new Failure("decode", `read ${path}: its version is ${Number(stated)}, this Berth reads ${VERSION}`, {
        advice: "Use the Berth that wrote it.",
      });
    }
    const result = v.safeParse(this.#form, json);
    if (!result.success) {
      const where = v.getDotPath(result.issues[0]) ?? "the whole";
      throw new Failure("decode", `read ${path}: ${where} is none that Berth writes`, { advice });
    }
    const item = result.output;
    if (`${item.id}.json` !== name) throw new Failure("decode", `read ${path}: it is that of ${item.id}`, { advice });
    return item;
  }

  get(id: string): T | undefined {
    return this.#items.get(id);
  }

  values(): T[] {
    return [...this.#items.values()];
  }

  /** Throws `Failure` (`io`). */
  set(item: T): void {
    const path = `${this.#directory}/${item.id}.json`;
    const unfinished = `${path}${UNFINISHED}`;
    const write = (): void => writeFile(unfinished, JSON.stringify(item), { mode: 0o600 });
    try {
      try {
        write();
      } catch (e) {
        if (!isMissing(e)) throw e;
        makeDirectory(this.#directory, 0o700);
        write();
      }
      renameFile(unfinished, path);
    } catch (e) {
      try {
        removeFile(unfinished);
      } catch {
        // what keeps it from being removed is what kept it from being written
      }
      throw new Failure("io", `write ${path}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
    }
    this.#items.set(item.id, item);
  }

  /** Success where it is gone already. Throws `Failure` (`io`). */
  delete(id: string): void {
    const path = `${this.#directory}/${id}.json`;
    try {
      removeFile(path);
    } catch (e) {
      throw new Failure("io", `remove ${path}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
    }
    this.#items.delete(id);
  }
}

/** The driver's memory. */
export class State {
  readonly networks: Store<DockerNetwork>;
  readonly endpoints: Store<DockerEndpoint>;
  readonly grants: Store<Grant>;

  /** @param unreadable gets the failure of each file that cannot be read */
  constructor(unreadable: (failure: Failure) => void) {
    this.networks = new Store("networks", NetworkForm, unreadable);
    this.endpoints = new Store("endpoints", EndpointForm, unreadable);
    this.grants = new Store("grants", GrantForm, unreadable);
  }

  /** True where a living endpoint has this reservation. */
  isReserved(reservation: string): boolean {
    return this.endpoints.values().some((e) => e.reservations.includes(reservation));
  }
}
