import { buildCommand, buildRouteMap } from "@stricli/core";
import type { NeutronConfig } from "../openstack/neutron-config.ts";
import { Failure } from "../report/failure.ts";
import * as flag from "./flags.ts";
import { findNetwork, listNetworks, type NetworkFlags } from "./networks.ts";
import { printJson, printTable, reporting } from "./output.ts";

interface Flags extends NetworkFlags {
  readonly json: boolean;
  readonly cloud?: string;
}

function isNeutron(ipam: unknown): ipam is NeutronConfig {
  return typeof ipam === "object" && ipam !== null && "type" in ipam && ipam.type === "neutron";
}

/** The cloud that flags name; else of the one network that has one; else as OpenStack clients find it. */
function neutronOf(flags: Flags): NeutronConfig {
  if (flags.cloud !== undefined) return { type: "neutron", cloud: flags.cloud };
  if (flags.network === undefined && flags.config === undefined) {
    const configured = listNetworks(flags.confDir, () => {}).map((n) => n.json["ipam"]);
    return configured.find(isNeutron) ?? { type: "neutron" };
  }
  const { config } = findNetwork(flags);
  if (isNeutron(config.ipam)) return config.ipam;
  throw new Failure("request", `look at the cloud of network ${config.name}: its ipam is not of type neutron`, {
    advice: "Name a network that is, or a cloud with --cloud.",
  });
}

const showCommand = buildCommand({
  docs: {
    brief: "what the cloud says of this VM: its ports, who may pass by them, how much room is left, what is wrong",
    fullDescription:
      "The cloud is the one of --cloud, of a network with ipam of type neutron, or the one that OpenStack clients would use.",
  },
  parameters: {
    flags: {
      ...flag.network,
      cloud: {
        kind: "parsed",
        parse: flag.text,
        brief: "a cloud of clouds.yaml",
        optional: true,
        placeholder: "NAME",
      },
      json: flag.json,
    },
  },
  async func(flags: Flags) {
    await reporting(flags.json, async () => {
      const config = neutronOf(flags);
      const [{ Session }, { findCredentials }, { overviewOf }] = await Promise.all([
        import("../openstack/session.ts"),
        import("../openstack/credentials.ts"),
        import("../openstack/overview.ts"),
      ]);
      const overview = await overviewOf(new Session(findCredentials(config)), config.vmPort);
      if (flags.json) {
        printJson(overview);
        return;
      }
      console.log(
        `cloud ${overview.cloud}${overview.portsLeft === undefined ? "" : `, ${overview.portsLeft} ports left`}`,
      );
      for (const port of overview.ports) {
        const security = port.portSecurity ? "" : ", no port security: every address passes";
        const room =
          port.pairsLeft === undefined ? "" : `, room for ${port.pairsLeft} more pairs where the cloud allows 10`;
        console.log(
          `\nport ${port.id} ${port.name}: ${port.ips.join(", ")} ${port.mac}, ${port.status}${security}${room}`,
        );
        if (port.pairs.length > 0)
          printTable(
            ["PAIR", "MAC", "OF"],
            port.pairs.map((p) => [p.ip, p.mac, p.owner]),
          );
        if (port.containers.length > 0) {
          printTable(
            ["CONTAINER", "INTERFACE", "ADDRESSES", "MAC", "VLAN", "PORT"],
            port.containers.map((c) => [
              `${c.network}/${c.containerId}`,
              c.ifName,
              c.ips.join(", "),
              c.mac,
              c.vlanId === undefined ? "" : String(c.vlanId),
              c.id,
            ]),
          );
        }
      }
      for (const problem of overview.problems) console.log(`\nproblem: ${problem}`);
      if (overview.problems.length > 0) process.exitCode = 1;
    });
  },
});

/** `berth openstack`. */
export const openstackRoutes = buildRouteMap({
  docs: { brief: "the OpenStack cloud that this machine is a VM of" },
  routes: { show: showCommand },
});
