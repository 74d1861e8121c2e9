// What a cloud's refusals mean, and what to do about each.
import { isObject } from "../ipam/json.ts";
import { Failure, type Reason } from "../report/failure.ts";
import type { Answer } from "./http.ts";

/** A refusal of Neutron's: its type, as `OverQuota`, is the cause of the failure. */
export class Refusal extends Error {
  /** HTTP status. */
  readonly status: number;
  /** Neutron's name of the error; empty where the answer has none. */
  readonly type: string;

  constructor(status: number, type: string, message: string) {
    super(message);
    this.status = status;
    this.type = type;
  }
}

interface Meaning {
  readonly reason: Reason;
  readonly advice: string;
}

/** By Neutron's type of error (neutron-lib, exceptions). */
const meanings: Readonly<Record<string, Meaning>> = {
  OverQuota: {
    reason: "cloud",
    advice:
      "The project's quota is used up: delete ports that nobody needs (berth gc), or have the cloud's administrator raise it (openstack quota set --ports N).",
  },
  AllowedAddressPairExhausted: {
    reason: "cloud",
    advice:
      'The VM\'s port has as many address pairs as the cloud allows (max_allowed_address_pair, 10 where its administrator set nothing). Admit a block once for many ("kind": "ipvlan" with "addressPairs": {"cidr": …}), use a trunk ("kind": "vlan"), give the VM a further port for more, or have the limit raised.',
  },
  IpAddressAlreadyAllocated: {
    reason: "address",
    advice: "Another port has that address: ask for another, or for none.",
  },
  IpAddressInUse: { reason: "address", advice: "Another port has that address: ask for another, or for none." },
  IpAddressGenerationFailure: {
    reason: "address",
    advice: "The subnet has no free address: delete ports that nobody needs (berth gc), or name another subnet.",
  },
  MacAddressInUse: {
    reason: "exists",
    advice: "Another port of the network has that MAC: ask for another, or for none.",
  },
  InvalidIpForSubnet: { reason: "address", advice: "The address is not one of the subnet: ask for another." },
  InvalidIpForNetwork: {
    reason: "address",
    advice: "The address is in none of the network's subnets: ask for another.",
  },
  AddressPairAndPortSecurityRequired: {
    reason: "cloud",
    advice: "The VM's port has no port security: every address passes, and no pair is needed.",
  },
  PolicyNotAuthorized: {
    reason: "cloud",
    advice:
      "The cloud's policy does not let this user do that: give the user the role member in the VM's project, and look whether the network is the project's own.",
  },
  TrunkPortInUse: { reason: "exists", advice: "A trunk carries the port already: name another." },
  PortInUseAsSubPort: {
    reason: "exists",
    advice: "Take the port off its trunk first (openstack network trunk unset).",
  },
  PortInUse: { reason: "exists", advice: "Something has the port already: name another." },
  PortInUseAsTrunkParent: { reason: "exists", advice: "The port is a VM's own: name another." },
  SubPortMtuGreaterThanTrunkPortMtu: {
    reason: "config",
    advice:
      "The network's MTU is larger than that of the VM's network: have one of them changed (openstack network set --mtu).",
  },
  TrunkDisabled: { reason: "cloud", advice: "The trunk is switched off: openstack network trunk set --enable TRUNK." },
  TrunkInErrorState: { reason: "cloud", advice: "Ask the cloud's administrator: the trunk's status is ERROR." },
  NetworkNotFound: { reason: "config", advice: 'Look at "network": openstack network list.' },
  SubnetNotFound: { reason: "config", advice: 'Look at "subnets": openstack subnet list.' },
  PortNotFound: { reason: "config", advice: 'Look at "port" and "vmPort": openstack port list.' },
  SecurityGroupNotFound: { reason: "config", advice: 'Look at "securityGroups": openstack security group list.' },
};

const again =
  "The cloud has trouble of its own: try again, and tell its administrator the request's id where it goes on.";

function meaningOf(status: number, type: string): Meaning {
  const known = Object.hasOwn(meanings, type) ? meanings[type] : undefined;
  if (known !== undefined) return known;
  if (status === 401) return { reason: "config", advice: "The token was refused: look at the credentials." };
  if (status === 403) return meanings["PolicyNotAuthorized"] ?? { reason: "cloud", advice: again };
  if (status === 404) return { reason: "config", advice: "It is not there, or not this project's." };
  if (status >= 500 || status === 429) return { reason: "busy", advice: again };
  return { reason: "cloud", advice: "The cloud refused the request as such: its sentence says why." };
}

/** Type and sentence of an answer: Neutron's `NeutronError`, Keystone's `error`, or what a proxy said. */
function contentOf({ json, status }: Answer): { type: string; message: string } {
  const body = isObject(json) ? (json["NeutronError"] ?? json["error"] ?? json) : undefined;
  if (typeof body === "string") return { type: "", message: body };
  const { type, message, title } = isObject(body) ? body : {};
  const text = typeof message === "string" ? message : typeof title === "string" ? title : `HTTP ${status}`;
  return { type: typeof type === "string" ? type : "", message: text };
}

/** The failure that an answer other than 2xx is. */
export function failureOf(doing: string, answer: Answer): Failure {
  const { type, message } = contentOf(answer);
  const { reason, advice } = meaningOf(answer.status, type);
  const kind = type === "" ? `HTTP ${answer.status}` : `${type}, HTTP ${answer.status}`;
  const id = answer.requestId === undefined ? "" : `, ${answer.requestId}`;
  return new Failure(reason, `${doing}: ${message.trim().replace(/\.$/u, "")} (${kind}${id})`, {
    advice,
    cause: new Refusal(answer.status, type, message),
  });
}

/** True for a failure that is a refusal of one of these types or statuses. */
export function isRefusal(thrown: unknown, ...which: readonly (string | number)[]): thrown is Failure {
  if (!(thrown instanceof Failure) || !(thrown.cause instanceof Refusal)) return false;
  const { status, type } = thrown.cause;
  return which.includes(status) || which.includes(type);
}
