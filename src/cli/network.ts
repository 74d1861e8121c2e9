import { buildCommand, buildRouteMap } from "@stricli/core";
import { networkKeys } from "../attachment/config.ts";
import { type ConfigIssue, describeIssue, parseConfig } from "../attachment/config-issues.ts";
import { hostAccessOf } from "../attachment/host-access.ts";
import { describeDevice } from "../attachment/device.ts";
import { describeParent } from "../attachment/parent.ts";
import { kindOf, subInterfaceOf } from "../attachment/sub-interface.ts";
import { providerFor } from "../ipam/provider-for.ts";
import { Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { isOurs, listNetworks, type NetworkFile, readNetworkFile } from "./networks.ts";
import { describeFailure, printJson, printTable, reporting } from "./output.ts";
import { nearest } from "./spelling.ts";

/** Keys that belong to CNI itself or to plugins that are chained with Berth or that Berth stands in for. */
const otherKeys = [
  "capabilities",
  "prevResult",
  "plugins",
  "cniVersions",
  "disableCheck",
  "disableGC",
  "loadOnlyInlinedPlugins",
  "cni.dev/valid-attachments",
  "ipMasq",
  "bridge",
  "isGateway",
  "isDefaultGateway",
  "forceAddress",
  "hairpinMode",
  "promiscMode",
  "vlan",
  "sysctl",
  "promisc",
  "allmulti",
  "dataDir",
  "snat",
  "conditionsV4",
  "conditionsV6",
  "markMasqBit",
  "externalSetMarkChain",
  "masqAll",
  "ingressRate",
  "ingressBurst",
  "egressRate",
  "egressBurst",
  "bandwidth",
  "portMappings",
  "backend",
  "ingressPolicy",
  "table",
  "delegates",
  "_comment",
  "comment",
  "//",
];

/** A key that no known plugin has. */
interface UnknownKey {
  readonly key: string;
  readonly meant: string | undefined;
}

interface Report {
  readonly file: string;
  readonly plugin: number | undefined;
  readonly issues: readonly (
    | ConfigIssue
    | { readonly path: ""; readonly value: undefined; readonly expected: string }
  )[];
  readonly unknown: readonly UnknownKey[];
  /** What does not fit together, though each key alone is right. */
  readonly conflicts: readonly string[];
}

function unknownKeys(json: Readonly<Record<string, unknown>>): UnknownKey[] {
  const known = new Set([...Object.keys(networkKeys), ...otherKeys]);
  return Object.keys(json)
    .filter((key) => !known.has(key))
    .map((key) => ({ key, meant: nearest(key, Object.keys(networkKeys)) }));
}

async function reportOn({ file, index, json }: NetworkFile): Promise<Report> {
  const result = parseConfig(json);
  const unknown = unknownKeys(json);
  if ("issues" in result) return { file, plugin: index, issues: result.issues, unknown, conflicts: [] };
  const conflicts: string[] = [];
  for (const test of [
    () => hostAccessOf(result.config),
    () => subInterfaceOf(result.config, kindOf(result.config, "")),
    () => providerFor(result.config.ipam, { ipRanges: [], delegate: { stdin: "", cniVersion: "", env: {} } }),
  ]) {
    try {
      await test();
    } catch (e) {
      if (!(e instanceof Failure)) throw e;
      conflicts.push(describeFailure(e));
    }
  }
  return { file, plugin: index, issues: [], unknown, conflicts };
}

function print(report: Report): void {
  const where = report.plugin === undefined ? report.file : `${report.file}: plugins[${report.plugin}]`;
  for (const issue of report.issues) console.log(`${where}: ${describeIssue(issue)}`);
  for (const conflict of report.conflicts) console.log(`${where}: ${conflict}`);
  for (const { key, meant } of report.unknown) {
    console.log(`${where}: ${key} is no key of a known plugin${meant === undefined ? "" : `; ${meant} may be meant`}`);
  }
  if (report.issues.length + report.conflicts.length + report.unknown.length === 0) console.log(`${where}: good`);
}

const check = buildCommand({
  docs: {
    brief: "check configuration files",
    fullDescription: "Names the file, the path, the value and what is allowed. Exit status 1 where a file cannot work.",
  },
  parameters: {
    flags: { json: flag.json },
    positional: {
      kind: "array",
      minimum: 1,
      parameter: { parse: flag.text, brief: "a CNI configuration or list", placeholder: "FILE" },
    },
  },
  async func(flags: { readonly json: boolean }, ...files: string[]) {
    await reporting(flags.json, async () => {
      const reports: Report[] = [];
      for (const file of files) {
        const own = readNetworkFile(file).filter((n) => isOurs(n.json));
        if (own.length === 0) {
          throw new Failure("config", `check ${file}: none of its plugins is Berth's`, {
            advice: 'The "type" of one must be berth, macvlan, macvtap, ipvlan, vlan, device or host-device.',
          });
        }
        for (const network of own) reports.push(await reportOn(network));
      }
      if (reports.some((r) => r.issues.length + r.conflicts.length > 0)) process.exitCode = 1;
      if (flags.json) printJson(reports);
      else for (const report of reports) print(report);
    });
  },
});

const ls = buildCommand({
  docs: { brief: "list the networks" },
  parameters: { flags: { confDir: flag.network.confDir, json: flag.json } },
  async func(flags: { readonly confDir: string; readonly json: boolean }) {
    await reporting(flags.json, async () => {
      const rows = listNetworks(flags.confDir, (f) => console.error(`berth: ${describeFailure(f)}`)).map((n) => {
        const parsed = parseConfig(n.json);
        const config = "config" in parsed ? parsed.config : undefined;
        return {
          name: n.name,
          kind: config === undefined ? "?" : kindOf(config, ""),
          parent: config === undefined ? "?" : (describeDevice(config) ?? describeParent(config.master)),
          ipam: config?.ipam?.type ?? "none",
          hostAccess: config === undefined ? "?" : (hostAccessOf(config)?.link ?? ""),
          file: n.file,
        };
      });
      if (flags.json) return printJson(rows);
      if (rows.length === 0) return console.log(`no network in ${flags.confDir} is Berth's`);
      printTable(
        ["NAME", "KIND", "PARENT", "IPAM", "HOST ACCESS", "FILE"],
        rows.map((r) => [r.name, r.kind, r.parent, r.ipam, r.hostAccess, r.file]),
      );
    });
  },
});

/** `berth network`. */
export const networkRoutes = buildRouteMap({
  docs: { brief: "list and check network configurations" },
  routes: { ls, check },
});
