import { readFileIfThere } from "../kernel/files.ts";

/** This machine's identity (machine-id(5)); empty where it has none. Throws `SysError` where it cannot be read. */
export function machineId(): string {
  return readFileIfThere("/etc/machine-id")?.trim() ?? "";
}
