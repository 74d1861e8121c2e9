import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import fc from "fast-check";
import { cniVersions } from "../../src/cni/version.ts";
import { cni } from "../../src/cni/cni.ts";
import { prevResultAddresses, resultJson } from "../../src/cni/result.ts";
import { TestWorld } from "../world.ts";
import { call } from "./call.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("lan");
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
  w.plug("lan", "", "eth1", "10.1.0.1/24");
  w.subInterface("eth1", "spare", { kind: "macvlan", mode: "bridge" });
});
afterAll(() => w[Symbol.dispose]());

const main = `${import.meta.dir}/../../src/main.ts`;
const plain = { cniVersion: "1.0.0", name: "net", type: "macvlan", master: "eth1" };

/** The plugin as a process, started under a name. */
function run(
  env: Record<string, string>,
  stdin = "",
  argv0 = "macvlan",
): { code: number; stdout: string; stderr: string } {
  const r = Bun.spawnSync([process.execPath, main], {
    argv0,
    env: { PATH: "/usr/bin:/bin", ...env },
    stdin: Buffer.from(stdin),
  });
  return { code: r.exitCode, stdout: r.stdout.toString(), stderr: r.stderr.toString() };
}

describe("as a process", () => {
  test("without CNI_COMMAND it says what it is, and exits with 0", () => {
    expect(run({})).toEqual({
      code: 0,
      stderr: "",
      stdout: expect.stringMatching(
        /^CNI .* plugin \(Berth [\d.]+\)\nCNI protocol versions supported: 0\.1\.0, .*1\.1\.0\n$/u,
      ),
    });
  });

  test("VERSION, with and without stdin", () => {
    for (const [stdin, asked] of [
      ["", "1.1.0"],
      ['{"cniVersion":"0.4.0"}', "0.4.0"],
      ["{}", "1.1.0"],
    ] as const) {
      const answer = run({ CNI_COMMAND: "VERSION" }, stdin);
      expect(answer.code).toBe(0);
      expect(JSON.parse(answer.stdout)).toEqual({ cniVersion: asked, supportedVersions: [...cniVersions] });
    }
  });

  test("a failure is exit status 1 and one JSON object on stdout, nothing on stderr", () => {
    const answer = run({ CNI_COMMAND: "ADD" }, JSON.stringify(plain));
    expect(answer).toMatchObject({ code: 1, stderr: "" });
    expect(JSON.parse(answer.stdout)).toMatchObject({ cniVersion: "1.0.0", code: 4 });
  });

  test("ADD and DEL", () => {
    const env = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "p", CNI_NETNS: "/run/netns/c", CNI_IFNAME: "eth0" };
    expect(JSON.parse(run(env, JSON.stringify(plain)).stdout)).toMatchObject({ interfaces: [{ name: "eth0" }] });
    expect(run({ ...env, CNI_COMMAND: "DEL" }, JSON.stringify(plain))).toEqual({ code: 0, stdout: "", stderr: "" });
  });
});

describe("what a call needs", () => {
  const cases: [string, string, unknown, Record<string, string | undefined>, number, string][] = [
    ["an unknown command", "UPDATE", plain, {}, 4, "there is no such command"],
    ["no container id", "ADD", plain, { CNI_CONTAINERID: "" }, 4, "CNI_CONTAINERID is not set"],
    [
      "nothing at all",
      "ADD",
      plain,
      { CNI_CONTAINERID: "", CNI_NETNS: undefined, CNI_IFNAME: "" },
      4,
      "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME are not set",
    ],
    [
      "an id that leaves its directory",
      "ADD",
      plain,
      { CNI_CONTAINERID: "../../etc" },
      4,
      'use "../../etc" as a container id',
    ],
    ["an id with a line break", "DEL", plain, { CNI_CONTAINERID: "a\nb" }, 4, "as a container id"],
    ["an id of 300 characters", "DEL", plain, { CNI_CONTAINERID: "a".repeat(300) }, 4, "characters together"],
    ["a long interface name", "ADD", plain, { CNI_IFNAME: "eth0123456789012" }, 4, "as an interface name"],
    ["an interface name with a slash", "ADD", plain, { CNI_IFNAME: "a/b" }, 4, "as an interface name"],
    ["an interface name of dots", "ADD", plain, { CNI_IFNAME: ".." }, 4, "as an interface name"],
    ["a namespace that is none", "ADD", plain, { CNI_NETNS: "/etc/passwd" }, 8, "there is no network namespace"],
    ["CNI_ARGS without a value", "ADD", plain, { CNI_ARGS: "IP" }, 4, '"IP" is no KEY=VALUE'],
    ["a MAC that is none in CNI_ARGS", "ADD", plain, { CNI_ARGS: "MAC=x" }, 4, 'use the MAC "x" of CNI_ARGS'],
    ["empty stdin", "ADD", "", {}, 6, "it is empty"],
    ["stdin that is no JSON", "ADD", "{", {}, 6, "read the network configuration from stdin"],
    ["stdin that is no object", "ADD", "5", {}, 7, "the configuration is 5"],
    ["a version from the future", "ADD", { ...plain, cniVersion: "9.0.0" }, {}, 1, '"9.0.0"'],
    ["GC before 1.1.0", "GC", plain, {}, 1, "it came with 1.1.0"],
    ["STATUS before 1.1.0", "STATUS", plain, {}, 1, "it came with 1.1.0"],
    ["no name", "ADD", { ...plain, name: undefined }, {}, 7, "name is missing"],
    ["a name that leaves its directory", "ADD", { ...plain, name: "../x" }, {}, 7, 'name is "../x"'],
    ["a mode of another kind", "ADD", { ...plain, mode: "l2" }, {}, 7, "use mode l2 with kind macvlan"],
    ["an unknown mode", "ADD", { ...plain, mode: "brigde" }, {}, 7, 'mode is "brigde"'],
    ["an MTU below zero", "ADD", { ...plain, mtu: -1 }, {}, 7, "mtu is -1"],
    ["a vlan without its number", "ADD", { ...plain, type: "vlan" }, {}, 7, "vlanId is missing"],
    ["a vlan's number with macvlan", "ADD", { ...plain, vlanId: 5 }, {}, 7, "use vlanId with kind macvlan"],
    ["type berth without a kind", "ADD", { ...plain, type: "berth" }, {}, 7, "kind is missing"],
    ["two kinds", "ADD", { ...plain, kind: "ipvlan" }, {}, 7, "type says macvlan, kind says ipvlan"],
    [
      "a MAC with ipvlan",
      "ADD",
      { ...plain, type: "ipvlan", mac: "02:00:00:00:00:01" },
      {},
      7,
      "an ipvlan has its parent's MAC",
    ],
    [
      "a MAC with passthru",
      "ADD",
      { ...plain, mode: "passthru", mac: "02:00:00:00:00:01" },
      {},
      7,
      "a passthru link has its parent's MAC",
    ],
    [
      "sources without mode source",
      "ADD",
      { ...plain, sources: ["02:00:00:00:00:01"] },
      {},
      7,
      "use sources with mode bridge",
    ],
    [
      "a subnet with host bits",
      "ADD",
      { ...plain, ipam: { type: "host-local", subnet: "10.1.0.1/24" } },
      {},
      7,
      "host bits",
    ],
    [
      "a range that is wrong deep inside",
      "ADD",
      { ...plain, ipam: { type: "host-local", ranges: [[{ subnet: "10.1.0.0/24" }, { subnet: "x" }]] } },
      {},
      7,
      'ipam.ranges[0][1].subnet is "x"',
    ],
    ["an IPAM plugin with a path", "ADD", { ...plain, ipam: { type: "../x" } }, {}, 7, 'ipam.type is "../x"'],
    [
      "a valid-attachments list that is none",
      "GC",
      { ...plain, cniVersion: "1.1.0", "cni.dev/valid-attachments": 5 },
      {},
      7,
      "it is no list",
    ],
  ];
  test.each(cases)("%s", async (_, verb, config, env, code, sentence) => {
    const before = [w.snapshot("c"), w.snapshot("")];
    const reply = await call(verb, config, env);
    expect(reply.exitCode).toBe(1);
    expect(reply.json["code"]).toBe(code);
    expect(reply.json["msg"]).toContain(sentence);
    expect([w.snapshot("c"), w.snapshot("")]).toEqual(before);
  });

  test("no cniVersion means 0.1.0, in results and in errors", async () => {
    const config = {
      name: "net",
      type: "macvlan",
      master: "eth1",
      ipam: { type: "host-local", subnet: "10.1.0.0/24" },
    };
    expect((await call("ADD", config)).json).toMatchObject({ cniVersion: "0.1.0", ip4: { ip: expect.any(String) } });
    expect((await call("ADD", config)).json).toMatchObject({ cniVersion: "0.1.0", code: 102 });
    await call("DEL", config);
  });

  test("the kind is the name's that Berth is called by", async () => {
    const config = { ...plain, type: "something-else" };
    expect((await call("ADD", config, {}, "macvtap")).exitCode).toBe(0);
    expect(w.link("c", "eth0").kind).toBe("macvtap");
    await call("DEL", config, {}, "macvtap");
  });
});

describe("results", () => {
  const result = {
    interfaceName: "eth0",
    mac: "02:00:00:00:00:01",
    mtu: 1500,
    sandbox: "/run/netns/c",
    allocation: {
      ips: [{ address: "10.1.0.2/24", gateway: "10.1.0.1" }, { address: "fd00::2/64" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400 }, { dst: "::/0" }],
      dns: {},
    },
    dns: { nameservers: ["1.1.1.1"] },
  };
  const expected: Record<string, unknown> = {
    "0.2.0": {
      cniVersion: "0.2.0",
      ip4: { ip: "10.1.0.2/24", gateway: "10.1.0.1", routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }] },
      ip6: { ip: "fd00::2/64", routes: [{ dst: "::/0" }] },
      dns: result.dns,
    },
    "0.4.0": {
      cniVersion: "0.4.0",
      interfaces: [{ name: "eth0", mac: result.mac, sandbox: result.sandbox }],
      ips: [
        { version: "4", address: "10.1.0.2/24", gateway: "10.1.0.1", interface: 0 },
        { version: "6", address: "fd00::2/64", interface: 0 },
      ],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }, { dst: "::/0" }],
      dns: result.dns,
    },
    "1.0.0": {
      cniVersion: "1.0.0",
      interfaces: [{ name: "eth0", mac: result.mac, sandbox: result.sandbox }],
      ips: [
        { address: "10.1.0.2/24", gateway: "10.1.0.1", interface: 0 },
        { address: "fd00::2/64", interface: 0 },
      ],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1" }, { dst: "::/0" }],
      dns: result.dns,
    },
  };
  test.each(Object.entries(expected))("in version %s", (version, json) => {
    expect(JSON.parse(resultJson(result, version as "1.0.0"))).toEqual(json);
  });

  test("in version 1.1.0 with the MTU and a route's properties", () => {
    expect(JSON.parse(resultJson(result, "1.1.0"))).toMatchObject({
      interfaces: [{ mtu: 1500 }],
      routes: [{ dst: "0.0.0.0/0", mtu: 1400 }, { dst: "::/0" }],
    });
  });

  test("each version's result, as the next call's prevResult, names the same addresses", () => {
    for (const version of cniVersions) {
      expect(prevResultAddresses(JSON.parse(resultJson(result, version)), "eth0")).toEqual([
        "10.1.0.2/24",
        "fd00::2/64",
      ]);
    }
    const chained = {
      interfaces: [{ name: "br0" }, { name: "eth0" }],
      ips: [
        { address: "10.9.0.1/8", interface: 0 },
        { address: "10.1.0.2/24", interface: 1 },
      ],
    };
    expect(prevResultAddresses(chained, "eth0")).toEqual(["10.1.0.2/24"]);
    fc.assert(
      fc.property(fc.jsonValue(), (json) => expect(Array.isArray(prevResultAddresses(json, "eth0"))).toBe(true)),
    );
  });
});

describe("whatever comes in", () => {
  // keys with plausible and implausible values, so that many configurations get far and some all the way
  const any = fc.oneof(
    { depthSize: "small" },
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom("eth1", "lo", "spare", "auto", 0, -1, 1500, true, null, "10.1.0.0/24", "02:00:00:00:00:01"),
  );
  const likely = <T>(arb: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
    fc.oneof({ weight: 40, arbitrary: arb }, { weight: 1, arbitrary: any });
  const ipam = fc.oneof(
    fc.record(
      {
        type: likely(fc.constantFrom("host-local", "static", "", "nothing")),
        subnet: likely(fc.constantFrom("10.1.0.0/24", "fd00::/64", "10.1.0.0/30")),
        ranges: likely(
          fc.array(
            fc.array(fc.record({ subnet: likely(fc.constantFrom("10.2.0.0/24", "fd01::/64")) }), { maxLength: 2 }),
            { maxLength: 2 },
          ),
        ),
        addresses: likely(
          fc.array(fc.record({ address: likely(fc.constantFrom("10.1.0.7/24", "fd00::7/64")) }), { maxLength: 2 }),
        ),
        routes: likely(
          fc.array(
            fc.record(
              {
                dst: likely(fc.constantFrom("0.0.0.0/0", "10.1.0.1/32", "::/0", "10.7.7.7/8")),
                gw: likely(fc.constantFrom("0.0.0.0", "10.1.0.1", "::")),
              },
              { requiredKeys: ["dst"] },
            ),
            { maxLength: 3 },
          ),
        ),
      },
      { requiredKeys: ["type"] },
    ),
    fc.constant(undefined),
    any,
  );
  const config = fc.record(
    {
      cniVersion: likely(fc.constantFrom(...cniVersions)),
      name: likely(fc.constantFrom("net", "a.b-c")),
      type: likely(fc.constantFrom("macvlan", "macvlan", "berth", "ipvlan", "vlan")),
      kind: likely(fc.constant("macvlan")),
      master: likely(
        fc.constantFrom("eth1", { mac: "02:00:00:00:00:01" }, { subnet: "10.1.0.0/24" }, { names: ["eth1"] }),
      ),
      mode: likely(fc.constantFrom("bridge", "bridge", "private", "l2")),
      mtu: likely(fc.integer({ min: 60, max: 1600 })),
      mac: likely(fc.constantFrom("02:00:00:00:00:07", "ff:ff:ff:ff:ff:ff")),
      hostrouteif: likely(fc.constantFrom("auto", "spare")),
      hostrouteip: likely(fc.constantFrom("10.1.0.1", ["10.1.0.1"])),
      ipam,
      dns: likely(fc.record({ nameservers: fc.array(fc.string()) })),
      runtimeConfig: likely(fc.record({ ips: fc.array(fc.constantFrom("10.1.0.9", "10.1.0.9/24")) })),
      "cni.dev/valid-attachments": likely(fc.array(fc.record({ containerID: fc.string(), ifname: fc.string() }))),
      prevResult: any,
    },
    { requiredKeys: ["name", "type"] },
  );
  const verb = fc.constantFrom("ADD", "ADD", "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION");
  // one that works, with one random key: so that many get all the way
  const nearlyGood = config.chain((c) =>
    fc.constantFrom(...Object.keys(c)).map((key) => ({
      cniVersion: "1.0.0",
      name: "net",
      type: "macvlan",
      master: "eth1",
      ipam: { type: "host-local", subnet: "10.1.0.0/24", rangeStart: "10.1.0.20" },
      [key]: (c as Record<string, unknown>)[key],
    })),
  );
  const text = fc.oneof(
    { weight: 14, arbitrary: config.map((c) => JSON.stringify(c)) },
    { weight: 6, arbitrary: nearlyGood.map((c) => JSON.stringify(c)) },
    { weight: 1, arbitrary: fc.string() },
  );

  test("ends in a CNI result or in a CNI error object, never in a stack trace, and DEL takes all of it back", async () => {
    let added = 0;
    await fc.assert(
      fc.asyncProperty(verb, text, fc.constantFrom("macvlan", "berth"), async (name, stdin, calledAs) => {
        const env = {
          CNI_COMMAND: name,
          CNI_CONTAINERID: "c1",
          CNI_NETNS: "/run/netns/c",
          CNI_IFNAME: "eth0",
          CNI_PATH: "",
          PATH: "",
        };
        const answer = await cni(env, () => stdin, calledAs);
        const silent = ["DEL", "CHECK", "GC", "STATUS"].includes(name) && answer.exitCode === 0;
        if (silent) expect(answer.text).toBe("");
        else {
          const json = JSON.parse(answer.text) as Record<string, unknown>;
          expect(cniVersions as readonly unknown[]).toContain(json["cniVersion"]);
          if (answer.exitCode !== 0) {
            expect(json["code"]).toBeNumber();
            expect(json["msg"]).toBeString();
            expect(json["code"]).not.toBe(199); // a defect of Berth's
            expect(answer.text).not.toMatch(/\bat .*\.ts:\d+/u);
          }
        }
        if (name !== "ADD" || answer.exitCode !== 0) return;
        added++;
        const back = await cni({ ...env, CNI_COMMAND: "DEL" }, () => stdin, calledAs);
        expect(back).toEqual({ text: "", remarks: [], exitCode: 0 });
        expect(readdirSync("/run/berth/attachments")).toEqual([]);
      }),
      { numRuns: 600, endOnFailure: true },
    );
    expect(added).toBeGreaterThan(10);
    expect(w.ipJson("c", "link show").map((l) => l["ifname"])).toEqual(["lo"]);
    expect(w.ip("", "route show table all proto 98")).toBe("");
  });
});
