// A Docker network that is a cloud's: what it is made of, and what the cloud shall let in.
import * as v from "valibot";
import { parseCidr } from "../address/cidr.ts";
import type { ExposedPort } from "../openstack/security-groups.ts";
import { Failure } from "../report/failure.ts";
import { type CloudWish, gatewaysOf, subnetFor } from "./cloud.ts";
import type { Message } from "./messages.ts";
import type { DockerNetwork } from "./options.ts";

/** Which of several clouds, where it is said. */
export function cloudOf({ cloud }: { readonly cloud?: string }): { readonly cloud?: string } {
  return cloud === undefined ? {} : { cloud };
}

/** The failure of a network whose addresses another IPAM driver gives. */
export function notReserved(addresses: readonly string[]): Failure {
  return new Failure("config", `find the ports of ${addresses.join(", ")}: the addresses were not reserved by Berth`, {
    advice: "Create the network with --ipam-driver berth: its addresses are the cloud's.",
  });
}

/** A network of a cloud's: its gateways are those of its subnets. Throws `Failure`. */
export async function inCloud(
  network: DockerNetwork,
  wish: CloudWish,
  request: Message<"CreateNetwork">,
): Promise<DockerNetwork> {
  if (network.pools.length === 0) throw notReserved([]);
  const subnets = await Promise.all(
    network.pools.map(async (block) => await subnetFor(wish, parseCidr(block), block.includes(":"))),
  );
  const [first] = subnets;
  const other = subnets.find((s) => s.network_id !== first?.network_id);
  if (first === undefined || other !== undefined) {
    throw new Failure("config", `use the subnets ${network.pools.join(" and ")}: they are of different networks`, {
      advice: "Name the network: -o neutron.net.uuid=ID.",
    });
  }
  const aside = [...(request.IPv4Data ?? []), ...(request.IPv6Data ?? [])].flatMap((p) =>
    Object.values(p.AuxAddresses ?? {}),
  );
  const { gateway: _, gateway6: __, ...rest } = network;
  return {
    ...rest,
    ...(network.gateway === undefined && network.gateway6 === undefined ? {} : gatewaysOf(subnets)),
    reserved: aside.map((text) => text.replace(/\/.*/u, "")),
    cloud: {
      network: first.network_id,
      subnets: Object.fromEntries(network.pools.map((block, i) => [block, subnets[i]?.id ?? ""])),
      ...cloudOf(wish),
    },
  };
}

/** IANA's numbers of the protocols that Docker exposes ports of, as security groups name them. */
const protocols: Readonly<Record<number, string>> = { 6: "tcp", 17: "udp", 132: "sctp" };
const ExposedPorts = v.array(v.object({ Proto: v.number(), Port: v.number() }));

/** The ports of `--expose` and of the image (libnetwork netlabel/labels.go). Throws `Failure` (`decode`). */
export function exposedOf(options: Message<"CreateEndpoint">["Options"]): ExposedPort[] {
  const given = v.safeParse(ExposedPorts, options?.["com.docker.network.endpoint.exposedports"] ?? []);
  if (!given.success) throw new Failure("decode", "read CreateEndpoint: its exposed ports are none");
  return given.output.flatMap(({ Proto, Port }) => {
    const protocol = protocols[Proto];
    return protocol === undefined ? [] : [{ protocol, port: Port }];
  });
}
