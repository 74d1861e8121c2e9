// Whatever umask the caller has: nobody else writes what Berth makes, nor what a program makes that it starts.
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { HOST, TestWorld } from "../world.ts";

const main = `${import.meta.dir}/../../src/main.ts`;
const BIN = "/run/etc";
const STATE = ["/run/berth", "/var/lib/cni", "/var/lib/berth"];
/** By others than the owner. */
const WRITABLE = 0o022;

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.plug("lan", HOST, "eth1", "10.77.0.5/24");
  w.namespace("c");
  mkdirSync(BIN);
  const answer = '{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.100/24"}]}';
  writeFileSync(`${BIN}/ipam`, `#!/bin/sh\numask >${BIN}/umask\necho '${answer}'\n`, { mode: 0o755 });
});
beforeEach(() => {
  for (const path of STATE) rmSync(path, { recursive: true, force: true });
});
afterAll(() => w[Symbol.dispose]());

const config = { cniVersion: "1.1.0", name: "lan", type: "macvlan", master: "eth1" };
const hostLocal = { ...config, ipam: { type: "host-local", subnet: "10.77.0.0/24", rangeStart: "10.77.0.100" } };

/** Starts Berth by somebody whose files everybody may write. */
function berth(args: readonly string[], env: Record<string, string>, stdin: string): void {
  const r = Bun.spawnSync(["sh", "-c", 'umask 0; exec "$@"', "sh", process.execPath, main, ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdin: Buffer.from(stdin),
  });
  expect([r.exitCode, r.stderr.toString()]).toEqual([0, ""]);
}

function cni(verb: string, given: object): void {
  const env = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c",
    CNI_IFNAME: "eth0",
    CNI_PATH: BIN,
  };
  berth([], env, JSON.stringify(given));
}

/** What others could write. */
function writable(): string[] {
  return STATE.flatMap((directory) => {
    const below = readdirSync(directory, { recursive: true, encoding: "utf8" }).map((name) => `${directory}/${name}`);
    return [directory, ...below].filter((path) => (statSync(path).mode & WRITABLE) !== 0);
  });
}

test("a CNI call's files and directories", () => {
  mkdirSync("/var/lib/berth");
  cni("ADD", hostLocal);
  expect(readdirSync("/var/lib/cni/networks/lan")).toContain("10.77.0.100");
  expect(writable()).toEqual([]);
  cni("DEL", hostLocal);
});

test("a command's", () => {
  mkdirSync("/var/lib/berth");
  writeFileSync(`${BIN}/10-lan.conflist`, JSON.stringify({ cniVersion: "1.1.0", name: "lan", plugins: [hostLocal] }));
  berth(["attach", "--network", "lan", "--conf-dir", BIN, "--netns", "c", "--id", "c1"], {}, "");
  expect(writable()).toEqual([]);
  cni("DEL", hostLocal);
});

test("a delegated IPAM plugin's", () => {
  const delegated = { ...config, ipam: { type: "ipam" } };
  for (const verb of ["ADD", "DEL"]) {
    cni(verb, delegated);
    expect(readFileSync(`${BIN}/umask`, "utf8")).toBe("0022\n");
  }
});
