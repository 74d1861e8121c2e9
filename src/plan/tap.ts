import { isDevicePermitted, permitDevice } from "../kernel/device-cgroups.ts";
import {
  makeNode,
  makePassableDirectory,
  type Node,
  type NodePlace,
  nodeAt,
  removeNode,
} from "../kernel/device-nodes.ts";
import { Errno, SysError } from "../kernel/errno.ts";
import { statusOf } from "../kernel/files.ts";
import { type Device, tapDevice, tapMajor } from "../kernel/taps.ts";
import { Failure } from "../report/failure.ts";
import { type Pipeline, refused } from "./pipeline.ts";
import type { Places } from "./places.ts";
import { TAPS } from "./taps-directory.ts";
import { quote } from "./shell.ts";
import type { TapStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

function placeOf({ path, process }: TapStep): NodePlace {
  return { root: process === undefined ? "/" : `/proc/${process}/root`, path };
}

/** A process's root directory goes with the process, and a node in it as far as anybody could still reach it. */
function isThere({ root }: NodePlace): boolean {
  return root === "/" || statusOf(root) !== undefined;
}

/** Whether a node at the step's place is what the step made, now or for a former link of the same attachment. */
function isOwn({ owner, ifMarked }: TapStep, node: Node): boolean {
  if (node.device.major !== tapMajor()) return false;
  if (ifMarked === true) return owner !== undefined && node.owner === owner;
  // without a mark, as an older Berth or a file system without attributes leave it, the place has to tell
  return owner === undefined || node.owner === undefined || node.owner === owner;
}

function deviceOf(step: TapStep, places: Places): Device | undefined {
  const place = places.container;
  return place === undefined ? undefined : tapDevice(step.tapOf, place.namespace);
}

/** Whether a node leads to the step's link; of a link that is gone, and of a marked node, the mark says enough. */
function isOfLink(node: Node, device: Device | undefined, { owner }: TapStep): boolean {
  return device === undefined || node.device.minor === device.minor || (owner !== undefined && node.owner === owner);
}

function nodeRefused(step: TapStep, e: unknown): Failure {
  if (!(e instanceof SysError)) throw e;
  const where = step.process === undefined ? "" : ` for process ${step.process}`;
  const doing = `make the device node ${step.path}${where} of ${step.tapOf}: ${e.message}`;
  const advice: Partial<Record<number, string>> = {
    [Errno.EEXIST]: "Something else has that name: remove it, or give another path (tap.path, --tap-path).",
    [Errno.ENOENT]: "Its directory is not there: make it, or give another path (tap.path, --tap-path).",
    [Errno.EPERM]:
      "Nobody makes device nodes in a user namespace: call Berth as root of the host. On a file system mounted with nodev they cannot be opened.",
    [Errno.ENOSYS]: "A container's /dev can be written to safely from Linux 5.6 on (openat2): give a path on the host.",
  };
  const known = advice[e.errno];
  return new Failure("kernel", doing, { ...(known === undefined ? {} : { advice: known }), cause: e });
}

function make(step: TapStep, pipeline: Pipeline, replacing: boolean): void {
  pipeline.flushOrThrow(); // the link must be there
  const device = deviceOf(step, pipeline.places);
  if (device === undefined) {
    throw new Failure("kernel", `find the device of ${step.tapOf}: /sys shows none`, {
      advice: "Only a macvtap has one; to look into another namespace's /sys takes CAP_SYS_ADMIN and Linux 5.2.",
    });
  }
  const place = placeOf(step);
  try {
    if (step.path.startsWith(`${TAPS}/`) && step.process === undefined) makePassableDirectory(TAPS);
    pipeline.acts();
    // one of a link that was there before
    if (replacing) removeNode(place, (there) => isOwn(step, there) && there.device.minor !== device.minor);
    makeNode(place, device, step, step.owner);
    if (step.process !== undefined) permitDevice(step.process, device, true);
  } catch (e) {
    throw nodeRefused(step, e);
  }
}

/** The type of step `tap`. */
export const tap: StepType<TapStep> = {
  apply(step, pipeline) {
    make(step, pipeline, step.path.startsWith(`${TAPS}/`));
  },

  mend(step, pipeline) {
    make(step, pipeline, true);
  },

  /** Where the link is gone its number is not known any more, and may be another link's by now: the node's mark tells. */
  undo(step, pipeline) {
    pipeline.flush();
    const device = deviceOf(step, pipeline.places);
    const place = placeOf(step);
    if (!isThere(place)) return;
    try {
      removeNode(place, (there) => isOwn(step, there) && isOfLink(there, device, step));
      if (device !== undefined && step.process !== undefined) permitDevice(step.process, device, false);
    } catch (e) {
      if (!(e instanceof SysError)) throw e;
      pipeline.fail(refused(e));
    }
  },

  verify(step, places) {
    const device = deviceOf(step, places);
    if (device === undefined) return [`device node ${step.path}: ${step.tapOf} has no device`];
    const place = placeOf(step);
    const node = isThere(place) ? nodeAt(place) : undefined;
    if (node === undefined) return [`device node ${step.path}: is not there`];
    const numbers = `${device.major}:${device.minor}`;
    if (node === "other") return [`device node ${step.path}: is no device node, planned was ${numbers}`];
    const found: string[] = [];
    const is = `${node.device.major}:${node.device.minor}`;
    if (is !== numbers) found.push(`device node ${step.path}: is ${is}, ${step.tapOf} has ${numbers}`);
    if (node.uid !== step.uid || node.gid !== step.gid) {
      found.push(`device node ${step.path}: its owner is ${node.uid}:${node.gid}, planned was ${step.uid}:${step.gid}`);
    }
    if (node.mode !== step.mode) {
      found.push(`device node ${step.path}: its mode is ${octal(node.mode)}, planned was ${octal(step.mode)}`);
    }
    if (step.process !== undefined && !isDevicePermitted(step.process, device)) {
      found.push(`device node ${step.path}: the control group of process ${step.process} may not open ${numbers}`);
    }
    return found;
  },

  explain(step, shell) {
    const link = quote(step.tapOf);
    const path = quote(`${placeOf(step).root === "/" ? "" : placeOf(step).root}${step.path}`);
    // /sys shows the namespace that it was mounted in, so it is mounted anew
    const read = `sh -c 'mount -t sysfs sysfs /sys && cat /sys/class/net/"$0"/tap*/dev' ${link}`;
    const within = shell.within("container");
    const numbers = within === "" ? `cat /sys/class/net/${link}/tap*/dev` : `unshare --mount ${within}${read}`;
    return [
      ...(step.path.startsWith(`${TAPS}/`) ? [`mkdir -p ${TAPS}`] : []),
      `mknod ${path} c $(${numbers} | tr : ' ')`,
      `chown ${step.uid}:${step.gid} ${path}`,
      `chmod ${octal(step.mode)} ${path}`,
    ];
  },

  explainUndo(step) {
    const { root } = placeOf(step);
    return [`rm ${quote(`${root === "/" ? "" : root}${step.path}`)}`];
  },
};

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}
