import { readFileSync } from "node:fs";

/** This machine's identity (machine-id(5)); empty where it has none. */
export function machineId(): string {
  try {
    return readFileSync("/etc/machine-id", "utf8").trim();
  } catch {
    return "";
  }
}
