// The lab's second act with real virtual machines: berth lab tunnels --vm.
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { images } from "./images.ts";

const main = `${import.meta.dir}/../../src/main.ts`;
const { bzImage } = images();

interface Proof {
  readonly from: string;
  readonly to: string;
  readonly by: string;
  readonly held: boolean;
  readonly detail: string;
}

interface Report {
  readonly ok: boolean;
  readonly proofs: readonly Proof[];
  readonly whole: readonly Proof[];
  readonly left: readonly Proof[];
}

function lab(flags: readonly string[], env: Readonly<Record<string, string>> = {}): { code: number; out: string } {
  const r = Bun.spawnSync([process.execPath, main, "lab", "tunnels", ...flags], {
    argv0: "berth",
    env: { PATH: process.env["PATH"] ?? "", ...env },
  });
  return { code: r.exitCode, out: r.stdout.toString() + r.stderr.toString() };
}

function guestsFiles(): string[] {
  return readdirSync(tmpdir()).filter((f) => f.startsWith("berth-guest-"));
}

// VXLAN, as this machine's kernel may have no GRE
test("all pairs reach each other where QEMU runs the virtual machines, by each of their legs, and nothing is left", () => {
  const before = guestsFiles();
  const { code, out } = lab(["--tunnel", "vxlan", "--vm", bzImage, "--json"]);
  expect({ code, out: code === 0 ? "" : out }).toEqual({ code: 0, out: "" });
  const report = JSON.parse(out) as Report;
  const all = [...report.proofs, ...report.whole, ...report.left];
  for (const p of all) expect(p).toMatchObject({ held: true });
  const named = new Set(report.proofs.map((p) => `${p.from.split(" ")[0]} ${p.to.split(" ")[0]} ${p.by}`));
  for (const [a, b] of [
    ["vm-a", "app-a"], // one host
    ["vm-a", "app-b"], // the other host
    ["vm-a", "vm-b"],
    ["vm-b", "vm-c"], // another network, by the router
    ["vm-a", "agent-a"], // its own host
    ["vm-c", "outside"],
    ["vm-a/lan", "agent-b"], // its second leg
  ])
    for (const by of ["ICMP", "TCP"])
      for (const way of [`${a} ${b}`, `${b} ${a}`]) expect(named).toContain(`${way} ${by}`);
  // in a guest, the kernel of the guest says what is too long
  const tooLong = report.whole.find((p) => p.from.startsWith("vm-c") && p.detail.startsWith("1451"));
  expect(tooLong?.detail).toContain("message too long");
  expect(report.left.map((p) => p.from)).toContain("host-a: records and device nodes");
  expect(guestsFiles()).toEqual(before);
}, 600_000);

test("what is missing is named: the kernel, its modules, programs, root", () => {
  expect(lab(["--vm", "/nowhere/vmlinuz"])).toMatchObject({
    code: 1,
    out: expect.stringContaining("there is no kernel /nowhere/vmlinuz"),
  });
  const [none, alone] = ["none", "alone"].map((n) => `${tmpdir()}/berth-lab-${n}-${process.pid}`) as [string, string];
  writeFileSync(none, "this is none");
  expect(lab(["--vm", none])).toMatchObject({
    code: 1,
    out: expect.stringContaining(`${none}: it is no x86 kernel image`),
  });
  copyFileSync(bzImage, alone);
  expect(lab(["--vm", alone])).toMatchObject({ code: 1, out: expect.stringContaining("depmod -b DIR RELEASE") });
  for (const file of [none, alone]) rmSync(file);
  // a place with what the lab itself starts, and no more
  mkdirSync("/run/few");
  for (const program of ["unshare", "mount", "sh"]) symlinkSync(Bun.which(program) ?? "", `/run/few/${program}`);
  expect(lab(["--vm", bzImage], { PATH: "/run/few" })).toMatchObject({
    code: 1,
    out: expect.stringContaining("qemu-system-x86_64 (Debian's package qemu-system-x86)"),
  });
  const user = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    process.execPath,
    main,
    "lab",
    "tunnels",
  ];
  const r = Bun.spawnSync([...user, "--vm", bzImage], { env: { PATH: process.env["PATH"] ?? "", HOME: "/tmp" } });
  expect(r.exitCode).toBe(1);
  expect(r.stdout.toString() + r.stderr.toString()).toContain("device nodes, which root alone may make");
});
