import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { applyPlan } from "../../src/plan/plan.ts";
import { Places } from "../../src/plan/places.ts";
import type { Step } from "../../src/plan/step.ts";
import { parseCidr } from "../../src/address/cidr.ts";
import { failureOf } from "../failing.ts";
import { TestWorld } from "../world.ts";

const NETNS = "/run/netns/c";
let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  for (const name of ["router", "c"]) w.namespace(name);
  w.sysctl("c", "net/ipv6/conf/default/accept_dad", "0");
  w.plug("lan", "", "eth1");
  w.plug("lan", "router", "eth0", "192.168.0.1/24", "fd00::1/64");
});
beforeEach(() => w.ip("router", "link set eth0 up"));
afterAll(() => w[Symbol.dispose]());

function address(text: string): Step {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw new Error(text);
  return { type: "address", where: "container", link: "eth0", address: cidr };
}

function plan(required: boolean, timeoutMs: number): Step[] {
  return [
    {
      type: "link",
      where: "container",
      name: "eth0",
      parent: { name: "eth1", where: "host" },
      detail: { kind: "macvlan", mode: "bridge" },
      mac: "02:00:00:00:00:01",
    },
    address("192.168.0.7/24"),
    address("fd00::7/64"),
    { type: "up", where: "container", link: "eth0", alias: "berth:x" },
    {
      type: "reach",
      where: "container",
      link: "eth0",
      gateways: [
        { from: "192.168.0.7", gateway: "192.168.0.1" },
        { from: "fd00::7", gateway: "fd00::1" },
      ],
      timeoutMs,
      required,
    },
  ];
}

test("gateways that answer are not waited for, and one that begins to answer is heard", async () => {
  using places = Places.open(NETNS);
  expect(await applyPlan(plan(true, 10_000), places)).toEqual([]);
  w.ip("c", "link del eth0");
  w.ip("router", "link set eth0 down");
  const later = Bun.spawn([
    "sh",
    "-c",
    "sleep 1; ip -n router link set eth0 up; ip -n router addr add fd00::1/64 dev eth0 nodad",
  ]);
  const start = performance.now();
  expect(await applyPlan(plan(true, 10_000), places)).toEqual([]);
  expect(performance.now() - start).toBeGreaterThan(500);
  await later.exited;
  w.ip("c", "link del eth0");
});

test("silent ones are remarked, or fail the plan where they are required, which is undone", async () => {
  w.ip("router", "link set eth0 down");
  using places = Places.open(NETNS);
  expect(await applyPlan(plan(false, 300), places)).toEqual([
    "the gateway 192.168.0.1 did not answer 192.168.0.7 on eth0 within 300 ms: the network may not pass its frames yet",
    "the gateway fd00::1 did not answer fd00::7 on eth0 within 300 ms: the network may not pass its frames yet",
  ]);
  w.ip("c", "link del eth0");
  const failure = await failureOf(applyPlan(plan(true, 300), places));
  expect(failure.reason).toBe("busy");
  expect(failure.message).toContain("the gateway 192.168.0.1 did not answer 192.168.0.7");
  expect(w.ip("c", "link show")).not.toContain("eth0");
});
