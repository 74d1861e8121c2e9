import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { type Json, TestWorld } from "../world.ts";
import { call } from "./call.ts";

const PLUGINS = "/usr/lib/cni";
/** What marks a thing as Berth's: its protocol number, link group and alias; and a MAC that each draws anew. */
const marks = /"(protocol|group|ifalias|address)":"(98|boot|default|1111839316|berth:[^"]*|[\da-f:]{17})",?/gu;

/** A setting of a link in a snapshot: DEVCONF_NDISC_NOTIFY of linux/ipv6.h. */
const NDISC_NOTIFY = /eth0 IPv6 29:(\d)/gu;
let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("lan");
  w.plug("lan", "", "eth1", "192.168.122.1/24");
});
beforeEach(() => {
  for (const directory of ["/var/lib/cni", "/run/berth"]) rmSync(directory, { recursive: true, force: true });
  freshContainer();
});
afterEach(() => w.removeNamespace("c"));
afterAll(() => w[Symbol.dispose]());

/** A container's namespace; duplicate address detection is off, as it is not what is compared. */
function freshContainer(): void {
  w.namespace("c");
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
}

/** A state as text, without marks and link-local addresses, which are made from the MAC. */
function text(value: unknown): string {
  return (
    JSON.stringify(value, (_, v: Json) =>
      Array.isArray(v) ? v.filter((e) => !JSON.stringify(e).includes("fe80::")) : v,
    )
      .replaceAll(marks, "")
      // version 1.1.1 sets a queue length of 0, which a link without a queue never uses; later ones leave it alone
      .replaceAll(/"txqlen":\d+,?/gu, "")
      .replaceAll(",}", "}")
  );
}

/** Both namespaces, without marks and without addresses made from the MAC. */
function state(): { host: string; container: string } {
  return { host: text(w.snapshot("")), container: text(w.snapshot("c")) };
}

function withoutMac(result: Record<string, unknown>): unknown {
  return JSON.parse(JSON.stringify(result).replaceAll(/"mac":"[^"]*",/gu, ""));
}

const ipam = {
  type: "host-local",
  ranges: [[{ subnet: "192.168.122.0/24", rangeStart: "192.168.122.50" }], [{ subnet: "fd22::/64" }]],
};
const configurations: [string, Record<string, unknown>][] = [
  ["dual stack", { ipam }],
  [
    "routes of every sort",
    {
      ipam: {
        ...ipam,
        routes: [
          { dst: "0.0.0.0/0" },
          { dst: "10.0.0.0/8", gw: "192.168.122.1" },
          { dst: "10.9.0.0/16", gw: "0.0.0.0" },
          { dst: "::/0" },
          { dst: "fd99::/48", gw: "fd22::9" },
        ],
      },
    },
  ],
  ["MTU and mode", { mode: "private", mtu: 1300, ipam: { type: "host-local", subnet: "192.168.122.0/24" } }],
  ["layer 2 only", {}],
  [
    "a MAC that is asked for",
    { runtimeConfig: { mac: "02:00:00:00:00:42" }, ipam: { type: "host-local", subnet: "192.168.122.0/24" } },
  ],
];

describe.skipIf(!existsSync(`${PLUGINS}/macvlan`))(
  `a plain configuration leaves the standard plugin's state (skipped where ${PLUGINS}/macvlan is not installed)`,
  () => {
    test.each(configurations)("%s", async (_, more) => {
      const config = { cniVersion: "1.0.0", name: "net", type: "macvlan", master: "eth1", ...more };
      const env = { CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/c", CNI_IFNAME: "eth0", CNI_PATH: PLUGINS };
      const theirs = JSON.parse(
        w.run("", [`${PLUGINS}/macvlan`], { ...env, CNI_COMMAND: "ADD" }, JSON.stringify(config)),
      ) as Record<string, unknown>;
      const expected = state();
      w.run("", [`${PLUGINS}/macvlan`], { ...env, CNI_COMMAND: "DEL" }, JSON.stringify(config));
      rmSync("/var/lib/cni", { recursive: true, force: true });
      w.removeNamespace("c");
      freshContainer();
      const ours = await call("ADD", config, env);
      const actual = state();
      // since 1.3 the standard plugins announce IPv6 addresses too, and on links that have none of IPAM's
      const announcing = [...actual.container.matchAll(NDISC_NOTIFY)].map(([, value]) => value);
      expect(announcing).toEqual([text(ours.json).includes("fd22::") ? "1" : "0"]);
      const other = (text_: string): string => text_.replaceAll(NDISC_NOTIFY, "");
      expect({ host: actual.host, container: other(actual.container) }).toEqual({
        host: expected.host,
        container: other(expected.container),
      });
      expect(withoutMac(ours.json)).toEqual(withoutMac(theirs));
      await call("DEL", config, env);
    });
  },
);
