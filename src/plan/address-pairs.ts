import { Failure } from "../report/failure.ts";
import type { Cloud } from "./cloud.ts";
import type { Places } from "./places.ts";
import { quote } from "./shell.ts";
import type { AddressPairsStep } from "./step.ts";
import type { StepType } from "./step-type.ts";

function cloudOf(places: Places, { port }: AddressPairsStep): Cloud {
  if (places.cloud !== undefined) return places.cloud;
  throw new Failure("config", `change the address pairs of port ${port}: the configuration names no cloud`, {
    advice: 'Use ipam of type "neutron".',
  });
}

function explain(verb: string, { pairs, port }: AddressPairsStep): string[] {
  const options = pairs.map(({ ip, mac }) => `--allowed-address ${quote(`ip-address=${ip},mac-address=${mac}`)}`);
  return [`openstack port ${verb} ${options.join(" ")} ${quote(port)}`];
}

/** The type of step `address-pairs`. */
export const addressPairs: StepType<AddressPairsStep> = {
  async apply(step, pipeline) {
    pipeline.acts(); // an answer that was lost is no refusal
    await cloudOf(pipeline.places, step).admit(step);
  },

  async undo(step, { places }) {
    await cloudOf(places, step).dismiss(step);
  },

  async verify(step, places) {
    const lacking = await cloudOf(places, step).lacking(step);
    return lacking.map(({ ip, mac }) => `address pair ${ip} ${mac} of port ${step.port}: is not there`);
  },

  explain(step) {
    return explain("set", step);
  },

  explainUndo(step) {
    return explain("unset", step);
  },
};
