import { afterAll, beforeAll, expect, test } from "bun:test";
import { strictChains } from "../../src/kernel/firewall.ts";
import { TestWorld } from "../world.ts";

const nftables = Bun.which("nft") !== null;
const iptables = Bun.which("iptables-legacy") !== null;

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.namespace("c");
});
afterAll(() => w[Symbol.dispose]());

function nft(rules: string): void {
  w.run("c", ["nft", rules]);
}

test("where nothing filters there is nothing to tell", () => {
  expect(strictChains()).toEqual([]);
  expect(strictChains(w.at("c"))).toEqual([]);
});

test.skipIf(!nftables)(
  "nftables (skipped where nft is not installed): filter chains that drop by default on the way of the namespace's own packets, and no others",
  () => {
    nft("add table inet fw");
    nft("add chain inet fw in { type filter hook input priority 0; policy drop; }");
    nft("add chain inet fw out { type filter hook output priority 0; policy accept; }");
    nft("add chain inet fw through { type filter hook forward priority 0; policy drop; }");
    nft("add chain inet fw plain");
    nft("add table ip6 six");
    nft("add chain ip6 six pre { type filter hook prerouting priority -300; policy drop; }");
    nft("add table arp a");
    nft("add chain arp a in { type filter hook input priority 0; policy drop; }");
    expect(strictChains(w.at("c"))).toEqual([
      { tool: "nft", name: "inet fw in", hook: "input" },
      { tool: "nft", name: "ip6 six pre", hook: "prerouting" },
    ]);
    expect(strictChains()).toEqual([]);
    nft("flush ruleset");
  },
);

test.skipIf(!iptables)(
  "the older iptables (skipped where it is not installed): policies, with rules before them, in both families",
  () => {
    w.run("c", ["iptables-legacy", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT"]);
    expect(strictChains(w.at("c"))).toEqual([]);
    w.run("c", ["iptables-legacy", "-P", "INPUT", "DROP"]);
    w.run("c", ["iptables-legacy", "-P", "FORWARD", "DROP"]);
    w.run("c", ["ip6tables-legacy", "-A", "OUTPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT"]);
    w.run("c", ["ip6tables-legacy", "-P", "OUTPUT", "DROP"]);
    expect(strictChains(w.at("c"))).toEqual([
      { tool: "iptables", name: "INPUT", hook: "input" },
      { tool: "ip6tables", name: "OUTPUT", hook: "output" },
    ]);
    w.run("c", ["iptables-legacy", "-P", "INPUT", "ACCEPT"]);
    w.run("c", ["ip6tables-legacy", "-P", "OUTPUT", "ACCEPT"]);
    expect(strictChains(w.at("c"))).toEqual([]);
  },
);

test.skipIf(!iptables)("what iptables-nft sets is seen as nftables", () => {
  w.run("c", ["iptables-nft", "-P", "INPUT", "DROP"]);
  expect(strictChains(w.at("c"))).toEqual([{ tool: "nft", name: "ip filter INPUT", hook: "input" }]);
});
