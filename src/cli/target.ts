// From a command's flags to an attachment's namespace, key and call.
import { namedNamespacePath, processNamespacePath } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";

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
