// From a network's configuration to the sub-interface it asks for; what cannot go together is refused here.
import { parseMac } from "../address/mac.ts";
import type { CloudPort } from "../ipam/provider.ts";
import type { IpvlanMode, MacvlanMode, SubInterface } from "../kernel/link-kinds.ts";
import { Failure } from "../report/failure.ts";
import type { NetworkConfig } from "./config.ts";
import { type Kind, kinds, modes } from "./kinds.ts";

function refuse(sentence: string, advice?: string): never {
  throw new Failure("config", sentence, advice === undefined ? {} : { advice });
}

/**
 * The kind of a network's attachments: of the key `kind` where `type` is `berth`, else of the name Berth was called by,
 * else of `type`. Throws `Failure` (`config`) where none of them tells.
 */
export function kindOf(config: NetworkConfig, calledAs: string): Kind {
  const named = kinds.find((k) => k === calledAs) ?? kinds.find((k) => k === config.type);
  if (named === undefined) {
    return (
      config.kind ??
      refuse(
        `find the kind of network ${config.name}: type is "${config.type}" and kind is missing`,
        `Set "kind" to one of ${kinds.join(", ")}.`,
      )
    );
  }
  if (config.kind !== undefined && config.kind !== named) {
    refuse(
      `find the kind of network ${config.name}: type says ${named}, kind says ${config.kind}`,
      "Leave one of them out.",
    );
  }
  return named;
}

/**
 * The sub-interface that a configuration asks for. Throws `Failure` (`config`) naming the keys that do not fit.
 * @param port the cloud's, where addresses are one's: it says by which VLAN it is reached; before it is known any stands for it
 */
export function subInterfaceOf(config: NetworkConfig, kind: Kind, port?: CloudPort): SubInterface {
  const only = (key: keyof NetworkConfig, ...owners: Kind[]): void => {
    if (config[key] !== undefined && !owners.includes(kind)) {
      refuse(`use ${key} with kind ${kind}: it belongs to ${owners.join(" and ")}`, `Remove "${key}".`);
    }
  };
  only("vlanId", "vlan");
  only("vlanProtocol", "vlan");
  only("isolation", "ipvlan");
  only("sources", "macvlan", "macvtap");
  only("bcqueuelen", "macvlan", "macvtap");
  only("tap", "macvtap");
  const allowed: readonly string[] = modes[kind];
  if (config.mode !== undefined && !allowed.includes(config.mode)) {
    refuse(
      `use mode ${config.mode} with kind ${kind}`,
      allowed.length === 0
        ? `Kind ${kind} has no modes: remove "mode".`
        : `Kind ${kind} has the modes ${allowed.join(", ")}.`,
    );
  }
  switch (kind) {
    case "macvlan":
    case "macvtap": {
      const mode = (config.mode ?? "bridge") as MacvlanMode;
      if (config.sources !== undefined && mode !== "source") {
        refuse(
          `use sources with mode ${mode}: only mode source has a list of senders`,
          'Remove "sources" or set "mode" to "source".',
        );
      }
      const sources = config.sources?.map((s) => parseMac(s) ?? s);
      return {
        kind,
        mode,
        ...(sources === undefined ? {} : { sources }),
        ...(config.bcqueuelen === undefined ? {} : { broadcastQueueLength: config.bcqueuelen }),
      };
    }
    case "ipvlan":
      return {
        kind,
        mode: (config.mode ?? "l2") as IpvlanMode,
        ...(config.isolation === undefined ? {} : { isolation: config.isolation }),
      };
    case "vlan": {
      const id = port?.vlanId ?? config.vlanId ?? (config.ipam?.type === "neutron" ? 0 : undefined);
      if (id === undefined)
        return refuse("make a vlan: vlanId is missing", 'Set "vlanId" to the VLAN\'s number, 0 to 4094.');
      return {
        kind,
        id,
        ...(config.vlanProtocol === undefined ? {} : { protocol: config.vlanProtocol }),
      };
    }
  }
}

/**
 * Whether a sub-interface has a MAC of its own that can be chosen; ipvlan shares its parent's, and a passthru link's is
 * its parent's.
 */
export function choosesMac(detail: SubInterface): boolean {
  return detail.kind === "vlan" || ("kind" in detail && detail.kind !== "ipvlan" && detail.mode !== "passthru");
}
