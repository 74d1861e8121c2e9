// The calls of a Nomad client for `mode = "cni/lan"`, by the library that it makes them with (containerd's go-cni).
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { ClientHost, kinds, run } from "./host.ts";
import { forgetReservations, installPlugins } from "./networks.ts";
import { runPage } from "./page.ts";
import { makeTenantRootfs, Tenant } from "./tenant.ts";

const root = new URL("../..", import.meta.url).pathname;
const program = `${process.env["CLIENT_PROGRAMS"] ?? ""}/nomad`;
const ALLOCATION = "8ba85cef-35c3-4c3c-9c0f-1c0e6f0b8e0e";

let w: ClientHost;
beforeAll(() => {
  installPlugins();
  run(["cp", "/usr/lib/cni/loopback", "/usr/lib/cni/portmap", "/opt/cni/bin/"]);
  makeTenantRootfs();
  w = new ClientHost();
});
afterAll(() => w[Symbol.dispose]());

interface Result {
  readonly Interfaces: Readonly<Record<string, { readonly IPConfigs?: readonly { readonly IP: string }[] | null }>>;
}

const nomad = (verb: string, file: string, netns: string, ...ports: string[]): string =>
  run([program, verb, file, ALLOCATION, netns, ...ports]);

test.each(kinds)("%s: the example's network with the job's port, from the page's commands to the end", (kind) => {
  using tenant = new Tenant(w);
  const text = readFileSync(`${root}examples/nomad.conflist`, "utf8").replace('"macvlan"', `"${kind}"`);
  forgetReservations("lan");
  mkdirSync("/etc/nomad");
  const file = "/etc/nomad/lan.conflist";
  writeFileSync(file, text);
  const result = JSON.parse(nomad("add", file, tenant.netns, "8080:80")) as Result;
  const ips = (result.Interfaces["eth0"]?.IPConfigs ?? []).map((c) => c.IP);
  expect(ips).toEqual(["192.168.122.128"]);
  tenant.prove(
    kind,
    ips.map((ip) => `${ip}/24`),
  );
  w.mapped(8080);
  runPage("nomad");
  nomad("del", file, tenant.netns, "8080:80");
  nomad("del", file, tenant.netns, "8080:80");
  w.nothingIsLeft();
  run(["rm", "-r", "/etc/nomad"]);
});
