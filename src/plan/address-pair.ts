import { Failure } from "../report/failure.ts";
import type { Cloud } from "./cloud.ts";
import type { Places } from "./places.ts";
import { quote } from "./shell.ts";
import type { AddressPairStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

function cloudOf(places: Places, { ip, port }: AddressPairStep): Cloud {
  if (places.cloud !== undefined) return places.cloud;
  throw new Failure("config", `admit ${ip} at the port ${port}: the configuration names no cloud`, {
    advice: 'Use ipam of type "neutron".',
  });
}

function explain(verb: string, { ip, mac, port }: AddressPairStep): string[] {
  return [`openstack port ${verb} --allowed-address ip-address=${ip},mac-address=${mac} ${quote(port)}`];
}

/** The type of step `address-pair`. */
export const addressPair: StepType<AddressPairStep> = {
  async apply(step, pipeline) {
    pipeline.acts(); // an answer that was lost is no refusal
    await cloudOf(pipeline.places, step).admit(step);
  },

  async undo(step, { places }) {
    await cloudOf(places, step).dismiss(step);
  },

  async verify(step, places) {
    if (await cloudOf(places, step).admits(step)) return [];
    return [`address pair ${step.ip} ${step.mac} of port ${step.port}: is not there`];
  },

  explain(step) {
    return explain("set", step);
  },

  explainUndo(step) {
    return explain("unset", step);
  },
};
