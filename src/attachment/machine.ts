import { readFile } from "../kernel/files.ts";

/** This machine's identity (machine-id(5)); empty where it has none. */
export function machineId(): string {
  try {
    return readFile("/etc/machine-id").trim();
  } catch {
    return "";
  }
}
