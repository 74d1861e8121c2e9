import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { TestWorld } from "./world.ts";

const root = new URL("..", import.meta.url).pathname;
const pages = readdirSync(`${root}docs`).filter((f) => f.endsWith(".md"));

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("office");
  w.lan("tasks");
  for (const name of ["web", "router"]) w.namespace(name);
  w.plug("office", "", "eth0", "192.168.10.22/24", "fd10::22/64");
  w.plug("tasks", "", "eth1");
  mkdirSync("/run/bin");
  writeFileSync("/run/bin/berth", `#!/bin/sh\nexec ${process.execPath} ${root}src/main.ts "$@"\n`);
  // a minimal Debian has no ping: what the page proves by it is proven all the same
  if (Bun.which("ping") === null)
    writeFileSync("/run/bin/ping", `#!/bin/sh\nexec ${process.execPath} ${root}test/ping.ts "$@"\n`);
  for (const program of readdirSync("/run/bin")) chmodSync(`/run/bin/${program}`, 0o755);
});
afterAll(() => w[Symbol.dispose]());

/** The commands of a page that a reader would type, in their order. */
function commandsOf(page: string): string[] {
  const text = readFileSync(`${root}docs/${page}`, "utf8");
  return [...text.matchAll(/^```sh run\n([\s\S]*?)^```/gmu)].flatMap((m) => (m[1] ?? "").trim().split("\n"));
}

describe("the commands in docs/", () => {
  test("there are some", () => {
    expect(pages.flatMap(commandsOf).length).toBeGreaterThan(15);
  });

  test.each(pages)("%s: each of them works, and the page leaves nothing", (page) => {
    for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
    const before = ["", "web", "router"].map((name) => w.snapshot(name));
    for (const command of commandsOf(page)) {
      const r = Bun.spawnSync(["sh", "-c", command], {
        cwd: root,
        env: { PATH: `/run/bin:${process.env["PATH"] ?? ""}` },
      });
      const said = r.stdout.toString() + r.stderr.toString();
      // a kernel without ipvlan or 802.1Q is no fault of the page
      expect({ command, code: r.exitCode, said }).toEqual({ command, code: 0, said });
      if (/^ip .*(proto 98|neigh show|route get)/u.test(command)) expect(said.trim()).not.toBe("");
    }
    expect(["", "web", "router"].map((name) => w.snapshot(name))).toEqual(before);
  });
});

describe("links in the documentation", () => {
  const texts = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/README.md",
    "docs/design/README.md",
    ...pages.map((p) => `docs/${p}`),
  ];
  test.each(texts)("%s leads to what is there", (file) => {
    const directory = file.slice(0, file.lastIndexOf("/") + 1);
    for (const [, target = ""] of readFileSync(root + file, "utf8").matchAll(/\]\(([^)#]+)\)/gu)) {
      expect({ target, there: existsSync(`${root}${directory}${target}`) }).toEqual({ target, there: true });
    }
  });

  test.each(texts)("%s names files that exist", (file) => {
    for (const [, path = ""] of readFileSync(root + file, "utf8").matchAll(
      /`((?:src|test|scripts|examples)\/[\w./-]+\.\w+)`/gu,
    )) {
      expect({ path, there: existsSync(root + path) }).toEqual({ path, there: true });
    }
  });
});
