import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { hostAccessSvg, type LinkFacts, type SpaceFacts } from "../scripts/host-access-svg.ts";
import { ping } from "../src/kernel/icmp.ts";
import { HOST, TestWorld } from "./world.ts";

const PICTURE = new URL("../docs/host-access.svg", import.meta.url).pathname;
const LAN = "192.168.122.0/24";
const [hostIp, containerIp, neighbourIp] = ["192.168.122.22", "192.168.122.177", "192.168.122.30"];
const PROTOCOL = "98";

/** What is read of the objects that `ip -j -d` prints. */
interface Shown {
  readonly protocol?: string | number;
  readonly table?: string | number;
  readonly dst?: string;
  readonly dev?: string;
  readonly src?: string;
  readonly prefsrc?: string;
  readonly lladdr?: string;
  readonly ifname?: string;
  readonly address?: string;
  readonly link?: string;
  readonly link_type?: string;
  readonly flags?: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: { readonly mode?: string } };
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number }[];
}

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl(HOST, "net/ipv6/conf/default/disable_ipv6", "1"); // the picture is of one family; the other is alike
  w.lan("tasks");
  for (const name of ["web", "neighbour"]) w.namespace(name);
  w.plug("tasks", HOST, "eth1", `${hostIp}/24`);
  w.plug("tasks", "neighbour", "eth0", `${neighbourIp}/24`);
  // chosen, so that each run draws the same
  w.ip(HOST, "link set dev eth1 address 02:00:00:00:00:22");
  w.ip("neighbour", "link set dev eth0 address 02:00:00:00:00:30");
});
afterAll(() => w[Symbol.dispose]());

function show(namespace: string, args: string): Shown[] {
  return w.ipJson(namespace, `-4 ${args}`);
}

function linksOf(namespace: string): LinkFacts[] {
  const addressesOf = (name = ""): string[] =>
    show(namespace, `address show dev ${name}`).flatMap(({ addr_info = [] }) =>
      addr_info.map(({ local, prefixlen }) => `${local ?? "?"}/${prefixlen ?? "?"}`),
    );
  return show(namespace, "link show")
    .filter(({ link_type }) => link_type !== "loopback")
    .map(({ ifname = "?", address = "?", flags = [], link, linkinfo }) => {
      const { info_kind: kind, info_data: { mode } = {} } = linkinfo ?? {};
      const sub = kind !== undefined && mode !== undefined;
      return {
        name: ifname,
        mac: address,
        addresses: addressesOf(ifname),
        arp: !flags.includes("NOARP"),
        ...(sub ? { kind, mode, ...(link === undefined ? {} : { parent: link }) } : {}),
      };
    });
}

function factsOf(namespace: string, name: string): SpaceFacts {
  const of = (protocol: string, args: string): Shown[] =>
    show(namespace, args).filter((o) => String(o.protocol) === protocol);
  const routes = of(PROTOCOL, "route show table all");
  const [main, others] = [routes.filter(isMain), routes.filter((r) => !isMain(r))];
  return {
    name,
    links: linksOf(namespace),
    kernelRoutes: of("kernel", "route show table main").map(spell),
    routes: main.map(spell),
    neighbours: of(PROTOCOL, "neighbour show nud permanent").map(
      ({ dst = "?", dev = "?", lladdr = "?" }) => `${dst} dev ${dev} lladdr ${lladdr}`,
    ),
    rules: of(PROTOCOL, "rule show").map(({ src = "?", table = "?" }) => `from ${src} lookup ${table}`),
    tables: others.map(spell),
  };
}

/** A route as the picture shows it. */
function spell({ dst = "?", dev = "?", prefsrc = "?" }: Shown): string {
  return `${dst} dev ${dev} src ${prefsrc}`;
}

function isMain({ table = "main" }: Shown): boolean {
  return table === "main";
}

/** Runs Berth as a reader would. */
function berth(...args: string[]): void {
  w.run([process.execPath, new URL("../src/main.ts", import.meta.url).pathname, ...args]);
}

function config(hostAccess: boolean): string {
  const path = "/run/tasks.json";
  const ipam = { type: "host-local", ranges: [[{ subnet: LAN }]] };
  const access = hostAccess ? { hostrouteif: "auto" } : {};
  writeFileSync(
    path,
    JSON.stringify({ cniVersion: "1.0.0", name: "tasks", type: "macvlan", master: "eth1", ...access, ipam }),
  );
  return path;
}

function attach(hostAccess: boolean): void {
  berth("attach", "--config", config(hostAccess), "--netns", "web", "--ip", containerIp, "--mac", "02:00:00:00:01:77");
}

/** Without what differs from machine to machine: the access link's MAC, made of the machine's id. All others are chosen here. */
function comparable(svg: string): string {
  return svg.replaceAll(/\b(?!02:00:00:00:)[\da-f]{2}(?::[\da-f]{2}){5}\b/gu, "MAC");
}

test("without host access neither host nor container reaches the other, and the LAN reaches both", () => {
  attach(false);
  expect(ping(undefined, containerIp, { timeoutMs: 700 })).toMatchObject({ ok: false });
  expect(ping(w.at("web"), hostIp, { timeoutMs: 700 })).toMatchObject({ ok: false });
  expect(ping(w.at("neighbour"), containerIp)).toMatchObject({ ok: true });
  expect(ping(w.at("neighbour"), hostIp)).toMatchObject({ ok: true });
  berth("detach", "--netns", "web");
});

test("with host access both do, and the parent itself still reaches no sub-interface: docs/host-access.svg shows it", () => {
  attach(true);
  expect(ping(undefined, containerIp)).toMatchObject({ ok: true });
  expect(ping(w.at("web"), hostIp)).toMatchObject({ ok: true });
  expect(ping(w.at("neighbour"), containerIp)).toMatchObject({ ok: true });
  expect(ping(undefined, neighbourIp, { linkName: "eth1" })).toMatchObject({ ok: true });
  expect(ping(undefined, containerIp, { linkName: "eth1", timeoutMs: 700 })).toMatchObject({ ok: false });
  const svg = hostAccessSvg({
    lan: LAN,
    host: factsOf(HOST, "host"),
    container: factsOf("web", "container web"),
    neighbour: factsOf("neighbour", "LAN neighbour"),
    open: `ping ${containerIp}: reply`,
    refused: `ping -I eth1 ${containerIp}: no reply`,
  });
  berth("detach", "--netns", "web");
  if (process.env["BERTH_WRITE_DOCS"] === "1") writeFileSync(PICTURE, svg);
  expect(comparable(readFileSync(PICTURE, "utf8"))).toBe(comparable(svg));
});
