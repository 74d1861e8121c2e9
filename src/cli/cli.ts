// The command: its routes, and how stricli is connected to the terminal.
import { buildApplication, buildCommand, buildRouteMap, run } from "@stricli/core";
import { version } from "../report/version.ts";
import { attachCommand } from "./attach.ts";
import { checkCommand } from "./check.ts";
import { detachCommand } from "./detach.ts";
import { dockerCommand } from "./docker.ts";
import * as flag from "./flags.ts";
import { gcCommand } from "./gc.ts";
import { installCommand } from "./install.ts";
import { labRoutes } from "./lab.ts";
import { lsCommand } from "./ls.ts";
import { networkRoutes } from "./network.ts";
import { openstackRoutes } from "./openstack.ts";
import { repairCommand } from "./repair.ts";
import { printJson } from "./output.ts";
import { reportCommand } from "./report.ts";
import { downCommand, upCommand } from "./site.ts";
import { statusCommand } from "./status.ts";
import { vmRoutes } from "./vm.ts";

const versionCommand = buildCommand({
  docs: { brief: "print the version" },
  parameters: { flags: { json: flag.json } },
  func(flags: { readonly json: boolean }) {
    if (flags.json) printJson({ version, runtime: Bun.version });
    else console.log(`berth ${version}`);
  },
});

const application = buildApplication(
  buildRouteMap({
    docs: {
      brief: "a place of its own on the LAN for containers and virtual machines",
      fullDescription:
        "Berth attaches network namespaces to the LAN by macvlan, macvtap, ipvlan or VLAN sub-interfaces, reachable from their own host. Container runtimes call it as a CNI plugin; people call it as this command.",
    },
    routes: {
      attach: attachCommand,
      detach: detachCommand,
      up: upCommand,
      down: downCommand,
      ls: lsCommand,
      check: checkCommand,
      repair: repairCommand,
      gc: gcCommand,
      status: statusCommand,
      docker: dockerCommand,
      report: reportCommand,
      install: installCommand,
      network: networkRoutes,
      openstack: openstackRoutes,
      lab: labRoutes,
      vm: vmRoutes,
      version: versionCommand,
    },
  }),
  {
    name: "berth",
    versionInfo: { currentVersion: version },
    scanner: { caseStyle: "allow-kebab-for-camel", allowArgumentEscapeSequence: true },
    documentation: { disableAnsiColor: true },
  },
);

/** Runs the command line; sets the process's exit status. */
export async function cli(argv: readonly string[]): Promise<void> {
  const out = { write: (s: string): void => console.log(s.replace(/\n$/u, "")) };
  const err = { write: (s: string): void => console.error(s.replace(/\n$/u, "")) };
  const context = { process: { stdout: out, stderr: err, env: process.env, exitCode: null as number | string | null } };
  await run(application, argv.length === 0 ? ["--help"] : [...argv], context);
  // stricli's own codes are negative for wrong usage; a status that the command set itself wins
  const own = Number(context.process.exitCode ?? 0);
  process.exitCode = Number(process.exitCode ?? 0) || (own === 0 ? 0 : own < 0 ? 2 : own);
}
