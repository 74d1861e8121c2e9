// From a network's configuration to the sub-interface it asks for; what cannot go together is refused here.
import { parseMac } from "../address/mac.ts";
import type { CloudPort } from "../ipam/provider.ts";
import type { IpvlanMode, MacvlanMode } from "../kernel/link-kinds.ts";
import { Failure } from "../report/failure.ts";
import type { NetworkConfig } from "./config.ts";
import { type Detail, HOST_DEVICE, isKind, type Kind, kinds, modes } from "./kinds.ts";

function refuse(sentence: string, advice?: string): never {
  throw new Failure("config", sentence, advice === undefined ? {} : { advice });
}

/** The kind that a plugin's name tells. */
function kindNamed(name: string): Kind | undefined {
  if (name === HOST_DEVICE) return "device";
  return isKind(name) ? name : undefined;
}

/** The keys by which a NIC is named: the standard host-device plugin's, of which one is given. */
const deviceKeys = ["device", "hwaddr", "kernelpath", "pciBusID"] as const;

/**
 * The kind of a network's attachments: of the key `kind` where `type` is `berth`, else of the name Berth was called by,
 * else of `type`. Throws `Failure` (`config`) where none of them tells.
 */
export function kindOf(config: NetworkConfig, calledAs: string): Kind {
  const named = kindNamed(calledAs) ?? kindNamed(config.type);
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
export function subInterfaceOf(config: NetworkConfig, kind: Kind, port?: CloudPort): Detail {
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
  for (const key of deviceKeys) only(key, "device");
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
    case "device":
      requireDevice(config);
      return { kind };
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
export function choosesMac(detail: Detail): boolean {
  if (detail.kind === "vlan" || detail.kind === "device") return true;
  return detail.kind !== "ipvlan" && detail.mode !== "passthru";
}

/** What a NIC that is moved can be asked for. */
function requireDevice(config: NetworkConfig): void {
  const given = deviceKeys.filter((key) => config[key] !== undefined);
  if (config.runtimeConfig?.deviceID !== undefined) given.push("pciBusID");
  if (given.length !== 1) {
    refuse(
      `move a NIC: ${given.length === 0 ? "none is named" : `${given.join(" and ")} name one each`}`,
      `Give one of ${deviceKeys.join(", ")}.`,
    );
  }
  if (config.master !== undefined) refuse("use master with kind device: it has no parent", 'Name the NIC as "device".');
  if (config.linkInContainer)
    refuse("use linkInContainer with kind device: the NIC is the host's", 'Remove "linkInContainer".');
  if (config.ipam?.type === "neutron") {
    refuse(
      "use ipam neutron with kind device: the NIC's port and addresses were the VM's from the start",
      'State them: "ipam": {"type": "static", …}.',
    );
  }
}
