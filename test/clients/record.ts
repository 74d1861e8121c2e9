// npm run test:clients -- --record: writes down what each caller really sends, as fixtures for test/cni/recorded.test.ts.
// Run by itself (`record.ts PLUGIN`) this file is the plugin that a caller calls: it passes the call on, and notes it.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

const NOTES = "/run/recorded";
const REAL = "/opt/cni/berth";
const wanted = process.env["CLIENT_RECORD"];

/** A call and its answer. */
export interface RecordedCall {
  /** The name that the plugin was called by. */
  readonly plugin: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Readonly<Record<string, unknown>>;
  readonly exitCode: number;
  /** Absent where nothing was answered. */
  readonly answer?: Readonly<Record<string, unknown>>;
}

/** Puts the recorder in Berth's place, where recording was asked for. */
export function installRecorder(directory: string): void {
  if (wanted === undefined) return;
  for (const path of [NOTES, REAL]) mkdirSync(path, { recursive: true });
  renameSync(`${directory}/macvlan`, `${REAL}/macvlan`);
  // a page's `berth install` asks it what it is
  const script = `#!/bin/sh\n[ "$1" = version ] && exec ${REAL}/macvlan version\nexec ${process.execPath} ${import.meta.path} macvlan\n`;
  writeFileSync(`${directory}/macvlan`, script, { mode: 0o755 });
}

/** Keeps the calls since the last time as a fixture, where they were recorded; one kind is enough. */
export function keepCalls(name: string, kind: string): void {
  if (wanted === undefined) return;
  const files = readdirSync(NOTES).toSorted();
  const calls = files.map((f) => JSON.parse(readFileSync(`${NOTES}/${f}`, "utf8")) as RecordedCall);
  for (const f of files) rmSync(`${NOTES}/${f}`);
  if (kind === "macvlan" && calls.length > 0)
    writeFileSync(`${wanted}/${name}.json`, `${JSON.stringify(calls, null, 1)}\n`);
}

async function passOn(plugin: string): Promise<number> {
  const stdin = readFileSync(0, "utf8");
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith("CNI_")));
  const at = `${NOTES}/${Date.now()}-${process.pid}`; // a caller starts the next when this one has answered
  const p = Bun.spawn([`${REAL}/${plugin}`], { stdin: Buffer.from(stdin), stdout: "pipe", stderr: "inherit" });
  const [text, exitCode] = await Promise.all([p.stdout.text(), p.exited]);
  const answer = text === "" ? {} : { answer: JSON.parse(text) as RecordedCall["answer"] };
  const call = {
    plugin,
    env,
    stdin: JSON.parse(stdin === "" ? "{}" : stdin) as RecordedCall["stdin"],
    exitCode,
    ...answer,
  };
  if (existsSync(NOTES)) writeFileSync(at, JSON.stringify(call));
  if (text !== "") await Bun.write(Bun.stdout, text);
  return exitCode;
}

if (import.meta.main) process.exitCode = await passOn(process.argv[2] ?? "macvlan");
