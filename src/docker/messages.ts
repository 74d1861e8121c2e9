// The requests of libnetwork's two remote driver protocols, as far as they are read here
// (libnetwork drivers/remote/api/api.go and ipams/remote/api/api.go).
import * as v from "valibot";
import { parseCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";
import { Failure } from "../report/failure.ts";

/** Options are a label's name and whatever Docker says of it; null where there are none. */
const options = v.optional(v.nullable(v.record(v.string(), v.unknown())), null);
/** Docker's ids are 64 hexadecimal digits; here they are parts of file names. */
const id = v.pipe(v.string(), v.regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/u, "an id"));
const absentOr = (what: string, parse: (text: string) => unknown): v.GenericSchema<string | undefined, string> =>
  v.pipe(
    v.optional(v.string(), ""),
    v.check((text) => text === "" || parse(text) !== undefined, `empty, or ${what}`),
  );
const cidr = absentOr("an address with a prefix length", parseCidr);
const ip = absentOr("an IP address", parseIp);
const ipOrCidr = absentOr("an IP address", (text) => parseIp(text) ?? parseCidr(text));
const mac = absentOr("a MAC address", parseMac);

const pool = v.object({
  AddressSpace: v.optional(v.string(), ""),
  Pool: cidr,
  Gateway: ipOrCidr,
  AuxAddresses: v.optional(v.nullable(v.record(v.string(), v.string())), null),
});
const pools = v.optional(v.nullable(v.array(pool)), null);

const network = { NetworkID: id };
const endpoint = { ...network, EndpointID: id };

/** The requests that are read, by the last part of their path. */
export const requests = {
  CreateNetwork: v.object({ ...network, Options: options, IPv4Data: pools, IPv6Data: pools }),
  DeleteNetwork: v.object(network),
  CreateEndpoint: v.object({
    ...endpoint,
    Interface: v.optional(v.nullable(v.object({ Address: cidr, AddressIPv6: cidr, MacAddress: mac })), null),
    Options: options,
  }),
  DeleteEndpoint: v.object(endpoint),
  EndpointOperInfo: v.object(endpoint),
  Join: v.object({
    ...endpoint,
    SandboxKey: v.pipe(v.string(), v.regex(/^\/[^\0]+$/u, "an absolute path")),
    Options: options,
  }),
  Leave: v.object(endpoint),
  RequestPool: v.object({
    AddressSpace: v.optional(v.string(), ""),
    Pool: cidr,
    SubPool: cidr,
    Options: options,
    V6: v.optional(v.boolean(), false),
  }),
  ReleasePool: v.object({ PoolID: v.string() }),
  RequestAddress: v.object({ PoolID: v.string(), Address: ip, Options: options }),
  ReleaseAddress: v.object({ PoolID: v.string(), Address: ip }),
} as const;

/** A request that was read. */
export type Message<K extends keyof typeof requests> = v.InferOutput<(typeof requests)[K]>;

/** Reads a request's body. Throws `Failure` (`decode`) naming what is wrong with it. */
export function readMessage<K extends keyof typeof requests>(name: K, body: unknown): Message<K> {
  const result = v.safeParse(requests[name], body);
  if (result.success) return result.output;
  const said = result.issues.map((issue) => `${v.getDotPath(issue) ?? "the body"}: ${issue.message}`);
  throw new Failure("decode", `read ${name}: ${said.join("; ")}`);
}
