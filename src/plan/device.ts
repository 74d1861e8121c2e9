import { Errno, type SysError } from "../kernel/errno.ts";
import { changeLink, findLink, type Link, listLinks, moveLink, renameLink } from "../kernel/links.ts";
import { openNamespace } from "../kernel/namespaces.ts";
import type { Netlink } from "../kernel/netlink.ts";
import { LINK_GROUP_BERTH } from "../kernel/protocol.ts";
import { Failure } from "../report/failure.ts";
import { type Pipeline, refused, tolerating } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { DeviceStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/**
 * How long a NIC is waited for that the kernel brings back to the host by itself, because its namespace ended, milliseconds:
 * it takes the namespace apart some time after its end.
 */
const RETURN_MS = 3000;
const OWN_NAMESPACE = "/proc/thread-self/ns/net";

/** The NIC among a namespace's links: it carries the marks, whatever its name is. */
function marked(nl: Netlink, step: DeviceStep): Link | undefined {
  return listLinks(nl).find((l) => l.group === LINK_GROUP_BERTH && l.alias === step.alias);
}

/** The name that it has on its way: nobody else's, so that neither namespace can refuse it. */
function passingName(step: DeviceStep): string {
  return `berth${Bun.hash.xxHash32(step.alias).toString(16)}`;
}

/** The NIC on the host: by its former name, or marked, where it came back by itself. */
function onHost(nl: Netlink, step: DeviceStep): Link | undefined {
  return marked(nl, step) ?? findLink(nl, step.former.name);
}

function moveRefused(step: DeviceStep, error: SysError): Failure {
  if (error.errno !== Errno.EINVAL) return refused(error);
  return new Failure("kernel", error.message, {
    advice: `${step.former.name} cannot leave its namespace (as a bridge, or a tunnel that the kernel made itself, cannot): name a NIC.`,
    cause: error,
  });
}

/** What the configuration asks for beside the move: nothing, mostly. */
function changesOf({ mtu, mac }: DeviceStep): { mtu?: number; mac?: string } {
  return { ...(mtu === undefined ? {} : { mtu }), ...(mac === undefined ? {} : { mac }) };
}

/** Moves the NIC. Its marks go with it by the same message, so that it is known from then on wherever a failure leaves it. */
function move(step: DeviceStep, pipeline: Pipeline): void {
  const from = pipeline.settled("host");
  const to = pipeline.settled("container");
  const fd = pipeline.places.container?.fd;
  if (from === undefined || to === undefined || fd === undefined) return;
  if (findLink(to, step.name) !== undefined) {
    throw new Failure(
      "exists",
      `move ${step.former.name} into the namespace as ${step.name}: a link of that name is there`,
      {
        advice: "Remove it, or choose another interface name.",
      },
    );
  }
  const link = onHost(from, step);
  if (link === undefined) {
    throw new Failure("kernel", `move ${step.former.name} into the namespace: there is no such link on the host`);
  }
  const marks = { name: passingName(step), group: LINK_GROUP_BERTH, alias: step.alias };
  pipeline.send("host", moveLink(link.index, link.name, fd, marks), (error) => moveRefused(step, error));
  pipeline.flush();
  const moved = findLink(to, passingName(step));
  if (moved === undefined) return; // the failure is known
  pipeline.send("container", renameLink(moved.index, moved.name, step.name));
  pipeline.send("container", changeLink(step.name, changesOf(step)));
}

/** Takes the NIC out of the namespace, still marked and under its passing name. */
function takeOut(step: DeviceStep, pipeline: Pipeline): void {
  const nl = pipeline.settled("container");
  const link = nl === undefined ? undefined : marked(nl, step);
  if (link === undefined) return;
  using home = openNamespace(OWN_NAMESPACE);
  const request = moveLink(link.index, link.name, home.fd, { name: passingName(step) });
  pipeline.send("container", request, tolerating(Errno.ENODEV));
  pipeline.flush();
}

/** The NIC on the host after it left the namespace; a physical one comes by itself where that has ended. */
function returned(step: DeviceStep, pipeline: Pipeline, nl: Netlink): Link | undefined {
  const end = performance.now() + (step.former.physical && pipeline.places.container === undefined ? RETURN_MS : 0);
  for (;;) {
    const link = marked(nl, step);
    if (link !== undefined || performance.now() >= end) return link;
    Bun.sleepSync(20);
  }
}

/** The type of step `device`. */
export const device: StepType<DeviceStep> = {
  apply: move,

  mend(step, pipeline) {
    const nl = pipeline.settled("container");
    if (nl === undefined) return;
    const link = marked(nl, step);
    if (link?.name === step.name)
      pipeline.send("container", changeLink(step.name, { mtu: step.former.mtu, ...changesOf(step) }));
    else if (link === undefined) move(step, pipeline);
  },

  undo(step, pipeline) {
    takeOut(step, pipeline);
    const nl = pipeline.settled("host");
    const link = nl === undefined ? undefined : returned(step, pipeline, nl);
    if (link === undefined) return; // a virtual one ends with its namespace
    const { name, mtu, mac, up, group, alias } = step.former;
    // a link that is up keeps its name
    if (link.up) pipeline.send("host", changeLink(link.name, { up: false }));
    if (link.name !== name) {
      pipeline.send("host", renameLink(link.index, link.name, name), (error) => unnamed(step, link, error));
      pipeline.flush();
      if (findLink(nl ?? pipeline.places.host.netlink, name)?.index !== link.index) return;
    }
    const change = { mtu, group, alias, ...(mac === undefined || mac === link.mac ? {} : { mac }) };
    pipeline.send("host", changeLink(name, { ...change, ...(up ? { up } : {}) }), tolerating(Errno.ENODEV));
  },

  verify(step, places) {
    const nl = places.container?.netlink;
    const link = nl === undefined ? undefined : marked(nl, step);
    if (link === undefined) {
      const back = onHost(places.host.netlink, step);
      return [`NIC ${step.name}: is not there${back === undefined ? "" : `, but on the host as ${back.name}`}`];
    }
    const found: string[] = [];
    const expect = (what: string, planned: string | number | undefined, actual: string | number | undefined): void => {
      if (planned !== actual) found.push(`NIC ${step.name}: ${what} is ${actual ?? "unknown"}, planned was ${planned}`);
    };
    expect("name", step.name, link.name);
    expect("MAC", step.mac ?? step.former.mac, link.mac);
    expect("MTU", step.mtu ?? step.former.mtu, link.mtu);
    return found;
  },

  explain(step, shell) {
    const { former, name, mtu, mac } = step;
    const words = [mtu === undefined ? "" : ` mtu ${mtu}`, mac === undefined ? "" : ` address ${mac}`].join("");
    return [
      `ip link set dev ${quote(former.name)} netns ${shell.netns} name ${quote(name)} group ${LINK_GROUP_BERTH} alias ${quote(step.alias)}`,
      ...(words === "" ? [] : [`${shell.ip("container")} link set dev ${quote(name)}${words}`]),
    ];
  },

  explainUndo({ former, name }, shell) {
    const { mtu, mac, up, group, alias } = former;
    const address = mac === undefined ? "" : ` address ${mac}`;
    return [
      `${shell.ip("container")} link set dev ${quote(name)} netns /proc/$$/ns/net name ${quote(former.name)} group ${group} alias ${alias === "" ? "''" : quote(alias)}`,
      `ip link set dev ${quote(former.name)} mtu ${mtu}${address}${up ? " up" : ""}`,
    ];
  },
};

/** The NIC is on the host, but not under its name. */
function unnamed(step: DeviceStep, link: Link, error: SysError): Failure {
  return new Failure("incomplete", `give the NIC ${link.name} back its name: ${error.message}`, {
    advice: `Another link has the name ${step.former.name} now: remove or rename that one, then detach again.`,
    cause: error,
  });
}
