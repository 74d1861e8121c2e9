// Checking: whether what the record says still holds.
import { findParent } from "./parent.ts";
import { supportsKind } from "../kernel/links.ts";
import { Netlink } from "../kernel/netlink.ts";
import { verifyPlan } from "../plan/plan.ts";
import { Places } from "../plan/places.ts";
import { Failure, type FailureOptions } from "../report/failure.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import { addressesOf, ipamOf } from "./attach.ts";
import { type Kind, type NetworkConfig } from "./config.ts";
import { checkKey, describeKey, type Key } from "./key.ts";
import { readRecord } from "./record.ts";
import { subInterfaceOf } from "./sub-interface.ts";

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

/**
 * Whether a network can take another attachment: the parent is there and up, the kernel has the kind, IPAM has a free
 * address. Throws `Failure`: `limited` where existing attachments suffer too, `unavailable` otherwise.
 */
export async function status(config: NetworkConfig, kind: Kind, delegate: DelegateCall): Promise<void> {
  const detail = subInterfaceOf(config, kind);
  using nl = new Netlink();
  if (!supportsKind(nl, detail)) {
    throw new Failure("unavailable", `serve network ${config.name}: this kernel has no ${kind}`, {
      advice: `Load its module (modprobe ${kind === "vlan" ? "8021q" : kind}) or boot a kernel that has it.`,
    });
  }
  if (!config.linkInContainer) {
    const parent = parentOrLimited(nl, config);
    if (!parent.up) {
      throw new Failure("limited", `serve network ${config.name}: its parent ${parent.name} is down`, {
        advice: `Set it up: ip link set dev ${parent.name} up`,
      });
    }
  }
  await ipamOf(config, delegate).status(config.name);
}

function withAdvice({ advice }: Failure): FailureOptions {
  return advice === undefined ? {} : { advice };
}

function parentOrLimited(nl: Netlink, config: NetworkConfig): ReturnType<typeof findParent> {
  try {
    return findParent(nl, config.master);
  } catch (e) {
    if (!(e instanceof Failure)) throw e;
    throw new Failure("limited", `serve network ${config.name}: ${e.message}`, withAdvice(e));
  }
}
