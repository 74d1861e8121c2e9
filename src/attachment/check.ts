// Checking: whether what the record says still holds.
import { findLink } from "../kernel/links.ts";
import { verifyPlan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import { Failure } from "../report/failure.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import { addressesOf, providersOf } from "./allocation.ts";
import type { NetworkConfig } from "./config.ts";
import { hostAccessOf } from "./host-access.ts";
import { checkKey, describeKey, type Key } from "./key.ts";
import { deadParent, familyGaps, strayRoutes } from "./obstacles.ts";
import { strictFirewalls, takenTaps } from "./outside-obstacles.ts";
import { readRecord } from "./record.ts";

/** What a face asks for. */
export interface CheckRequest {
  readonly key: Key;
  readonly netns: string;
  readonly config: NetworkConfig;
  /** Addresses that the caller believes the attachment to have (prevResult), as CIDRs. */
  readonly expectedIps: readonly string[];
  readonly delegate: DelegateCall;
}

/**
 * Compares an attachment with the kernel and with IPAM.
 * @returns what keeps it from working, or may, though all is as it was planned: a sentence each. Throws `Failure`: `differs` naming every difference, `request`
 * where there is no such attachment, `namespace` where its namespace is gone.
 */
export async function check(request: CheckRequest): Promise<readonly string[]> {
  checkKey(request.key);
  const record = readRecord(request.key);
  if (record === undefined) {
    throw new Failure("missing", `check ${describeKey(request.key)}: there is no such attachment`, {
      advice: '"berth ls" lists the attachments.',
    });
  }
  const { ipam, cloud } = await providersOf(request.config, request.delegate);
  using places = Places.open(request.netns, cloud);
  const found = await verifyPlan(record.plan, places);
  const attached = {
    ...record,
    places,
    allocation: record.allocation ?? { ips: [], routes: [], dns: {} },
    hostAccess: hostAccessOf(request.config) !== undefined && record.guest?.held !== true,
  };
  found.push(...takenTaps(attached), ...strayRoutes(attached));
  const addresses = record.allocation?.ips.map((lease) => lease.address) ?? [];
  for (const ip of request.expectedIps) {
    if (!addresses.includes(ip))
      found.push(`address ${ip} of prevResult: is not the attachment's (${addresses.join(", ")})`);
  }
  if (found.length > 0) {
    throw new Failure("differs", `check ${describeKey(request.key)}: ${found.join("; ")}`, {
      advice: "Detach it and attach it again.",
    });
  }
  await ipam.check(record.holder ?? request.key, addressesOf(record.allocation), record.allocation?.port);
  const parent = request.config.linkInContainer ? undefined : findLink(places.host.netlink, record.parent);
  return [...(parent === undefined ? [] : deadParent(parent)), ...familyGaps(attached), ...strictFirewalls(attached)];
}
