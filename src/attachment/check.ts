// Checking: whether what the record says still holds.
import { describeTapUsers } from "../kernel/taps.ts";
import { type Plan, verifyPlan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import { Failure } from "../report/failure.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import { addressesOf, ipamOf } from "./allocation.ts";
import type { NetworkConfig } from "./config.ts";
import { checkKey, describeKey, type Key } from "./key.ts";
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
 * Compares an attachment with the kernel and with IPAM. Throws `Failure`: `differs` naming every difference, `request`
 * where there is no such attachment, `namespace` where its namespace is gone.
 */
export async function check(request: CheckRequest): Promise<void> {
  checkKey(request.key);
  const record = readRecord(request.key);
  if (record === undefined) {
    throw new Failure("missing", `check ${describeKey(request.key)}: there is no such attachment`, {
      advice: '"berth ls" lists the attachments.',
    });
  }
  using places = Places.open(request.netns);
  const found = verifyPlan(record.plan, places);
  found.push(...takenAccessLinks(record.plan));
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
  await ipamOf(request.config, request.delegate).check(request.key, addressesOf(record.allocation));
}

/** Access links whose frames some program takes by their tap device. */
function takenAccessLinks(plan: Plan): string[] {
  const links = new Set(plan.flatMap((s) => (s.type === "route" && s.where === "host" ? [s.link] : [])));
  return [...links].flatMap((link) => {
    const taken = describeTapUsers(link);
    return taken === undefined ? [] : [`access link ${link}: ${taken}`];
  });
}
