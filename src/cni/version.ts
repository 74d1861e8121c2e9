import { Failure } from "../report/failure.ts";

/** The CNI versions that are read and answered, oldest first. */
export const cniVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
/** A CNI version that is read and answered. */
export type CniVersion = (typeof cniVersions)[number];

/** The version of a configuration without `cniVersion`. */
const oldest: CniVersion = cniVersions[0];
/** The newest version that is answered. */
export const newest: CniVersion = "1.1.0";

/** True where a version is that one or newer. */
export function isAtLeast(version: CniVersion, least: CniVersion): boolean {
  return cniVersions.indexOf(version) >= cniVersions.indexOf(least);
}

/** A configuration's version; none means 0.1.0. Throws `Failure` (`version`) for one that is not supported. */
export function versionOf(value: unknown): CniVersion {
  if (value === undefined || value === "") return oldest;
  for (const known of cniVersions) if (known === value) return known;
  throw new Failure("version", `answer in CNI version ${JSON.stringify(value)}: it is not supported`, {
    advice: `Supported are ${cniVersions.join(", ")}.`,
  });
}

/** The answer to VERSION. */
export function versionJson(asked: CniVersion): string {
  return JSON.stringify({ cniVersion: asked, supportedVersions: cniVersions });
}
