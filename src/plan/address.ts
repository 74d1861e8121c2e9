import { formatCidr } from "../address/cidr.ts";
import { deleteAddress, listAddresses, newAddress } from "../kernel/addresses.ts";
import { Errno } from "../kernel/errno.ts";
import { RTPROT_BERTH } from "../kernel/protocol.ts";
import { findLink } from "../kernel/links.ts";
import { refused, tolerating } from "./pipeline.ts";
import { quote } from "./shell.ts";
import type { AddressStep } from "./step.ts";
import type { StepType } from "./step-type.ts";
import { Failure } from "../report/failure.ts";

/** The type of step `address`. */
export const address: StepType<AddressStep> = {
  apply(step, pipeline) {
    const index = pipeline.indexOrThrow(step.where, step.link);
    pipeline.send(step.where, newAddress(index, step.link, step.address, step.dad, step.metric), (error) =>
      error.errno === Errno.EACCES
        ? new Failure("kernel", `${error.message}: IPv6 is switched off on ${step.link}`, {
            advice:
              "The namespace has net.ipv6.conf.default.disable_ipv6=1; switch IPv6 on or use IPv4 addresses only.",
            cause: error,
          })
        : refused(error),
    );
  },

  undo(step, pipeline) {
    const index = pipeline.index(step.where, step.link);
    if (index === undefined) return;
    pipeline.send(
      step.where,
      deleteAddress(index, step.link, step.address),
      tolerating(Errno.EADDRNOTAVAIL, Errno.ENODEV),
    );
  },

  verify(step, places) {
    const nl = places.at(step.where)?.netlink;
    const index = nl === undefined ? undefined : findLink(nl, step.link)?.index;
    const wanted = formatCidr(step.address);
    const found =
      nl === undefined || index === undefined
        ? undefined
        : listAddresses(nl, index).find((a) => formatCidr(a.cidr) === wanted);
    if (found === undefined) return [`address ${wanted} on ${step.link}: is not there`];
    return found.duplicate ? [`address ${wanted} on ${step.link}: another machine has it`] : [];
  },

  explain(step, shell) {
    const dad = step.dad === undefined || step.dad === "link" ? "" : step.dad === "off" ? " nodad" : " optimistic";
    const metric = step.metric === undefined ? "" : ` metric ${step.metric}`;
    const brd = !step.address.ip.includes(":") && step.address.prefix < 31 ? " brd +" : "";
    const command = `${shell.ip(step.where)} address ${shell.marks ? "add" : "replace"} ${formatCidr(step.address)}${brd} dev ${quote(step.link)}${metric}${dad}`;
    return [shell.marks ? `${command} # and proto ${RTPROT_BERTH}, which ip knows from 6.4 on` : command];
  },

  explainUndo(step, shell) {
    return [`${shell.ip(step.where)} address delete ${formatCidr(step.address)} dev ${quote(step.link)}`];
  },
};
