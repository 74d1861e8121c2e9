// What the suites need from Debian: what the pages tell a reader to install, and what tests need beside it.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

/** For the Go callers, the rootfs, the standard plugins that Berth is chained with. */
const own = [
  "golang-go",
  "golang-github-appc-cni-dev",
  "golang-github-containerd-go-cni-dev",
  "busybox-static",
  "containernetworking-plugins",
  "iproute2",
  "iptables",
];
const POLICY = "/usr/sbin/policy-rc.d";

/** The packages of the pages' `apt-get install` lines, and the tests' own. */
export function packagesOf(docs: string): string[] {
  const pages = readdirSync(docs).filter((f) => f.endsWith(".md"));
  const named = pages.flatMap((page) =>
    [...readFileSync(`${docs}/${page}`, "utf8").matchAll(/^apt-get install (.*)$/gmu)].flatMap((m) =>
      (m[1] ?? "").split(" ").filter((word) => word !== "" && !word.startsWith("-")),
    ),
  );
  return [...new Set([...named, ...own])];
}

function isInstalled(name: string): boolean {
  const r = Bun.spawnSync(["dpkg-query", "-W", "-f", "${Status}", name], { stderr: "ignore" });
  return r.stdout.toString() === "install ok installed";
}

function apt(...args: string[]): { readonly good: boolean; readonly said: string } {
  const r = Bun.spawnSync(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600", ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  return { good: r.exitCode === 0, said: `${r.stdout.toString()}${r.stderr.toString()}`.trim() };
}

/** Installs what is missing, and starts none of its services. Throws with apt's words. */
export function installPackages(names: readonly string[]): void {
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  console.log(`installing ${missing.join(" ")}`);
  const foreign = existsSync(POLICY);
  if (!foreign) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    const install = (): ReturnType<typeof apt> => apt("install", "-y", "--no-install-recommends", ...missing);
    const first = install();
    if (first.good) return;
    apt("update");
    const second = install();
    if (!second.good) throw new Error(`apt-get install ${missing.join(" ")}: ${second.said.slice(-1000)}`);
  } finally {
    if (!foreign) rmSync(POLICY, { force: true });
  }
}
