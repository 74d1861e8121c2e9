// What a virtual machine takes along to another host: its place in the network, as a file.
import { networkKeys } from "../attachment/config.ts";
import type { Key } from "../attachment/key.ts";
import type { AttachmentRecord } from "../attachment/record.ts";
import type { Allocation } from "../ipam/provider.ts";
import { readFile } from "../kernel/files.ts";
import { Failure } from "../report/failure.ts";

const FORM = "berth virtual machine 1";

/** A virtual machine's place in the network. */
export interface VmState {
  readonly form: typeof FORM;
  readonly key: Key;
  readonly mac: string;
  readonly allocation: Allocation;
  /** The network's configuration, for a host that has none of that name. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** The state of a machine that is attached. Throws `Failure` (`request`) for a container's attachment. */
export function exportState({ key, guest, allocation, config }: AttachmentRecord): VmState {
  if (guest === undefined || allocation === undefined) {
    throw new Failure("request", `export ${key.containerId}: it is no virtual machine's attachment, or not finished`);
  }
  return { form: FORM, key, mac: guest.mac, allocation, config: JSON.parse(config) as Record<string, unknown> };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads a state that {@link exportState} made; `-` is standard input. Throws `Failure` (`io`, `decode`). */
export function readState(path: string): VmState {
  let text;
  try {
    text = readFile(path === "-" ? "/dev/stdin" : path);
  } catch (e) {
    throw new Failure("io", `read ${path}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
  const bad = (why: string): never => {
    throw new Failure("decode", `read ${path}: ${why}`, {
      advice: 'Make it with "berth vm export" on the other host.',
    });
  };
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch {
    return bad("it is no JSON");
  }
  if (!isObject(state) || state["form"] !== FORM) return bad(`it is no "${FORM}"`);
  const { key, allocation, config, mac } = state;
  const whole =
    isObject(key) &&
    [key["network"], key["containerId"], key["ifName"], mac].every((v) => typeof v === "string") &&
    isObject(allocation) &&
    Array.isArray(allocation["ips"]) &&
    isObject(config) &&
    Object.keys(networkKeys).some((k) => k in config);
  return whole ? (state as unknown as VmState) : bad("parts of it are missing");
}
