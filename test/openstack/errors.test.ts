import { describe, expect, test } from "bun:test";
import { codeOf } from "../../src/cni/error.ts";
import { failureOf, isRefusal } from "../../src/openstack/errors.ts";

function answer(status: number, json: unknown, requestId?: string) {
  return { status, headers: new Headers(), json, requestId };
}

function neutron(status: number, type: string, message: string) {
  return answer(status, { NeutronError: { type, message, detail: "" } }, "req-1");
}

describe("what Neutron refuses", () => {
  // status, type, sentence as Neutron (Zed) writes it; CNI code; what the advice must hold
  const refusals: [number, string, string, number, RegExp][] = [
    [409, "OverQuota", "Quota exceeded for resources: ['port'].", 106, /quota set --ports/u],
    [
      400,
      "AllowedAddressPairExhausted",
      "The number of allowed address pair exceeds the maximum 10.",
      106,
      /max_allowed_address_pair.*ipvlan.*addressPairs.*trunk/su,
    ],
    [409, "IpAddressAlreadyAllocated", "IP address 192.168.0.7 already allocated in subnet S", 101, /another/u],
    [409, "IpAddressInUse", "Unable to complete operation for network N.", 101, /another/u],
    [409, "MacAddressInUse", "The mac address fa:16:3e:00:00:01 is in use.", 102, /MAC/u],
    [409, "IpAddressGenerationFailure", "No more IP addresses available on network N.", 101, /free address/u],
    [400, "InvalidIpForSubnet", "IP address 10.0.0.1 is not a valid IP for the specified subnet.", 101, /subnet/u],
    [400, "InvalidIpForNetwork", "IP address 10.0.0.1 is not a valid IP for any of the subnets.", 101, /subnets/u],
    [409, "AddressPairAndPortSecurityRequired", "Port Security must be enabled.", 106, /no pair is needed/u],
    [403, "PolicyNotAuthorized", "(rule:create_port) is disallowed by policy", 106, /role member/u],
    [404, "NetworkNotFound", "Network N could not be found.", 7, /network list/u],
    [404, "PortNotFound", "Port P could not be found.", 7, /port list/u],
    [404, "SecurityGroupNotFound", "Security group G does not exist", 7, /security group list/u],
    [409, "SubPortMtuGreaterThanTrunkPortMtu", "MTU 9000 is larger", 7, /MTU/u],
    [409, "TrunkPortInUse", "Port P is in use by another trunk.", 102, /another/u],
    [409, "SomethingNew", "It cannot be.", 106, /its sentence says why/u],
    [503, "ServiceUnavailable", "The service is unavailable", 11, /try again/u],
  ];
  test.each(refusals)("%d %s", (status, type, message, code, advice) => {
    const failure = failureOf("create a port", neutron(status, type, message));
    expect(failure.message).toBe(`create a port: ${message.replace(/\.$/u, "")} (${type}, HTTP ${status}, req-1)`);
    expect(codeOf(failure)).toBe(code);
    expect(failure.advice).toMatch(advice);
    expect(isRefusal(failure, type)).toBe(true);
    expect(isRefusal(failure, status)).toBe(true);
    expect(isRefusal(failure, "Another", 418)).toBe(false);
  });
});

describe("answers of another form", () => {
  const forms: [string, number, unknown, number, string][] = [
    [
      "of Keystone's middleware",
      401,
      { error: { code: 401, message: "Authentication required" } },
      7,
      "x: Authentication required (HTTP 401)",
    ],
    ["of a proxy, no JSON", 502, undefined, 11, "x: HTTP 502 (HTTP 502)"],
    ["too many requests", 429, { message: "slow down" }, 11, "x: slow down (HTTP 429)"],
    ["of webob", 404, { message: "Not here", code: "404", title: "Not Found" }, 7, "x: Not here (HTTP 404)"],
    ["a sentence", 400, { NeutronError: "Malformed" }, 106, "x: Malformed (HTTP 400)"],
    ["a list", 500, [1], 11, "x: HTTP 500 (HTTP 500)"],
    ["policy without a type", 403, {}, 106, "x: HTTP 403 (HTTP 403)"],
  ];
  test.each(forms)("%s", (_, status, json, code, message) => {
    const failure = failureOf("x", answer(status, json));
    expect([codeOf(failure), failure.message]).toEqual([code, message]);
    expect(failure.advice).not.toBeUndefined();
  });
});
