// Whether a network can take another attachment.
import type { DelegateCall } from "../ipam/delegated.ts";
import { strictChains } from "../kernel/firewall.ts";
import { supportsKind } from "../kernel/links.ts";
import { Netlink } from "../kernel/netlink.ts";
import { Failure, type FailureOptions } from "../report/failure.ts";
import { providersOf } from "./allocation.ts";
import type { NetworkConfig } from "./config.ts";
import { findSpare } from "./device.ts";
import type { Kind } from "./kinds.ts";
import { gatherHost } from "./gather-host.ts";
import { hostAccessOf } from "./host-access.ts";
import { deadParent } from "./obstacles.ts";
import { describeChain } from "./outside-obstacles.ts";
import { findParent } from "./parent.ts";
import { knownPassage, probePassage } from "./passage.ts";
import { subInterfaceOf } from "./sub-interface.ts";

/**
 * Whether a network can take another attachment: the parent is there and up, the kernel has the kind, IPAM has a free
 * address.
 * @param probe asks the parent's LAN whether frames to other MACs than the parent's come in; else what was seen before is said
 * @returns what may keep attachments from working all the same, a sentence each. Throws `Failure`: `limited` where existing attachments suffer too, `unavailable` otherwise.
 */
export async function status(
  config: NetworkConfig,
  kind: Kind,
  delegate: DelegateCall,
  probe = false,
): Promise<readonly string[]> {
  const detail = subInterfaceOf(config, kind);
  const remarks: string[] = [];
  using nl = new Netlink();
  if (detail.kind === "device") orUnavailable(config, () => findSpare(nl, config));
  else if (!supportsKind(nl, detail)) {
    throw new Failure("unavailable", `serve network ${config.name}: this kernel has no ${kind}`, {
      advice: `Load its module (modprobe ${kind === "vlan" ? "8021q" : kind}) or boot a kernel that has it.`,
    });
  }
  if (!config.linkInContainer && detail.kind !== "device") {
    const parent = orLimited(config, () => findParent(nl, config.master));
    const [dead] = deadParent(parent);
    if (dead !== undefined) throw new Failure("limited", `serve network ${config.name}: ${dead}`);
    remarks.push(...(probe ? probePassage(nl, config, detail, parent) : knownPassage(detail, parent)));
    const options = orLimited(config, () => hostAccessOf(config));
    if (options !== undefined) {
      const { link } = orLimited(config, () => gatherHost(nl, options, detail, parent));
      remarks.push(...strictChains().map((c) => describeChain(c, "the host's", link)));
    }
  }
  const { ipam } = await providersOf(config, delegate);
  await ipam.status(config.name);
  return remarks;
}

function withAdvice({ advice }: Failure): FailureOptions {
  return advice === undefined ? {} : { advice };
}

/** What fails here leaves existing attachments as they are: a NIC that one of them has is not there for another. */
function orUnavailable(config: NetworkConfig, f: () => void): void {
  try {
    f();
  } catch (e) {
    if (!(e instanceof Failure)) throw e;
    throw new Failure("unavailable", `serve network ${config.name}: ${e.message}`, withAdvice(e));
  }
}

/** What fails here fails for existing attachments too. */
function orLimited<T>(config: NetworkConfig, f: () => T): T {
  try {
    return f();
  } catch (e) {
    if (!(e instanceof Failure)) throw e;
    throw new Failure("limited", `serve network ${config.name}: ${e.message}`, withAdvice(e));
  }
}
