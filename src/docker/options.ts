// From the options of "docker network create -o" to a network's configuration.
import { formatCidr, networkOf as blockAt, parseCidr } from "../address/cidr.ts";
import type { NetworkConfig } from "../attachment/config.ts";
import { readConfig } from "../attachment/config-issues.ts";
import { hostAccessOf } from "../attachment/host-access.ts";
import { kindOf, subInterfaceOf } from "../attachment/sub-interface.ts";
import { Failure } from "../report/failure.ts";
import { cloudOptionNames, type CloudWish, cloudWishOf } from "./cloud.ts";
import type { Message } from "./messages.ts";

/** Where "-o" options stand among Docker's own labels (libnetwork netlabel/labels.go). */
const GENERIC = "com.docker.network.generic";
const INTERNAL = "com.docker.network.internal";

type Convert = (text: string, key: string) => unknown;

const asText: Convert = (text) => text;
const asNumber: Convert = (text, key) => {
  if (/^\d{1,9}$/u.test(text)) return Number(text);
  throw new Failure("config", `use ${JSON.stringify(text)} as the option ${key}: it is no whole number`);
};
const asList: Convert = (text) => text.split(",").map((part) => part.trim());
const asBoolean: Convert = (text, key) => {
  const word = text.toLowerCase();
  if (["true", "1", "yes"].includes(word)) return true;
  if (["false", "0", "no"].includes(word)) return false;
  throw new Failure("config", `use ${JSON.stringify(text)} as the option ${key}: it is neither true nor false`);
};
/** "auto", a link's name, or false. */
const asHostAccess: Convert = (text) =>
  text === "auto" || text === "true" ? "auto" : text === "false" || text === "" ? false : { link: text };

/** Each option, the configuration's key that it sets, and how. Docker's own macvlan and ipvlan drivers' names are known too. */
const known: Readonly<Record<string, { readonly key: string; readonly convert: Convert }>> = {
  parent: { key: "master", convert: asText },
  kind: { key: "kind", convert: asText },
  mode: { key: "mode", convert: asText },
  macvlan_mode: { key: "mode", convert: asText },
  ipvlan_mode: { key: "mode", convert: asText },
  ipvlan_flag: { key: "isolation", convert: asText },
  isolation: { key: "isolation", convert: asText },
  mtu: { key: "mtu", convert: asNumber },
  "com.docker.network.driver.mtu": { key: "mtu", convert: asNumber },
  vlan_id: { key: "vlanId", convert: asNumber },
  vlan_protocol: { key: "vlanProtocol", convert: asText },
  sources: { key: "sources", convert: asList },
  bcqueuelen: { key: "bcqueuelen", convert: asNumber },
  host_access: { key: "hostAccess", convert: asHostAccess },
  hostrouteif: { key: "hostrouteif", convert: asText },
  hostrouteip: { key: "hostrouteip", convert: asList },
};

/** Options that are the driver's, not the configuration's. */
const own = ["network", "default_route", "prefix"] as const;

/** The names of all options, for the reference and for error messages. */
const optionNames: readonly string[] = [...Object.keys(known), ...own, ...cloudOptionNames];

/** A network as it is kept. */
export interface DockerNetwork {
  /** Of this file's form. */
  readonly version: 1;
  readonly id: string;
  /** The name that its attachments have in `berth ls`. */
  readonly name: string;
  /** The configuration of its attachments as JSON, without `ipam`: each has its own addresses. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Without prefix length; absent where containers get no default route from it. */
  readonly gateway?: string;
  readonly gateway6?: string;
  /** What Docker's addresses are from. */
  readonly pools: readonly string[];
  /** Addresses that no container may have: gateways and auxiliary ones. */
  readonly reserved: readonly string[];
  /** First part of an interface's name in the container; Docker appends a number. */
  readonly prefix: string;
  /** The cloud's network that it is. */
  readonly cloud?: {
    readonly cloud?: string;
    /** Id. */
    readonly network: string;
    /** Ids of subnets, by their blocks. */
    readonly subnets: Readonly<Record<string, string>>;
  };
}

function addressOf(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : text.replace(/\/.*/u, "");
}

/** What the options of a request say of a cloud; undefined where they say nothing. Throws `Failure` (`config`, `decode`). */
export function wishOf(request: Message<"CreateNetwork">): CloudWish | undefined {
  return cloudWishOf(genericOf(request.Options));
}

/** Generic options as texts. Throws `Failure` (`config`) for one that is unknown. */
function genericOf(options: Message<"CreateNetwork">["Options"]): Map<string, string> {
  const generic = options?.[GENERIC] ?? {};
  if (typeof generic !== "object" || Array.isArray(generic))
    throw new Failure("decode", `read CreateNetwork: ${GENERIC} is no object`);
  const texts = new Map<string, string>();
  for (const [key, value] of Object.entries(generic)) {
    if (!optionNames.includes(key)) {
      throw new Failure("config", `use the option ${key}: there is no such option`, {
        advice: `The options are ${optionNames.join(", ")}.`,
      });
    }
    if (typeof value !== "string") throw new Failure("config", `use the option ${key}: its value is no text`);
    texts.set(key, value);
  }
  return texts;
}

/** The name that a network's attachments have: no CNI network can have it, whose garbage collection would take them. */
function nameOf(id: string, name: string | undefined): string {
  return `docker-${name ?? id.slice(0, 12)}`;
}

/** The block of a pool; where Docker was told of none, that of the gateway; undefined where there is none either. */
function blockOf({ Pool, Gateway }: { readonly Pool: string; readonly Gateway: string }): string | undefined {
  const cidr = parseCidr(Pool);
  if (cidr !== undefined && cidr.prefix > 0) return formatCidr(blockAt(cidr));
  const gateway = parseCidr(Gateway);
  return gateway === undefined || gateway.prefix === 0 ? undefined : formatCidr(blockAt(gateway));
}

/** What a request to create a network asks for. Throws `Failure` (`config`, `decode`) where it cannot work. */
export function networkOf(request: Message<"CreateNetwork">): DockerNetwork {
  const generic = genericOf(request.Options);
  const json: Record<string, unknown> = { kind: "macvlan" };
  for (const [option, text] of generic) {
    const entry = known[option];
    if (entry !== undefined) json[entry.key] = entry.convert(text, option);
  }
  const name = nameOf(request.NetworkID, generic.get("network"));
  // the main table is Docker's: it moves the default route from network to network, and gives a container no address that any
  // route there leads to
  const config = { ...json, cniVersion: "1.1.0", name, type: "berth", sourceRouting: "only" };
  checkConfig(readConfig(config));
  const prefix = generic.get("prefix") ?? "eth";
  if (!/^[a-zA-Z][a-zA-Z0-9_-]{0,10}$/u.test(prefix))
    throw new Failure("config", `use ${JSON.stringify(prefix)} as the option prefix: it begins no interface name`);
  const all = [...(request.IPv4Data ?? []), ...(request.IPv6Data ?? [])];
  const wantsRoute =
    request.Options?.[INTERNAL] !== true && asBoolean(generic.get("default_route") ?? "true", "default_route") === true;
  const gateway = wantsRoute ? addressOf(request.IPv4Data?.[0]?.Gateway) : undefined;
  const gateway6 = wantsRoute ? addressOf(request.IPv6Data?.[0]?.Gateway) : undefined;
  const reserved = all.flatMap((p) => [p.Gateway, ...Object.values(p.AuxAddresses ?? {})].map(addressOf));
  return {
    version: 1,
    id: request.NetworkID,
    name,
    config,
    pools: all.flatMap((p) => blockOf(p) ?? []),
    reserved: reserved.filter((ip) => ip !== undefined),
    prefix,
    ...(gateway === undefined ? {} : { gateway }),
    ...(gateway6 === undefined ? {} : { gateway6 }),
  };
}

function checkConfig(config: NetworkConfig): void {
  subInterfaceOf(config, kindOf(config, ""));
  hostAccessOf(config);
}
