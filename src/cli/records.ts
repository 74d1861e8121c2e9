// The records that a command's flags choose.
import { type AttachmentRecord, listRecords } from "../attachment/record.ts";
import { describeFailure } from "./output.ts";
import { findNetwork, type NetworkFlags } from "./networks.ts";
import { placeOf, type PlaceFlags } from "./target.ts";

/** All readable records; each unreadable one is reported on standard error, and makes the exit status 1. */
export function allRecords(): AttachmentRecord[] {
  return listRecords((failure) => {
    console.error(`berth: ${describeFailure(failure)}`);
    process.exitCode = 1;
  });
}

/** The records of the container that flags name, of one network where they name one; none where they name no container. */
export function chosenRecords(flags: NetworkFlags & PlaceFlags): AttachmentRecord[] {
  const { containerId } = placeOf(flags);
  if (containerId === undefined) return [];
  const network = flags.config === undefined ? flags.network : findNetwork(flags).config.name;
  return allRecords().filter(
    (r) =>
      r.key.containerId === containerId &&
      (network === undefined || (r.key.network === network && r.key.ifName === flags.ifname)),
  );
}
