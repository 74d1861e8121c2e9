// Files that Berth, or the standard plugins, keep: whatever is in them, and whatever lies in their place.
import { lstatSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { checkKey, keyFileName } from "../../../src/attachment/key.ts";
import { type AttachmentRecord, listRecords, readRecord, recordsOf } from "../../../src/attachment/record.ts";
import { configOf } from "../../../src/attachment/recorded-config.ts";
import { State } from "../../../src/docker/state.ts";
import { HostLocal } from "../../../src/ipam/host-local.ts";
import { PairLedger } from "../../../src/openstack/pair-ledger.ts";
import { TokenCache } from "../../../src/openstack/token-cache.ts";
import { explainPlan, explainUndo } from "../../../src/plan/plan.ts";
import { Failure } from "../../../src/report/failure.ts";
import { Broken, type Target } from "../engine.ts";
import { hostileText, mutateJson, mutateText } from "../mutate.ts";
import type { Random } from "../random.ts";
import { fileName, Place } from "./directories.ts";
import { recordSamples } from "./records.ts";

/** What lies at a path. */
type Thing =
  | { readonly text: string }
  | { readonly link: "precious" | "preciousDirectory" | "nowhere" }
  | { readonly directory: true };

function put(place: Place, path: string, thing: Thing): void {
  if ("text" in thing) writeFileSync(path, thing.text, { flag: "wx" });
  else if ("link" in thing) symlinkSync(thing.link === "nowhere" ? "/nowhere" : place[thing.link], path);
  else mkdirSync(path);
}

function odd(r: Random): Thing {
  return r.pick<Thing>([
    { link: "precious" },
    { link: "preciousDirectory" },
    { link: "nowhere" },
    { directory: true },
    { text: "" },
    { text: "\0\0\0" },
  ]);
}

const boot = "11111111-2222-3333-4444-555555555555";
const reservations = ["c1\r\neth0", "c1", "c2\r\neth0", "docker:x\r\ndocker", "in quarantine\r\n02:00:00:00:00:01"];
const addresses = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "fd00::7"];
const others = ["last_reserved_ip.0", "lock", ".berth", `.berth/${boot}`, ".berth/quarantine"];

interface Entry {
  readonly name: string;
  readonly thing: Thing;
}

interface HostLocalCase {
  readonly entries: readonly Entry[];
  readonly network: string;
  readonly containerId: string;
  readonly verb: "allocate" | "preview" | "release" | "check" | "collect" | "status" | "quarantine";
  readonly ip: string;
}

let hostLocal: Place | undefined;

/** A network's directory of reservations. */
export const hostLocalTarget: Target<HostLocalCase> = {
  name: "host-local",
  brief: "host-local's directories: names, contents, links, and who asks",
  make(r) {
    const entries = Array.from({ length: 1 + r.int(7) }, (): Entry => {
      const kept = r.once(6) ? r.pick(others) : r.pick(addresses);
      const name = r.once(8) ? hostileText(r) : kept;
      const text = r.once(3) ? hostileText(r) : r.pick(r.once(2) ? reservations : addresses);
      return { name, thing: r.once(4) ? odd(r) : { text: r.once(4) ? mutateText(r, text) : text } };
    });
    return {
      entries,
      network: r.once(10) ? hostileText(r) : "lan",
      containerId: r.once(10) ? hostileText(r) : "c1",
      verb: r.pick(["allocate", "allocate", "preview", "release", "check", "collect", "status", "quarantine"]),
      ip: r.once(10) ? hostileText(r) : r.pick(addresses),
    };
  },
  async run({ entries, network, containerId, verb, ip }) {
    const place = (hostLocal ??= new Place("host-local"));
    place.empty();
    const directory = `${place.inside}/lan`;
    mkdirSync(directory);
    for (const { name, thing } of entries) {
      const below =
        name.startsWith(".berth/") && lstatSync(`${directory}/.berth`, { throwIfNoEntry: false })?.isDirectory();
      if (below === true || fileName(name) !== undefined) {
        try {
          put(place, `${directory}/${name}`, thing);
        } catch {
          // there already, or below something that is no directory
        }
      }
    }
    const provider = new HostLocal({ type: "host-local", subnet: "10.1.0.0/29", dataDir: place.inside }, []);
    const holder = { network, containerId, ifName: "eth0" };
    try {
      switch (verb) {
        case "allocate": {
          const { ips } = await provider.allocate(holder, ip === "10.1.0.1" ? [] : [ip]);
          if (ips.length !== 1) throw new Broken("not one address");
          await provider.release(holder, []);
          break;
        }
        case "preview":
          await provider.preview(holder, []);
          break;
        case "release":
          await provider.release(holder, [ip]);
          break;
        case "check":
          await provider.check(holder, [ip]);
          break;
        case "collect":
          await provider.collect(network, [holder]);
          break;
        case "status":
          await provider.status(network);
          break;
        case "quarantine":
          await provider.quarantine(holder, ip, "02:00:00:00:00:09", 60);
      }
    } catch (e) {
      if (e instanceof Error) place.checkTold(e.message);
      throw e;
    } finally {
      place.check();
    }
  },
};

interface RecordCase {
  readonly thing: Thing | { readonly json: unknown };
  readonly neighbour: boolean;
}

/** The records of attachments: what can be read of them, and what would be undone. */
export const recordTarget: Target<RecordCase> = {
  name: "records",
  brief: "/run/berth/attachments",
  make(r) {
    const json = mutateJson(r, r.pick(recordSamples));
    const thing = r.once(10) ? odd(r) : r.once(5) ? { text: mutateText(r, JSON.stringify(json) ?? "") } : { json };
    return { thing, neighbour: r.once(3) };
  },
  async run({ thing, neighbour }) {
    const place = (records ??= new Place("records"));
    const directory = "/run/berth/attachments";
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    const [first] = recordSamples;
    const path = `${directory}/lan:c1:eth0.json`;
    put(place, path, "json" in thing ? { text: JSON.stringify(thing.json) ?? "" } : thing);
    const other = { ...first, key: { network: "lan", containerId: "c1", ifName: "eth1" } };
    if (neighbour) writeFileSync(`${directory}/lan:c1:eth1.json`, JSON.stringify(other));
    try {
      const all = listRecords((failure) => place.checkTold(failure.message));
      const want = neighbour ? 1 : 0;
      if (all.length < want) throw new Broken("a neighbour's record was lost");
      for (const record of all) await checkRecord(record);
      const one = readRecord({ network: "lan", containerId: "c1", ifName: "eth0" });
      if (one !== undefined) await checkRecord(one);
      recordsOf("lan", "c1");
    } catch (e) {
      if (e instanceof Error) place.checkTold(e.message);
      throw e;
    } finally {
      place.check();
    }
  },
};
let records: Place | undefined;

/** What was accepted must be good for all that is done with a record. */
async function checkRecord(record: AttachmentRecord): Promise<void> {
  checkKey(record.key);
  const known = ["lan:c1:eth0.json", "lan:c1:eth1.json"];
  if (!known.includes(keyFileName(record.key))) throw new Broken("a record of another file's name");
  await explainUndo(record.plan, record.netns);
  await explainPlan(record.plan, record.netns);
  try {
    configOf(record);
  } catch (e) {
    if (!(e instanceof Failure)) throw e; // a configuration that is none is refused when it is needed
  }
}

const dockerSamples: Readonly<Record<"networks" | "endpoints" | "grants", unknown>> = {
  networks: {
    version: 1,
    id: "n1",
    name: "docker-n1",
    config: { cniVersion: "1.1.0", name: "docker-n1", type: "berth", kind: "macvlan", master: "eth1" },
    pools: ["10.1.0.0/24"],
    reserved: ["10.1.0.1"],
    prefix: "eth",
    gateway: "10.1.0.1",
  },
  endpoints: {
    version: 1,
    id: "e1",
    network: "n1",
    mac: "02:00:00:00:00:01",
    addresses: ["10.1.0.7/24"],
    reservations: ["docker-10.1.0.0-24 10.1.0.7"],
    sandbox: "/var/run/docker/netns/x",
  },
  grants: {
    version: 1,
    id: "g1",
    pool: { network: "docker-10.1.0.0-24", pool: "10.1.0.0/24", range: "10.1.0.0/28" },
    made: 1,
    since: { boot: "11111111-2222-3333-4444-555555555555", seconds: 7 },
    ip: "10.1.0.8",
  },
};

interface DockerStateCase {
  readonly sort: keyof typeof dockerSamples;
  readonly name: string;
  readonly thing: Thing | { readonly json: unknown };
}

let docker: Place | undefined;

/** What the Docker plugin keeps. */
export const dockerStateTarget: Target<DockerStateCase> = {
  name: "docker-state",
  brief: "/var/lib/berth/docker",
  make(r) {
    const sort = r.pick(["networks", "endpoints", "grants"] as const);
    const json = mutateJson(r, dockerSamples[sort]);
    const name = r.once(10) ? hostileText(r) : { networks: "n1", endpoints: "e1", grants: "g1" }[sort];
    return {
      sort,
      name,
      thing: r.once(10) ? odd(r) : r.once(6) ? { text: mutateText(r, JSON.stringify(json) ?? "") } : { json },
    };
  },
  run({ sort, name, thing }) {
    const place = (docker ??= new Place("docker-state"));
    const directory = `/var/lib/berth/docker/${sort}`;
    rmSync("/var/lib/berth/docker", { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    const file = fileName(`${name}.json`);
    if (file === undefined) return;
    put(place, `${directory}/${file}`, "json" in thing ? { text: JSON.stringify(thing.json) ?? "" } : thing);
    const state = new State((failure) => {
      place.checkTold(failure.message);
      if (failure.reason === "internal") throw failure;
    });
    state.isReserved("docker-10.1.0.0-24 10.1.0.7");
    for (const store of [state.networks, state.endpoints, state.grants])
      for (const { id } of store.values()) store.delete(id);
    place.check();
  },
};

const grant = { token: "t", expires: 4e12, projectId: "p", endpoint: "https://cloud:9696/v2.0", extensions: ["trunk"] };

interface CacheCase {
  readonly token: Thing | { readonly json: unknown };
  readonly pairs: readonly Entry[];
}

let caches: Place | undefined;

/** Tokens and ledgers of a cloud. */
export const cacheTarget: Target<CacheCase> = {
  name: "cloud-state",
  brief: "/run/berth/tokens and /var/lib/berth/pairs",
  make(r) {
    const json = mutateJson(r, grant);
    return {
      token: r.once(6) ? odd(r) : r.once(4) ? { text: mutateText(r, JSON.stringify(json) ?? "") } : { json },
      pairs: Array.from({ length: r.int(4) }, () => ({
        name: r.once(2) ? hostileText(r) : "02:00:00:00:00:01_10.1.0.7",
        thing: odd(r),
      })),
    };
  },
  run({ token, pairs }) {
    const place = (caches ??= new Place("cloud-state"));
    rmSync("/run/berth/tokens", { recursive: true, force: true });
    rmSync("/var/lib/berth/pairs", { recursive: true, force: true });
    mkdirSync("/run/berth/tokens", { recursive: true });
    mkdirSync("/var/lib/berth/pairs/port", { recursive: true });
    const cache = new TokenCache({
      source: "",
      authUrl: "https://cloud/v3",
      proof: { method: "token", token: "x" },
      interface: "public",
      verify: true,
    });
    put(place, cache.path, "json" in token ? { text: JSON.stringify(token.json) ?? "" } : token);
    const read = cache.read();
    if (read !== undefined && typeof read.token !== "string") throw new Broken("a token that is no text");
    cache.write(grant);
    for (const { name, thing } of pairs) {
      const file = fileName(name);
      if (file === undefined) continue;
      try {
        put(place, `/var/lib/berth/pairs/port/${file}`, thing);
      } catch {
        // twice the same name
      }
    }
    const ledger = new PairLedger("port");
    try {
      for (const { users } of ledger.entries()) place.checkTold(users.join(" "));
      const pair = { mac: "02:00:00:00:00:01", ip: "10.1.0.7" };
      ledger.use(pair, "user");
      ledger.make(pair);
      ledger.leave(pair, "user");
      ledger.forget(pair);
    } finally {
      place.check();
    }
  },
};
