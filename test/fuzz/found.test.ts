// What random input has found, case by case: each of these once ended in a defect's error, or did what it must not.
import { afterAll, describe, expect, test } from "bun:test";
import { Failure } from "../../src/report/failure.ts";
import { parseLink } from "../../src/kernel/links.ts";
import { SysError } from "../../src/kernel/errno.ts";
import { targets } from "./targets.ts";
import { neutronAnswers, vm } from "./targets/clouds.ts";

const { fetch } = globalThis;
afterAll(() => {
  globalThis.fetch = fetch;
});

async function outcome(name: string, c: unknown): Promise<string> {
  const target = targets.find((t) => t.name === name);
  if (target === undefined) throw new Error(`there is no target ${name}`);
  try {
    await target.run(c);
    return "accepted";
  } catch (e) {
    if (e instanceof SysError) return `SysError ${e.message}`;
    if (!(e instanceof Failure) || e.reason === "internal") throw e;
    return `${e.reason} ${e.message}`;
  }
}

const env = { CNI_COMMAND: "GC" };
const lan = { cniVersion: "1.1.0", name: "lan", type: "macvlan" };
const gc = (attachment: unknown): object => ({
  calledAs: "berth",
  env,
  stdin: { json: { ...lan, "cni.dev/valid-attachments": [attachment] } },
});

/** A whole attachment of which one answer is otherwise. */
function neutron(verb: string, changes: Readonly<Record<string, unknown>>): object {
  const answers = { ...neutronAnswers };
  for (const [key, json] of Object.entries(changes)) answers[key] = { status: 200, json };
  return { config: 0, kind: "macvlan", verb, answers };
}
const vmPath = `GET /ports/${vm.id}`;
const endpoint = (url: string): object => ({
  token: {
    status: 201,
    json: {
      token: {
        expires_at: "2099-01-01T00:00:00Z",
        project: { id: "p" },
        catalog: [{ type: "network", endpoints: [{ interface: "public", url }] }],
      },
    },
  },
  extensions: { status: 200, json: { extensions: [] } },
  subject: "t",
});
const record = (json: unknown): object => ({ thing: { json }, neighbour: true });

const found: readonly (readonly [what: string, target: string, c: unknown, outcome: RegExp])[] = [
  [
    "a GC's list with an object that cannot be text",
    "cni",
    gc({ containerID: { toString: 1 }, ifname: "eth0" }),
    /^config .*no containerID/u,
  ],
  ["a GC's list with null", "cni", gc(null), /^config /u],
  [
    "an escape sequence as the type",
    "cni",
    { calledAs: "berth", env, stdin: { json: { ...lan, type: "\u001b[2J" } } },
    /^config .*\\u001b/u,
  ],
  [
    "a prefix length with a fraction",
    "prevresult",
    { result: { ip4: { ip: "10.1.0.7/2.4" } }, ifName: "eth0" },
    /^accepted/u,
  ],
  ["an octet below zero", "prevresult", { result: { ip4: { ip: "10.1.-1.7/24" } }, ifName: "eth0" }, /^accepted/u],
  ["a prefix length with a fraction, of IPAM", "ipam-result", { ips: [{ address: "10.1.0.7/2.4" }] }, /^delegate /u],
  ["an octet below zero, of IPAM", "ipam-result", { ips: [{ address: "10.1.0.-7/24" }] }, /^delegate /u],
  [
    "a metric that is no number of 32 bits, of IPAM",
    "ipam-result",
    { ips: [{ address: "10.1.0.7/24" }], routes: [{ dst: "0.0.0.0/0", priority: 1e308 }] },
    /^delegate .*no number of 32 bits/u,
  ],
  ["no bytes at all", "netlink", { bytes: new Uint8Array(0) }, /^SysError .*EPROTO/u],
  [
    "a port's id that leads elsewhere",
    "neutron",
    neutron("admit", { [vmPath]: { port: { ...vm, id: "../../../../run/x" } } }),
    /^decode .*port.id is not an id/u,
  ],
  [
    "a port's address that leads elsewhere",
    "neutron",
    neutron("release", {
      "GET /ports": { ports: [{ ...vm, fixed_ips: [{ subnet_id: "s", ip_address: "1/../../x" }] }] },
    }),
    /^decode .*ip_address is not an IP address/u,
  ],
  [
    "a list that goes on at no URL",
    "neutron",
    neutron("release", { "GET /ports": { ports: [], ports_links: [{ rel: "next", href: "http://[::1" }] } }),
    /^decode .*further piece/u,
  ],
  [
    "a list that goes on where it began",
    "neutron",
    neutron("release", {
      "GET /ports": { ports: [], ports_links: [{ rel: "next", href: "http://cloud/v2.0/ports?marker=1" }] },
    }),
    /^decode .*further piece/u,
  ],
  [
    "an error whose type is a property of every object",
    "neutron",
    {
      ...neutron("admit", {}),
      answers: {
        ...neutronAnswers,
        [vmPath]: { status: 409, json: { NeutronError: { type: "constructor", message: "no" } } },
      },
    },
    /^cloud .*no \(constructor/u,
  ],
  ["a file as the network service", "keystone", endpoint("file:///etc/passwd"), /^config .*no http or https URL/u],
  [
    "a URL with a tab in it as the network service",
    "keystone",
    endpoint("htt\tp://cloud:9696"),
    /^config .*no http or https URL/u,
  ],
  ["no URL as the network service", "keystone", endpoint("http://[::1"), /^config .*no http or https URL/u],
  ["null for a record", "records", record(null), /^decode .*no JSON object/u],
  ["a record without a plan", "records", record({ version: 1 }), /^decode .*none that Berth writes/u],
  ["a list for a record", "records", record([]), /^decode /u],
  ["a link for a record", "records", { thing: { link: "precious" }, neighbour: true }, /^decode .*symbolic link/u],
  [
    "the Docker plugin's file with another's id",
    "docker-state",
    {
      sort: "networks",
      name: "n1",
      thing: {
        json: {
          version: 1,
          id: "../../../../run/fuzz-docker-state/etc/sub/file",
          name: "x",
          config: {},
          pools: [],
          reserved: [],
          prefix: "eth",
        },
      },
    },
    /^accepted/u,
  ],
  [
    "null for the Docker plugin's file",
    "docker-state",
    { sort: "grants", name: "g1", thing: { json: null } },
    /^accepted/u,
  ],
  [
    "a link in the place of a reservation",
    "host-local",
    {
      entries: [{ name: "10.1.0.2", thing: { link: "precious" } }],
      network: "lan",
      containerId: "c1",
      verb: "allocate",
      ip: "10.1.0.2",
    },
    /^address .*no file has it/u,
  ],
  [
    "a link in the place of Berth's own directory",
    "host-local",
    {
      entries: [{ name: ".berth", thing: { link: "preciousDirectory" } }],
      network: "lan",
      containerId: "c1",
      verb: "allocate",
      ip: "10.1.0.1",
    },
    /^io .*ELOOP/u,
  ],
  [
    "a link in the place of the last address",
    "host-local",
    {
      entries: [{ name: "last_reserved_ip.0", thing: { link: "precious" } }],
      network: "lan",
      containerId: "c1",
      verb: "allocate",
      ip: "10.1.0.1",
    },
    /^io .*ELOOP/u,
  ],
  [
    "a file in the place of a pair",
    "cloud-state",
    { token: { text: "" }, pairs: [{ name: "x", thing: { text: "" } }] },
    /^accepted/u,
  ],
  [
    "a link in the place of a pair",
    "cloud-state",
    { token: { text: "" }, pairs: [{ name: "02:00:00:00:00:01_10.1.0.7", thing: { link: "preciousDirectory" } }] },
    /^SysError .*ELOOP/u,
  ],
  [
    "a container id of an escape sequence",
    "host-local",
    { entries: [], network: "lan", containerId: "\u001b[2J", verb: "check", ip: "10.1.0.2" },
    /\\u001b/u,
  ],
];

describe("cases that were found", () => {
  test.each(found)("%s", async (_, target, c, expected) => {
    expect(await outcome(target, c)).toMatch(expected);
  });
});

test("a link message that is cut short, at every length", () => {
  for (let length = 0; length < 16; length++) expect(() => parseLink(new Uint8Array(length))).toThrow(SysError);
});
