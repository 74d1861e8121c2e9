import { describe, expect, test } from "bun:test";
import { missingKind } from "../kernel-kinds.ts";

const main = `${import.meta.dir}/../../src/main.ts`;

function lab(...flags: string[]): { code: number; out: string } {
  const r = Bun.spawnSync([process.execPath, main, "lab", "tunnels", ...flags], {
    argv0: "berth",
    env: { PATH: process.env["PATH"] ?? "" },
  });
  return { code: r.exitCode, out: r.stdout.toString() + r.stderr.toString() };
}

interface Proof {
  readonly from: string;
  readonly to: string;
  readonly by: string;
  readonly expected: string;
  readonly held: boolean;
  readonly detail: string;
}

interface Report {
  readonly ok: boolean;
  readonly tunnel: string;
  readonly proofs: readonly Proof[];
  readonly whole: readonly Proof[];
  readonly left: readonly Proof[];
}

const noFilter =
  Bun.which("nft") === null && Bun.which("iptables") === null
    ? " (this machine has neither nft nor iptables)"
    : undefined;

// VXLAN stands in for GRE where the kernel has none
const noGre = missingKind("gretap");
for (const [kind, mtu] of [noGre === undefined ? (["gretap", 1458] as const) : (["vxlan", 1450] as const)]) {
  const missing = missingKind(kind) ?? noFilter;
  describe.skipIf(missing !== undefined)(`berth lab tunnels --tunnel ${kind}${missing ?? ""}`, () => {
    test("shows the drawing, what was done, and who reaches whom", () => {
      const { code, out } = lab("--tunnel", kind);
      expect({ code, out }).toMatchObject({ code: 0 });
      for (const text of [
        `║ ${kind}, MTU ${mtu}`,
        "route      10.90.0.21/32 dev berth-tun1 src 192.168.10.11",
        "route      192.168.10.31/32 dev berth-eth0 src 192.168.10.11",
        "✔ agent-a 192.168.10.11 → app-a 10.90.0.21  TCP",
        "✔ outside 198.51.100.9 → app-b 203.0.113.22  TCP",
        `${mtu} bytes whole: reply`,
        "✔ host-b: records and device nodes: nothing left",
        "All 315 proofs held.",
      ]) {
        expect(out).toContain(text);
      }
    });

    test("for machines: each way by name, what is translated, what has no way, and that nothing is left", () => {
      const { code, out } = lab("--tunnel", kind, "--json");
      const report = JSON.parse(out) as Report;
      expect({ code, ok: report.ok, tunnel: report.tunnel }).toEqual({ code: 0, ok: true, tunnel: kind });
      const detail = (from: string, to: string): string[] =>
        report.proofs.filter((p) => p.from === from && p.to === to && p.held && p.by === "TCP").map((p) => p.detail);
      for (const [from, to, seenAs] of [
        ["app-a 10.90.0.21", "vm-a 10.90.0.31", "10.90.0.21"], // one host
        ["app-a fd90::21", "vm-b fd90::32", "fd90::21"], // the other host
        ["app-a 10.90.0.21", "vm-c 203.0.113.33", "10.90.0.21"], // another network, by the router
        ["app-a 10.90.0.21", "router 10.90.0.1", "10.90.0.21"],
        ["app-a 10.90.0.21", "outside 198.51.100.9", "198.51.100.1"], // translated
        ["agent-a 192.168.10.11", "app-a 10.90.0.21", "192.168.10.11"],
        ["app-b 2001:db8:113::22", "agent-b fd10::12", "2001:db8:113::22"],
        ["agent-b 192.168.10.12", "vm-b 10.90.0.32", "192.168.10.12"],
        ["vm-a/lan 192.168.10.31", "agent-b 192.168.10.12", "192.168.10.31"],
        ["outside 2001:db8:51::9", "app-b 2001:db8:113::22", "2001:db8:51::9"],
      ] as const) {
        expect(detail(from, to)).toEqual([expect.stringContaining(`seen as coming from ${seenAs}`)]);
      }
      const without = report.proofs.filter((p) => p.from.startsWith("outside") && p.to.startsWith("app-a"));
      expect(without.map((p) => p.expected)).toEqual(["fails", "fails", "fails", "fails"]);
      expect(report.whole.map((p) => p.detail.split(":")[0])).toContain(`${mtu + 1} bytes whole`);
      expect(report.left).toHaveLength(11);
      for (const p of [...report.proofs, ...report.whole, ...report.left]) expect(p).toMatchObject({ held: true });
    });
  });
}

test.skipIf(noGre === undefined)("without GRE it says how it can be seen all the same", () => {
  const { code, out } = lab();
  expect(code).toBe(1);
  for (const text of [
    "this kernel has no gretap",
    "berth lab tunnels --tunnel vxlan",
    "npm run test:vm -- test/lab/tunnels",
  ])
    expect(out).toContain(text);
});
