// Calls that real callers made (test/clients/recorded, written by `npm run test:clients -- --record`), made again: the same
// answers, and nothing is left.
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { collectOrphans } from "../../src/attachment/collect.ts";
import { listRecords } from "../../src/attachment/record.ts";
import type { RecordedCall } from "../clients/record.ts";
import { HOST, type Snapshot, TestWorld } from "../world.ts";
import { call } from "./call.ts";

const directory = `${import.meta.dir}/../clients/recorded`;
const files = readdirSync(directory);

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl(HOST, "net/ipv6/conf/default/accept_dad", "0");
  for (const lan of ["office", "tasks"]) w.lan(lan);
  w.plug("office", HOST, "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", HOST, "eth1");
  before = w.snapshot(HOST);
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
});
afterAll(() => w[Symbol.dispose]());

/** Namespaces that stand for those of a recording. */
class Replay {
  /** Recorded path to the name of the namespace here. */
  readonly #namespaces = new Map<string, string>();
  /** Container to the recorded path of the namespace that it was last seen with. */
  readonly #last = new Map<string, string>();
  #made = 0;

  /** What a recorded text is here: its namespaces, which are made where they are new. */
  translate(text: string): string {
    let translated = text;
    for (const [path, name] of this.#namespaces) translated = translated.replaceAll(path, `/run/netns/${name}`);
    return translated;
  }

  /** Prepares for a call: its namespace is there, or is gone where the caller says so by naming none. */
  prepare({ env }: RecordedCall): void {
    const id = env["CNI_CONTAINERID"] ?? "";
    const path = env["CNI_NETNS"] ?? "";
    if (path === "dummy") return;
    if (path === "") this.remove(this.#last.get(id) ?? "");
    else if (!this.#namespaces.has(path)) {
      const name = `replay${this.#made++}`;
      w.namespace(name);
      w.sysctl(name, "net/ipv6/conf/default/accept_dad", "0");
      this.#namespaces.set(path, name);
    }
    if (path !== "") this.#last.set(id, path);
  }

  remove(path: string): void {
    const name = this.#namespaces.get(path);
    if (name === undefined) return;
    w.removeNamespace(name);
    this.#namespaces.delete(path);
  }

  removeAll(): void {
    for (const path of this.#namespaces.keys()) this.remove(path);
  }
}

/** An answer without the MACs that were chosen for it. */
function withoutMacs(answer: RecordedCall["answer"], asked: string): unknown {
  return JSON.parse(
    JSON.stringify(answer ?? {}).replaceAll(/[\da-f]{2}(?::[\da-f]{2}){5}/gu, (mac) =>
      asked.includes(mac) ? mac : "mac",
    ),
  );
}

function readCalls(file: string): RecordedCall[] {
  return JSON.parse(readFileSync(`${directory}/${file}`, "utf8")) as RecordedCall[];
}

function without<T extends object>(all: T, key: string): T {
  return Object.fromEntries(Object.entries(all).filter(([k]) => k !== key)) as T;
}

/** Makes calls as they were recorded, and says of each what it was answered with. */
async function replay(
  calls: readonly RecordedCall[],
  then: (
    recorded: RecordedCall,
    answered: Awaited<ReturnType<typeof call>>,
    translate: (text: string) => string,
  ) => void,
): Promise<void> {
  const here = new Replay();
  try {
    for (const recorded of calls) {
      here.prepare(recorded);
      const translate = (text: string): string => here.translate(text);
      const env = Object.fromEntries(Object.entries(recorded.env).map(([name, value]) => [name, translate(value)]));
      const verb = recorded.env["CNI_COMMAND"] ?? "";
      then(recorded, await call(verb, translate(JSON.stringify(recorded.stdin)), env, recorded.plugin), translate);
    }
  } finally {
    here.removeAll();
  }
  await collectOrphans(); // ctr calls no DEL for what it left in the background
}

test("every caller is among the recordings", () => {
  for (const caller of ["podman", "containerd-cri", "containerd-ctr", "libcni"]) {
    expect(files.some((f) => f.startsWith(caller))).toBe(true);
  }
});

test.each(files)("%s: answered as it was, and nothing is left", async (file) => {
  const calls = readCalls(file);
  expect(calls.filter((c) => c.env["CNI_COMMAND"] === "ADD").length).toBeGreaterThan(0);
  await replay(calls, (recorded, answered, translate) => {
    const asked = JSON.stringify([recorded.env, recorded.stdin]);
    const expected = JSON.parse(translate(JSON.stringify(recorded.answer ?? {}))) as RecordedCall["answer"];
    expect({ exitCode: answered.exitCode, answer: withoutMacs(answered.json, asked) }).toEqual({
      exitCode: recorded.exitCode,
      answer: withoutMacs(expected, asked),
    });
  });
  expect(w.snapshot(HOST)).toEqual(before);
  expect(listRecords(() => {})).toEqual([]);
  const networks = "/var/lib/cni/networks";
  for (const network of readdirSync(networks)) {
    expect(readdirSync(`${networks}/${network}`).filter((f) => /^[\da-f.:]+$/u.test(f))).toEqual([]);
  }
});

test("no key and no variable that is missing from an ADD is a defect, and what was made is taken back", async () => {
  for (const file of files) {
    const add = readCalls(file).find((c) => c.env["CNI_COMMAND"] === "ADD" && c.exitCode === 0);
    if (add === undefined) continue;
    const poorer = [
      ...Object.keys(add.stdin).map((key) => ({ ...add, stdin: without(add.stdin, key) })),
      ...Object.keys(add.env).map((key) => ({ ...add, env: { ...without(add.env, key), CNI_COMMAND: "ADD" } })),
    ];
    for (const one of poorer) {
      const back = { ...add, stdin: one.stdin, env: { ...add.env, CNI_COMMAND: "DEL" } };
      await replay([one, back], (_, { json }) => {
        expect(json["code"]).not.toBe(199);
      });
    }
  }
  expect(w.snapshot(HOST)).toEqual(before);
  expect(listRecords(() => {})).toEqual([]);
});
