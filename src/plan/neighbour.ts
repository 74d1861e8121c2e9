import { Errno } from "../kernel/errno.ts";
import { findLink } from "../kernel/links.ts";
import { deleteNeighbour, findNeighbour, newNeighbour } from "../kernel/neighbours.ts";
import { RTPROT_BERTH } from "../kernel/protocol.ts";
import { Failure } from "../report/failure.ts";
import { type Pipeline, tolerating } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { NeighbourStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

/** On the host an entry may be somebody else's: a user's, or a living attachment's. One that is nobody's is replaced. */
function refuseForeign(step: NeighbourStep, index: number, pipeline: Pipeline): void {
  const present = findNeighbour(pipeline.places.host.netlink, step.ip, index);
  if (present?.permanent !== true) return;
  const doing = `add neighbour ${step.ip} dev ${step.link} lladdr ${step.mac}`;
  const there = `there is a permanent entry with ${present.mac ?? "no MAC"}`;
  if (present.protocol !== RTPROT_BERTH) {
    throw new Failure("exists", `${doing}: ${there} that is not Berth's`, {
      advice: `Remove it if it is not needed: ip neigh del ${step.ip} dev ${step.link}`,
    });
  }
  const owner = pipeline.ownerOf(step.ip);
  if (owner === undefined) return;
  throw new Failure("exists", `${doing}: ${there}, of the attachment ${owner}`, {
    advice: "Two networks give out the same address: let their ranges differ.",
  });
}

/** The type of step `neighbour`. */
export const neighbour: StepType<NeighbourStep> = {
  apply(step, pipeline) {
    const index = pipeline.indexOrThrow(step.where, step.link);
    if (step.where === "host") refuseForeign(step, index, pipeline);
    pipeline.send(step.where, newNeighbour(step.ip, step.mac, index, step.link));
  },

  undo(step, pipeline) {
    const index = pipeline.index(step.where, step.link);
    const nl = pipeline.places.at(step.where)?.netlink;
    if (index === undefined || nl === undefined) return; // entries go with their link
    if (findNeighbour(nl, step.ip, index)?.protocol !== RTPROT_BERTH) return;
    pipeline.send(
      step.where,
      deleteNeighbour(step.ip, index, step.link),
      tolerating(Errno.ENOENT, Errno.ENODEV, Errno.ENXIO),
    );
  },

  verify(step, places) {
    const nl = places.at(step.where)?.netlink;
    const index = nl === undefined ? undefined : findLink(nl, step.link)?.index;
    const found = nl === undefined || index === undefined ? undefined : findNeighbour(nl, step.ip, index);
    if (found === undefined) return [`neighbour ${step.ip} on ${step.link}: is not there`];
    if (found.mac !== step.mac)
      return [`neighbour ${step.ip} on ${step.link}: is ${found.mac ?? "unresolved"}, planned was ${step.mac}`];
    return found.permanent ? [] : [`neighbour ${step.ip} on ${step.link}: is not permanent`];
  },

  explain(step, shell) {
    return [
      `${shell.ip(step.where)} neigh replace ${step.ip} lladdr ${step.mac} dev ${quote(step.link)} nud permanent${shell.marks ? ` protocol ${RTPROT_BERTH}` : ""}`,
    ];
  },

  explainUndo(step, shell) {
    return [`${shell.ip(step.where)} neigh delete ${step.ip} dev ${quote(step.link)}`];
  },
};
