// What berth gc finds without records: in the kernel, and among the reservations.
import {
  describeReservation,
  explainRelease,
  findStrayReservations,
  releaseStray,
  type StrayReservation,
} from "../attachment/stray-reservations.ts";
import { describeStep, explainRemoval, findStrays, removeStrays, type Strays } from "../attachment/strays.ts";
import { describeKey } from "../attachment/key.ts";
import { asFailure, type Failure } from "../report/failure.ts";
import { quote } from "../plan/shell.ts";
import { listNetworks } from "./networks.ts";

/** What was found. */
export interface Leftovers extends Strays {
  readonly reservations: readonly StrayReservation[];
  /** Where networks have device nodes made. */
  readonly tapPaths: readonly string[];
  /** What could not be judged. */
  readonly failures: readonly Failure[];
}

function dataDirsOf(confDir: string): string[] {
  return listNetworks(confDir, () => {}).flatMap(({ json }) => {
    const ipam = (json as { ipam?: { dataDir?: unknown } }).ipam;
    return typeof ipam?.dataDir === "string" && ipam.dataDir !== "" ? [ipam.dataDir] : [];
  });
}

/** Where networks have device nodes of macvtaps made. */
function tapPathsOf(confDir: string): string[] {
  return listNetworks(confDir, () => {}).flatMap(({ json }) => {
    const path = (json as { tap?: { path?: unknown } }).tap?.path;
    return typeof path === "string" && path.startsWith("/") ? [path] : [];
  });
}

/** Looks for leftovers. Throws `Failure`, `SysError`. */
export function findLeftovers(confDir: string, graceSeconds: number): Leftovers {
  const failures: Failure[] = [];
  const failed = (failure: Failure): void => void failures.push(failure);
  const tapPaths = tapPathsOf(confDir);
  const { strays, unrecorded } = findStrays(failed, tapPaths);
  const whole = failures.length === 0; // whoever cannot be looked at may need an address
  const search = { dataDirs: dataDirsOf(confDir), unrecorded, graceMs: graceSeconds * 1000, now: Date.now() };
  const reservations = whole ? findStrayReservations(search, failed) : [];
  return { strays, unrecorded, reservations, tapPaths, failures };
}

/** Each thing that would be removed, in words. */
export function describeLeftovers({ strays, reservations }: Pick<Leftovers, "strays" | "reservations">): string[] {
  return [
    ...strays.flatMap(({ netns, plan }) =>
      plan.map((step) => `${describeStep(step)} ${netns === "" ? "on the host" : `in ${netns}`}`),
    ),
    ...reservations.map(describeReservation),
  ];
}

/** The attachments that live without a record, in words, with what would detach them. */
export function describeUnrecorded({ unrecorded }: Pick<Leftovers, "unrecorded">): string[] {
  return unrecorded.map(({ key, netns, processes }) => {
    const who = `${processes.length === 1 ? "process" : "processes"} ${processes.slice(0, 5).join(", ")}`;
    const command = `berth detach --network ${quote(key.network)} --netns ${quote(netns)} --id ${quote(key.containerId)} --ifname ${quote(key.ifName)}`;
    return `without record: ${describeKey(key)} in ${netns}, in use by ${who}; "${command}" removes it`;
  });
}

/** The commands that would remove everything. */
export async function explainLeftovers({ strays, reservations }: Leftovers): Promise<string[]> {
  const removals: string[] = [];
  for (const stray of strays) removals.push(...(await explainRemoval(stray)));
  return [...removals, ...reservations.flatMap(explainRelease)];
}

/** Removes what was found. @returns each thing that was removed, in words, and what could not be */
export async function removeLeftovers(found: Leftovers): Promise<{ removed: string[]; failures: Failure[] }> {
  const failures: Failure[] = [];
  const strays =
    found.strays.length === 0 ? [] : await removeStrays((failure) => failures.push(failure), found.tapPaths);
  const reservations: StrayReservation[] = [];
  for (const reservation of found.reservations) {
    try {
      releaseStray(reservation);
      reservations.push(reservation);
    } catch (e) {
      failures.push(asFailure(e, `release the ${describeReservation(reservation)}`));
    }
  }
  return { removed: describeLeftovers({ strays, reservations }), failures };
}
