import { describe, expect, test } from "bun:test";

const main = `${import.meta.dir}/../../src/main.ts`;

function lab(...flags: string[]): { code: number; out: string } {
  const r = Bun.spawnSync([process.execPath, main, "lab", "routing", ...flags], {
    argv0: "berth",
    env: { PATH: process.env["PATH"] ?? "" },
  });
  return { code: r.exitCode, out: r.stdout.toString() + r.stderr.toString() };
}

interface Report {
  readonly ok: boolean;
  readonly problem: readonly { readonly by: string; readonly held: boolean; readonly detail: string }[];
  readonly proofs: readonly {
    readonly from: string;
    readonly to: string;
    readonly by: string;
    readonly held: boolean;
  }[];
  readonly left: readonly { readonly held: boolean }[];
  readonly reasons: readonly string[];
  readonly state: { readonly host: readonly string[]; readonly task: readonly string[] };
}

describe("berth lab routing", () => {
  test("shows the problem, the routes and the proofs, and that nothing is left", () => {
    const { code, out } = lab();
    expect(code).toBe(0);
    for (const text of [
      "┌─ host ─",
      "the task's namespace has no route to 192.168.10.22",
      '"hostrouteif": "macvtap1"',
      "route      192.168.122.177/32 dev macvtap1 src 192.168.10.22",
      "route      192.168.10.22/32 dev eth0 src 192.168.122.177",
      "✔ agent 192.168.10.22 → task 192.168.122.177  TCP",
      "✔ Berth: records: nothing left",
      "All 17 proofs held.",
    ]) {
      expect(out).toContain(text);
    }
  });

  test("for machines: every proof by name", () => {
    const { code, out } = lab("--json");
    const report = JSON.parse(out) as Report;
    expect({ code, ok: report.ok }).toEqual({ code: 0, ok: true });
    expect(report.problem).toHaveLength(4);
    expect(report.proofs.map((p) => `${p.from.split(" ")[0]} ${p.to.split(" ")[0]} ${p.by}`)).toEqual(
      [
        ["agent", "task"],
        ["task", "agent"],
        ["neighbour", "task"],
        ["task", "neighbour"],
      ].flatMap(([a, b]) => [`${a} ${b} ICMP`, `${a} ${b} TCP`]),
    );
    expect(report.left).toHaveLength(5);
    for (const p of [...report.problem, ...report.proofs, ...report.left]) expect(p.held).toBe(true);
  });

  test("--keep leaves it standing, with a command to enter it, until interrupted", async () => {
    const p = Bun.spawn([process.execPath, main, "lab", "routing", "--keep"], {
      argv0: "berth",
      env: { PATH: process.env["PATH"] ?? "" },
      stdout: "pipe",
    });
    let text = "";
    const decoder = new TextDecoder();
    const reader = p.stdout.getReader();
    while (!text.includes("preserve-credentials")) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value);
    }
    const command = /nsenter .*preserve-credentials/u.exec(text)?.[0] ?? "false";
    const inside = Bun.spawnSync(["sh", "-c", `${command} ip route show proto 98`]);
    expect(inside.stdout.toString()).toContain("192.168.122.177 dev macvtap1");
    const pid = /--target (\d+)/u.exec(command)?.[1] ?? "0";
    process.kill(Number(pid), "SIGINT");
    while (!text.includes("proofs held")) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value);
    }
    expect(text).toContain("All 17 proofs held.");
    expect(await p.exited).toBe(0);
  });
});
