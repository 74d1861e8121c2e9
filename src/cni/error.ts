// CNI's error object (spec 1.1.0, section 5 "Result Types", "Error").
import type { Failure, Reason } from "../report/failure.ts";

/**
 * CNI error codes: 1–99 are the spec's (8 is libcni's "invalid network namespace"), from 100 on Berth's own.
 *
 * | code | meaning |
 * |---|---|
 * | 1 | incompatible CNI version |
 * | 3 | container unknown or gone |
 * | 4 | invalid environment variable or option |
 * | 5 | I/O failure |
 * | 6 | failed to decode content |
 * | 7 | invalid network configuration |
 * | 8 | invalid network namespace |
 * | 11 | try again later |
 * | 50 | the plugin cannot serve ADD |
 * | 51 | the plugin cannot serve ADD, and existing containers suffer |
 * | 100 | the kernel refused |
 * | 101 | no free address, or the wanted one is taken |
 * | 102 | something of that name or address exists already |
 * | 103 | CHECK: what is there differs from what was planned |
 * | 104 | something could not be undone |
 * | 105 | a delegated plugin failed without a code of its own |
 * | 106 | the cloud refused |
 * | 199 | a defect in Berth |
 */
const codes: Readonly<Record<Reason, number>> = {
  version: 1,
  missing: 3,
  request: 4,
  io: 5,
  decode: 6,
  config: 7,
  namespace: 8,
  busy: 11,
  unavailable: 50,
  limited: 51,
  kernel: 100,
  address: 101,
  exists: 102,
  differs: 103,
  incomplete: 104,
  delegate: 105,
  cloud: 106,
  internal: 199,
};

/** The error object's JSON for a failure, in the caller's CNI version. */
export function errorJson(failure: Failure, cniVersion: string): string {
  return JSON.stringify({
    cniVersion,
    code: failure.code ?? codes[failure.reason],
    msg: failure.message,
    ...(failure.advice === undefined ? {} : { details: failure.advice }),
  });
}

/** The code of a failure. */
export function codeOf(failure: Failure): number {
  return failure.code ?? codes[failure.reason];
}
