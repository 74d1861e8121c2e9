import { version } from "../report/version.ts";
import { cniVersions } from "./version.ts";

/** What a plugin says when it is started without CNI_COMMAND (CNI convention: to stdout, exit status 0). */
export function about(name: string): string {
  return `CNI ${name} plugin (Berth ${version})\nCNI protocol versions supported: ${cniVersions.join(", ")}`;
}
