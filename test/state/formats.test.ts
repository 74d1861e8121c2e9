// State that a Berth of every version wrote, read by this one.
import { beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { VERSION } from "../../src/attachment/record-form.ts";
import { listRecords, readRecord } from "../../src/attachment/record.ts";
import { configOf } from "../../src/attachment/recorded-config.ts";
import { State, VERSION as DOCKER_VERSION } from "../../src/docker/state.ts";
import { HostLocal } from "../../src/ipam/host-local.ts";
import type { Holder } from "../../src/ipam/provider.ts";
import { PairLedger } from "../../src/openstack/pair-ledger.ts";
import { TokenCache } from "../../src/openstack/token-cache.ts";
import { explainUndo } from "../../src/plan/plan.ts";

const sampleOf = (name: string): string => readFileSync(`${import.meta.dir}/samples/${name}.json`, "utf8");
const upTo = (version: number): number[] => Array.from({ length: version }, (_, i) => i + 1);

beforeEach(() => {
  for (const path of ["/run/berth", "/var/lib/berth", "/var/lib/cni"]) rmSync(path, { recursive: true, force: true });
});

describe("records", () => {
  const directory = "/run/berth/attachments";
  const key = { network: "lan", containerId: "c1", ifName: "eth0" };

  for (const version of upTo(VERSION)) {
    for (const name of [`record-${version}`, `record-in-transit-${version}`]) {
      test(name, async () => {
        mkdirSync(directory, { recursive: true });
        writeFileSync(`${directory}/lan:c1:eth0.json`, sampleOf(name));
        const record = readRecord(key);
        if (record === undefined) throw new Error("it was not read");
        expect({ ...record, version }).toEqual(JSON.parse(sampleOf(name)) as typeof record);
        expect((await explainUndo(record.plan, record.netns)).length).toBeGreaterThan(0);
        expect(configOf(record)).toMatchObject({ name: "lan" });
      });
    }
  }

  test("a newer one is named and left alone, and its neighbours are read", () => {
    mkdirSync(directory, { recursive: true });
    const sample = sampleOf(`record-${VERSION}`);
    const newer = sample.replace(`"version": ${VERSION}`, `"version": ${VERSION + 1}`);
    writeFileSync(`${directory}/lan:c1:eth0.json`, sample);
    writeFileSync(`${directory}/lan:c1:eth1.json`, newer.replace('"ifName": "eth0"', '"ifName": "eth1"'));
    const failures: string[] = [];
    expect(listRecords((f) => failures.push(`${f.reason} ${f.message} ${f.advice}`))).toHaveLength(1);
    expect(failures).toEqual([expect.stringMatching(/^decode .*its version is \d+.*Use the Berth that wrote it/u)]);
    expect(readFileSync(`${directory}/lan:c1:eth1.json`, "utf8")).toContain(`"version": ${VERSION + 1}`);
  });
});

describe("what the Docker plugin keeps", () => {
  for (const version of upTo(DOCKER_VERSION)) {
    test(`version ${version}`, () => {
      for (const sort of ["networks", "endpoints", "grants"] as const) {
        const sample = sampleOf(`docker-${sort}-${version}`);
        const json = JSON.parse(sample) as { id: string };
        mkdirSync(`/var/lib/berth/docker/${sort}`, { recursive: true });
        writeFileSync(`/var/lib/berth/docker/${sort}/${json.id}.json`, sample);
        const state = new State((f) => expect.unreachable(f.message));
        expect(state[sort].get(json.id) as unknown).toEqual(json);
      }
    });
  }
});

test("a token, which has no version: what is not understood is asked for anew", () => {
  const cache = new TokenCache({
    source: "",
    authUrl: "https://cloud/v3",
    proof: { method: "token", token: "x" },
    interface: "public",
    verify: true,
  });
  mkdirSync("/run/berth/tokens", { recursive: true });
  writeFileSync(cache.path, sampleOf("token"), { mode: 0o600 });
  expect(cache.read()).toMatchObject({ token: "gAAAA", extensions: ["trunk"] });
  chmodSync(cache.path, 0o644);
  expect(cache.read()).toBeUndefined(); // others could have read it, or put it there
});

test("the ledger of pairs: directories and empty files, by their names", () => {
  const pair = "/var/lib/berth/pairs/vm-port/fa:16:3e:00:00:06_10.0.0.0-28";
  mkdirSync(pair, { recursive: true });
  for (const name of ["made", "user-port"]) writeFileSync(`${pair}/${name}`, "");
  expect(new PairLedger("vm-port").entries()).toEqual([
    { pair: { mac: "fa:16:3e:00:00:06", ip: "10.0.0.0/28" }, made: true, users: ["user-port"] },
  ]);
});

function holder(containerId: string): Holder {
  return { network: "lan", containerId, ifName: "eth0" };
}

test("reservations: the standard plugin's, old and new, and Berth's own of this boot and the last", async () => {
  const directory = "/var/lib/cni/networks/lan";
  mkdirSync(`${directory}/.berth/11111111-2222-3333-4444-555555555555`, { recursive: true });
  writeFileSync(`${directory}/10.1.0.2`, "old\n"); // before the interface stood there
  writeFileSync(`${directory}/10.1.0.3`, "new\r\neth0");
  writeFileSync(`${directory}/last_reserved_ip.0`, "10.1.0.3");
  writeFileSync(`${directory}/lock`, "");
  const provider = new HostLocal({ type: "host-local", subnet: "10.1.0.0/29" }, []);
  await provider.check(holder("new"), ["10.1.0.3"]);
  expect((await provider.allocate(holder("c1"), [])).ips).toEqual([{ address: "10.1.0.4/29", gateway: "10.1.0.1" }]);
  expect(existsSync(`${directory}/.berth/11111111-2222-3333-4444-555555555555`)).toBe(false);
  for (const id of ["old", "new", "c1"]) expect(await provider.release(holder(id))).toHaveLength(1);
});
