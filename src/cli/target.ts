// From a command's flags to an attachment's namespace, key and call.
import type { Key } from "../attachment/key.ts";
import type { DelegateCall } from "../ipam/delegated.ts";
import { namedNamespacePath, processNamespacePath } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";

/** Where delegated plugins are looked for when CNI_PATH does not say. */
const PLUGIN_DIRECTORIES = "/opt/cni/bin:/usr/libexec/cni:/usr/lib/cni";

/** Flags that name a namespace. */
export interface PlaceFlags {
  readonly netns?: string;
  readonly pid?: number;
  readonly ifname: string;
  readonly id?: string;
}

/** The namespace and the container id that flags name; undefined where they name no namespace. */
export function placeOf(flags: PlaceFlags): { netns: string | undefined; containerId: string | undefined } {
  const { netns, pid, id } = flags;
  if (netns !== undefined && pid !== undefined) {
    throw new Failure("request", "choose a namespace: both --netns and --pid are given", {
      advice: "Give one of them.",
    });
  }
  if (pid !== undefined) return { netns: processNamespacePath(pid), containerId: id ?? `pid-${pid}` };
  if (netns === undefined) return { netns: undefined, containerId: id };
  const path = netns.includes("/") ? netns : namedNamespacePath(netns);
  const last = netns.slice(netns.lastIndexOf("/") + 1);
  const derived = /^\/proc\/(\d+)\/ns\/net$/u.exec(path)?.[1];
  return { netns: path, containerId: id ?? (derived === undefined ? last : `pid-${derived}`) };
}

/** The call that a delegated IPAM plugin gets from a command. */
export function delegateFor(
  stdin: string,
  cniVersion: string,
  key: Key,
  netns: string | undefined,
  asked: { readonly ips?: readonly string[]; readonly mac?: string } = {},
): DelegateCall {
  const args = [
    ...(asked.ips === undefined || asked.ips.length === 0 ? [] : [`IP=${asked.ips.join(",")}`]),
    ...(asked.mac === undefined ? [] : [`MAC=${asked.mac}`]),
  ];
  return {
    stdin,
    cniVersion,
    env: {
      CNI_CONTAINERID: key.containerId,
      CNI_NETNS: netns ?? "",
      CNI_IFNAME: key.ifName,
      CNI_PATH: process.env["CNI_PATH"] ?? PLUGIN_DIRECTORIES,
      PATH: process.env["PATH"],
      ...(args.length === 0 ? {} : { CNI_ARGS: ["IgnoreUnknown=1", ...args].join(";") }),
    },
  };
}
