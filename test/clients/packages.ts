// What the suites need from Debian: what the pages tell a reader to install, and what tests need beside it.
import { readdirSync, readFileSync } from "node:fs";

/** For the Go callers, the rootfs, the standard plugins that Berth is chained with. */
const own = [
  "golang-go",
  "golang-github-appc-cni-dev",
  "golang-github-containerd-go-cni-dev",
  "busybox-static",
  "containernetworking-plugins",
  "iproute2",
  "iputils-ping",
  "iptables",
];

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
