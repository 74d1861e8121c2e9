import { describe, expect, test } from "bun:test";
import { none } from "../../src/ipam/none.ts";
import { providerFor } from "../../src/ipam/provider-for.ts";
import { Static, type StaticConfig } from "../../src/ipam/static.ts";
import { Failure } from "../../src/report/failure.ts";
import { failureOf } from "../failing.ts";
import { holder, ipamContract, seat } from "./contract.ts";

const noCall = { stdin: "", cniVersion: "1.1.0", env: {} };

/** A provider and the addresses that a CNI call asks for, as the CNI face collects them. */
function called(
  config: Omit<StaticConfig, "type">,
  asked: { args?: string; cni?: string[]; runtime?: string[] },
): { provider: Static; ips: string[] } {
  const { args = "", cni = [], runtime = [] } = asked;
  const stdin = JSON.stringify({ args: { cni: { ips: cni } }, runtimeConfig: { ips: runtime } });
  const ip = /(?:^|;)IP=([^;]*)/u.exec(args)?.[1] ?? "";
  return {
    provider: new Static({ type: "static", ...config }, { stdin, cniVersion: "1.0.0", env: { CNI_ARGS: args } }),
    ips: [...ip.split(","), ...cni, ...runtime].filter((text) => text !== ""),
  };
}

ipamContract("static", () => ({
  provider: new Static(
    { type: "static", addresses: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }, { address: "2001:DB8::5/64" }] },
    noCall,
  ),
  wanted: "10.0.0.9/24",
  impossible: "192.0.2.1",
  reserves: false,
  previews: true,
  addresses: true,
  reserved: () => 0,
}));

ipamContract("no IPAM", () => ({
  provider: none,
  reserves: false,
  previews: true,
  addresses: false,
  reserved: () => 0,
}));

describe("without a request", () => {
  test("the configuration's addresses, routes and DNS", async () => {
    const config = {
      addresses: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }, { address: "2001:DB8::5/64" }],
      routes: [{ dst: "0.0.0.0/0" }],
      dns: { nameservers: ["192.0.2.53"] },
    };
    expect(await called(config, {}).provider.allocate(holder("a"), [])).toEqual({
      ips: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }, { address: "2001:db8::5/64" }],
      routes: config.routes,
      dns: config.dns,
    });
  });

  test("and without addresses it cannot work", async () => {
    expect((await failureOf(called({}, {}).provider.allocate(holder("a"), []))).reason).toBe("config");
  });
});

describe("a CNI call's request", () => {
  const config = { addresses: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }] };
  const allocate = async (asked: Parameters<typeof called>[1]) => {
    const { provider, ips } = called(config, asked);
    return (await provider.allocate(holder("a"), ips)).ips;
  };
  const own = { address: "10.0.0.5/24", gateway: "10.0.0.1" };

  test("in CNI_ARGS is added, with the GATEWAY that lies in its subnet", async () => {
    expect(await allocate({ args: "IP=10.0.0.6/24" })).toEqual([own, { address: "10.0.0.6/24" }]);
    expect(
      await allocate({ args: "K8S_POD_NAME=x;IP=10.2.0.6/16,2001:DB8::6/64;GATEWAY=10.2.0.1,2001:db8::1" }),
    ).toEqual([
      own,
      { address: "10.2.0.6/16", gateway: "10.2.0.1" },
      { address: "2001:db8::6/64", gateway: "2001:db8::1" },
    ]);
    expect(await allocate({ args: "IP=10.0.0.6/24;GATEWAY=10.0.0.9" })).toEqual([
      own,
      { address: "10.0.0.6/24", gateway: "10.0.0.9" },
    ]);
  });

  test("in args.cni.ips replaces, in runtimeConfig.ips replaces that too", async () => {
    expect(await allocate({ args: "IP=10.0.0.6/24", cni: ["10.0.0.7/24"] })).toEqual([{ address: "10.0.0.7/24" }]);
    expect(
      await allocate({ args: "IP=10.0.0.6/24", cni: ["10.0.0.7/24"], runtime: ["10.0.0.8/24", "2001:db8::8/64"] }),
    ).toEqual([{ address: "10.0.0.8/24" }, { address: "2001:db8::8/64" }]);
  });

  test("needs the prefix length", async () => {
    for (const asked of [{ args: "IP=10.0.0.6" }, { cni: ["10.0.0.6"] }, { runtime: ["10.0.0.6"] }]) {
      const { provider, ips } = called(config, asked);
      const failure = await failureOf(provider.allocate(holder("a"), ips));
      expect(failure.reason).toBe("request");
      expect(failure.message).toContain("10.0.0.6");
      expect(failure.advice).toContain("192.168.122.177/24");
    }
  });

  test("with a gateway that is none is refused", async () => {
    const { provider, ips } = called(config, { args: "IP=10.0.0.6/24;GATEWAY=router" });
    expect((await failureOf(provider.allocate(holder("a"), ips))).message).toContain("router");
  });
});

describe("a person's request", () => {
  const provider = new Static(
    { type: "static", addresses: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }, { address: "10.1.0.5/16" }] },
    noCall,
  );
  const cases: [string, { address: string; gateway?: string }][] = [
    ["10.0.0.9", { address: "10.0.0.9/24", gateway: "10.0.0.1" }],
    ["10.0.0.9/24", { address: "10.0.0.9/24", gateway: "10.0.0.1" }],
    ["10.0.0.9/32", { address: "10.0.0.9/32" }],
    ["10.1.9.9", { address: "10.1.9.9/16" }],
    ["192.0.2.7/24", { address: "192.0.2.7/24" }],
    ["2001:DB8::9/64", { address: "2001:db8::9/64" }],
  ];
  test.each(cases)("for %s takes what is missing from the configuration", async (text, lease) => {
    expect((await provider.allocate(holder("a"), [text])).ips).toEqual([lease]);
  });

  test.each(["192.0.2.7", "2001:db8::9", "10.0.0.256", "host"])("for %s is refused", async (text) => {
    const failure = await failureOf(provider.allocate(holder("a"), [text]));
    expect([failure.reason, failure.message.includes(text)]).toEqual(["request", true]);
  });
});

describe("a configuration that cannot work is refused:", () => {
  test.each([
    { address: "10.0.0.5" },
    { address: "10.0.0.5/33" },
    { address: "10.0.0.5/24", gateway: "router" },
    { address: "10.0.0.5/24", gateway: "2001:db8::1" },
  ])("%j", (entry) => {
    const make = () => called({ addresses: [entry] }, {});
    expect(make).toThrow(Failure);
    expect(make).toThrow("gateway" in entry ? entry.gateway : entry.address);
  });
});

describe("the provider of a configuration", () => {
  test.each([
    [undefined, ""],
    [{}, ""],
    [{ type: "static" }, "static"],
    [{ type: "host-local", subnet: "10.0.0.0/24" }, "host-local"],
    [{ type: "dhcp" }, "dhcp"],
  ])("%j", async (ipam, type) => {
    expect((await providerFor(ipam, { delegate: noCall })).type).toBe(type);
  });

  test("takes the capability's ranges", async () => {
    const ipRanges = [[{ subnet: "10.9.0.0/24" }]];
    const provider = await providerFor({ type: "host-local" }, { ipRanges, delegate: noCall });
    const preview = await provider.preview(holder("a"), [], seat);
    expect(preview.ips).toEqual([{ address: "10.9.0.2/24", gateway: "10.9.0.1" }]);
  });

  test("is refused where its configuration cannot work", async () => {
    for (const ipam of [{ type: "host-local" }, { type: "../evil" }, { type: ".." }]) {
      expect((await failureOf(providerFor(ipam, { delegate: noCall }))).reason).toBe("config");
    }
  });
});
