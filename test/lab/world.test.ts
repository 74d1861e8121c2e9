import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { HOST, TestWorld } from "../world.ts";

function build(w: TestWorld): void {
  w.namespace("neighbour-with-a-long-name");
  w.namespace("neighbour-with-a-longer-name");
  w.lan("fifteen-letters");
  w.lan("other");
}

test("a world leaves nothing, so the next can be made at once with the same names", () => {
  using outer = new TestWorld();
  const before = outer.snapshot(HOST);
  for (let i = 0; i < 2; i++) {
    using w = new TestWorld();
    build(w);
    w.plug("other", HOST, "eth0", "10.1.0.1/24", "fd00::1/64");
    w.subInterface("eth0", "mv0", { kind: "macvtap", mode: "bridge" });
    expect(w.snapshot(HOST)).not.toEqual(before);
  }
  expect(outer.snapshot(HOST)).toEqual(before);
  expect(existsSync("/run/netns/neighbour-with-a-long-name")).toBe(false);
});

test("long names that begin alike do not collide", () => {
  using w = new TestWorld();
  w.namespace("neighbour-1-of-the-house");
  w.namespace("neighbour-2-of-the-house");
  w.lan("houselan");
  for (const n of [1, 2]) w.plug("houselan", `neighbour-${n}-of-the-house`, "eth0", `10.1.0.${n}/24`);
  expect(w.ip("neighbour-2-of-the-house", "-4 -br address show dev eth0")).toContain("10.1.0.2/24");
});

test("snapshots tell each kind of change, and its undoing restores them", () => {
  using w = new TestWorld();
  w.lan("lan");
  w.plug("lan", HOST, "eth0", "10.1.0.1/24");
  const before = w.snapshot(HOST);
  expect(w.snapshot(HOST)).toEqual(before);
  for (const [make, undo] of [
    ["address add 10.1.0.9/24 dev eth0", "address del 10.1.0.9/24 dev eth0"],
    ["route add 10.5.0.0/16 via 10.1.0.2 table 300", "route del 10.5.0.0/16 via 10.1.0.2 table 300"],
    ["-6 route add fd05::/64 dev eth0", "-6 route del fd05::/64 dev eth0"],
    ["rule add from 10.1.0.9 table 300", "rule del from 10.1.0.9 table 300"],
    ["-6 rule add from fd05::9 table 300", "-6 rule del from fd05::9 table 300"],
    ["neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev eth0", "neigh del 10.1.0.9 dev eth0"],
    ["link set eth0 alias x", "link set eth0 alias "],
    ["link set eth0 mtu 1400", "link set eth0 mtu 1500"],
    ["link set eth0 addrgenmode none", "link set eth0 addrgenmode eui64"],
    ["link add link eth0 mv0 type macvlan mode bridge", "link del mv0"],
  ] as const) {
    w.ip(HOST, make);
    expect(w.snapshot(HOST)).not.toEqual(before);
    if (undo.endsWith(" ")) w.run(["ip", ...undo.trim().split(" "), ""]);
    else w.ip(HOST, undo);
    expect(w.snapshot(HOST)).toEqual(before);
  }
});

test("snapshots tell each kind of setting, of a link and of all", () => {
  using w = new TestWorld();
  w.lan("lan");
  w.plug("lan", HOST, "eth0", "10.1.0.1/24");
  const before = w.snapshot(HOST);
  for (const [key, value, former] of [
    ["net/ipv4/conf/eth0/arp_notify", "1", "0"],
    ["net/ipv6/conf/eth0/ndisc_notify", "1", "0"],
    ["net/ipv6/conf/default/accept_ra", "0", "1"],
    ["net/ipv4/ip_forward", "1", "0"],
  ] as const) {
    w.sysctl(HOST, key, value);
    expect(w.snapshot(HOST)).not.toEqual(before);
    w.sysctl(HOST, key, former);
    expect(w.snapshot(HOST)).toEqual(before);
  }
});

test("programs run in the namespace, with their environment and input", () => {
  using w = new TestWorld();
  w.namespace("c");
  expect(w.run("c", ["sh", "-c", "echo $GREETING; cat; ls /proc/self/net/dev"], { GREETING: "hello" }, "input\n")).toBe(
    "hello\ninput\n/proc/self/net/dev\n",
  );
  expect(w.run("c", ["readlink", "/proc/self/ns/net"])).not.toBe(w.run(["readlink", "/proc/self/ns/net"]));
  expect(() => w.run("c", ["sh", "-c", "echo sorry >&2; exit 3"])).toThrow("exit 3: sorry");
});
