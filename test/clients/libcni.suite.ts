// libcni itself: ADD, CHECK, DEL through configuration lists chained with Debian's tuning, portmap and sbr.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { ClientHost, type Kind, kinds, run } from "./host.ts";
import { makeRootfs, SERVER } from "./image.ts";
import { installPlugins, type Plugin, writeNetwork } from "./networks.ts";
import { keepCalls } from "./record.ts";

const program = `${process.env["CLIENT_PROGRAMS"] ?? ""}/libcni`;
const NETNS = "/run/netns/c";
/** Berth's plugins before the standard ones of the same names. */
const PATH = "/opt/cni/bin:/usr/lib/cni";

let w: ClientHost;
beforeAll(() => {
  installPlugins();
  makeRootfs("/run/rootfs");
  // CHECK of portmap 1.1.1 looks for its IPv4 rules in ip6tables too, where it finds one
  mkdirSync("/run/iptables");
  symlinkSync("/usr/sbin/iptables", "/run/iptables/iptables");
  w = new ClientHost();
});
beforeEach(() => {
  w.namespace("c");
});
afterEach(() => w.removeNamespace("c"));
afterAll(() => w[Symbol.dispose]());

interface Result {
  readonly cniVersion: string;
  readonly interfaces: readonly { readonly name: string; readonly mac: string }[];
  readonly ips: readonly { readonly address: string; readonly interface: number }[];
  readonly dns: { readonly nameservers?: readonly string[] };
}

function libcni(verb: string, list: string, ...flags: string[]): string {
  return run(["env", "PATH=/run/iptables", program, "-id", "ct1", "-path", PATH, ...flags, verb, list, NETNS]);
}

const inside = (script: string): string =>
  run(["nsenter", `--net=${NETNS}`, "chroot", "/run/rootfs", "/bin/sh", "-c", script]);

function serve(): { kill: () => void } {
  return Bun.spawn(["nsenter", `--net=${NETNS}`, "chroot", "/run/rootfs", ...SERVER], {
    stdio: ["ignore", "ignore", "ignore"],
  });
}

const tuning: Plugin = { type: "tuning", sysctl: { "net.ipv4.conf.all.log_martians": "0" } };
const portmap: Plugin = { type: "portmap", capabilities: { portMappings: true } };
const sbr: Plugin = { type: "sbr" };

function prove(kind: Kind, result: Result, mac?: string): void {
  const server = serve();
  try {
    expect(result.dns).toEqual({ nameservers: ["192.168.122.1"] });
    expect(result.interfaces.map((i) => i.name)).toEqual(["eth0"]);
    const addresses = result.ips.map((ip) => ip.address);
    w.prove({ netns: NETNS, kind, addresses, mac: mac ?? result.interfaces[0]?.mac ?? "", inside });
  } finally {
    server.kill();
  }
}

describe.each(kinds)("%s", (kind) => {
  test.each(["0.3.1", "0.4.0", "1.0.0"])("version %s: ADD, CHECK, DEL, DEL again", (cniVersion) => {
    const list = writeNetwork({ name: "lan", kind, cniVersion });
    libcni("version", list);
    const result = JSON.parse(libcni("add", list)) as Result;
    expect(result.cniVersion).toBe(cniVersion);
    prove(kind, result);
    if (cniVersion === "0.3.1") expect(() => libcni("check", list)).toThrow("does not support the CHECK command");
    else libcni("check", list);
    libcni("del", list);
    libcni("del", list);
    w.nothingIsLeft();
    keepCalls(`libcni-${cniVersion}`, kind);
  });

  test.each([
    ["tuning", [tuning]],
    ["portmap", [portmap]],
    ["sbr", [sbr]],
    ["tuning, portmap and sbr", [tuning, portmap, sbr]],
  ])("chained with %s: ADD, CHECK, DEL", (_, chained) => {
    const list = writeNetwork({ name: "lan", kind, cniVersion: "1.0.0", chained, ipv4Only: true });
    const ports = JSON.stringify({ portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] });
    const result = JSON.parse(libcni("add", list, "-capabilities", ports)) as Result;
    // sbr leaves the main table empty: replies only, as for a second interface
    if (chained.includes(sbr)) for (const { address } of result.ips) w.answers(address);
    else prove(kind, result);
    if (chained.includes(portmap) && !chained.includes(sbr)) {
      const server = serve();
      w.mapped(8080);
      server.kill();
    }
    libcni("check", list, "-capabilities", ports);
    libcni("del", list, "-capabilities", ports);
    w.nothingIsLeft();
    keepCalls(`libcni-chain-${chained.map((c) => String(c["type"])).join("-")}`, kind);
  });

  test("capabilities ips and mac", () => {
    const list = writeNetwork({ name: "lan", kind });
    const asked = JSON.stringify({ ips: ["192.168.122.177/24", "fd22::77/64"], mac: "02:00:5e:10:00:07" });
    const result = JSON.parse(libcni("add", list, "-capabilities", asked)) as Result;
    expect(result.ips.map((ip) => ip.address)).toEqual(["192.168.122.177/24", "fd22::77/64"]);
    prove(kind, result, "02:00:5e:10:00:07");
    libcni("del", list, "-capabilities", asked);
    w.nothingIsLeft();
    keepCalls("libcni-capabilities", kind);
  });
});
