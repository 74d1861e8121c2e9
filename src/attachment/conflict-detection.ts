// Conflict detection: whether another machine on the LAN has an address is asked before it is used.
import { listAddresses } from "../kernel/addresses.ts";
import type { Places } from "../plan/places.ts";
import { Failure } from "../report/failure.ts";
import type { NetworkConfig } from "./config.ts";
import type { Detail } from "./kinds.ts";
import type { HostFacts } from "./host-access.ts";

/** How the LAN is asked. */
export interface ConflictDetection {
  readonly probes: number;
  /** How long an answer to each probe is waited for, milliseconds. */
  readonly waitMs: number;
}

/**
 * RFC 5227 sends three probes a second or two apart, for machines that have all the time of a boot; a LAN answers within
 * a few milliseconds.
 */
const defaults: ConflictDetection = { probes: 3, waitMs: 200 };
/** Seconds. Longer than a switch or a machine that is rebooted is away. */
const QUARANTINE_S = 3600;

/** A configuration's conflict detection; undefined where it asks for none. Throws `Failure` (`config`). */
export function conflictDetectionOf(config: NetworkConfig, detail: Detail): ConflictDetection | undefined {
  const { conflictDetection: asked = false } = config;
  if (asked === false) return undefined;
  if (detail.kind === "ipvlan" && detail.mode !== "l2") {
    throw new Failure(
      "config",
      `detect address conflicts of an ipvlan in mode ${detail.mode}: it takes no part in ARP`,
      {
        advice: 'Remove "conflictDetection", or set "mode" to "l2".',
      },
    );
  }
  if (asked === true) return defaults;
  return { probes: asked.probes ?? defaults.probes, waitMs: asked.waitMs ?? defaults.waitMs };
}

/** For how long an address that another machine has is not tried again, seconds. */
export function quarantineOf({ conflictDetection: asked }: NetworkConfig): number {
  return (typeof asked === "object" ? asked.quarantineS : undefined) ?? QUARANTINE_S;
}

/** The host's addresses that an attachment must not get: those of host access; all where conflicts are to be detected. */
export function hostIps(
  places: Places,
  host: HostFacts | undefined,
  detection: ConflictDetection | undefined,
): readonly string[] {
  if (detection !== undefined) return listAddresses(places.host.netlink).map((a) => a.cidr.ip);
  return host === undefined ? [] : host.addresses.map((a) => a.ip);
}
