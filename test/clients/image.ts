// A container image without a registry: busybox, its names, and a web tree.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { run, webTree } from "./host.ts";

/** The image's name. */
export const IMAGE = "docker.io/library/busybox:latest";
/** What a container of it runs that is told nothing else. */
export const SERVER = ["/bin/httpd", "-f", "-p", "[::]:80", "-h", "/www"] as const;

/** Makes the root file system in a directory. */
export function makeRootfs(directory: string): void {
  for (const d of ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "run"]) {
    mkdirSync(`${directory}/${d}`, { recursive: true });
  }
  copyFileSync("/bin/busybox", `${directory}/bin/busybox`);
  for (const name of run(["busybox", "--list"]).trim().split("\n")) {
    if (name !== "busybox") symlinkSync("busybox", `${directory}/bin/${name}`);
  }
  writeFileSync(`${directory}/etc/passwd`, "root:x:0:0:root:/root:/bin/sh\n");
  writeFileSync(`${directory}/etc/group`, "root:x:0:\n");
  webTree(`${directory}/www`);
}

/** Writes the image as `docker save` would: one layer, a configuration, a manifest. */
export function makeArchive(file: string): void {
  const directory = mkdtempSync("/run/tmp/image-");
  makeRootfs(`${directory}/rootfs`);
  run(["tar", "-C", `${directory}/rootfs`, "-cf", `${directory}/layer.tar`, "."]);
  const digest = run(["sha256sum", `${directory}/layer.tar`]).slice(0, 64);
  const config = {
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: { Cmd: SERVER, Env: ["PATH=/bin"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  writeFileSync(`${directory}/config.json`, JSON.stringify(config));
  const manifest = [{ Config: "config.json", RepoTags: [IMAGE], Layers: ["layer.tar"] }];
  writeFileSync(`${directory}/manifest.json`, JSON.stringify(manifest));
  run(["tar", "-C", directory, "-cf", file, "manifest.json", "config.json", "layer.tar"]);
  rmSync(directory, { recursive: true });
}
