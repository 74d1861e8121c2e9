import { buildCommand, buildRouteMap } from "@stricli/core";
import * as flag from "./flags.ts";
import { reporting } from "./output.ts";

interface Flags {
  readonly json: boolean;
  readonly keep: boolean;
}

const routing = buildCommand({
  docs: {
    brief: "a host, two LANs, a router, a neighbour and a task: why they cannot talk, and how they can",
    fullDescription:
      "Builds all of it in a user namespace of its own, attaches the task, proves each direction with ICMP and TCP, and detaches. Needs no root. Exit status 0 only if every proof held.",
  },
  parameters: {
    flags: {
      json: flag.json,
      keep: {
        kind: "boolean",
        brief: "leave it standing, with a command to enter it",
        default: false,
        withNegated: false,
      },
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      const { runLab } = await import("../lab/lab.ts");
      process.exitCode = await runLab("routing", flags);
    });
  },
});

/** `berth lab`. */
export const labRoutes = buildRouteMap({
  docs: { brief: "see it work, in namespaces of its own" },
  routes: { routing },
  defaultCommand: "routing",
});
