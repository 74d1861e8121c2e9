// npm run test:guests [WORD…]: virtual machines that `berth vm` runs and moves, in QEMU. Root, as device nodes are made; all
// of it runs in namespaces of its own, so that nothing of the machine's is touched and nothing stays.
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { countsOf } from "../../scripts/junit.ts";
import { mount, MS_BIND, MS_PRIVATE, MS_REC } from "../../src/kernel/libc.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { installPackages } from "../packages.ts";
import { makeImages } from "./images.ts";

const root = new URL("../..", import.meta.url).pathname;
const report = `${root}test-results/guests.xml`;
const namespaces = "--net --mount --pid --fork --kill-child --mount-proc".split(" ");
const packages = ["qemu-system-x86", "busybox-static", "iproute2", "iputils-ping", "kmod", "xz-utils"];
/** All suites together may take so many seconds. */
const WALL_LIMIT_S = 3600;
const suites = readdirSync(import.meta.dir).filter((f) => f.endsWith(".suite.ts"));

/** In the new namespaces: hides what must not be touched, then runs the suites. */
function inside(words: readonly string[]): number {
  mount("none", "/", "", MS_REC | MS_PRIVATE);
  for (const path of ["/run", "/var/lib"]) mount("tmpfs", path, "tmpfs", 0, "mode=0755");
  // the new /sys shows this namespace's links; the control groups below it stay
  mkdirSync("/run/cgroups");
  mount("/sys/fs/cgroup", "/run/cgroups", "", MS_BIND | MS_REC);
  mount("sysfs", "/sys", "sysfs", 0);
  mount("/run/cgroups", "/sys/fs/cgroup", "", MS_BIND | MS_REC);
  using nl = new Netlink();
  nl.do(changeLink("lo", { up: true }));
  // what begins with a dash is for the test runner, as -t=PATTERN
  const names = words.filter((w) => !w.startsWith("-"));
  const chosen = suites.filter((s) => names.length === 0 || names.some((w) => s.includes(w)));
  const flags = [
    ...words.filter((w) => w.startsWith("-")),
    "--timeout=600000",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
  ];
  const files = chosen.map((s) => `./test/guests/${s}`);
  const stdio = ["ignore", "inherit", "inherit"] as const;
  return Bun.spawnSync([process.execPath, "test", ...flags, ...files], { cwd: root, stdio: [...stdio] }).exitCode;
}

/** Why nothing can be run here; undefined where it can. */
async function obstacle(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "it needs root: device nodes are made";
  mkdirSync(`${root}test-results`, { recursive: true });
  rmSync(report, { force: true });
  try {
    installPackages(packages);
    await makeImages(); // from within the namespaces they could not be made
    return undefined;
  } catch (e) {
    return e instanceof Error ? e.message : String(e);
  }
}

async function outside(words: readonly string[]): Promise<number> {
  const why = await obstacle();
  if (why !== undefined) {
    console.log(`None of the suites ${suites.join(", ")} can run here: ${why}`);
    console.log(`0 passed, ${suites.length} failed`);
    return 1;
  }
  const enter = ["setpriv", "--pdeathsig", "KILL", "unshare", ...namespaces];
  const p = Bun.spawn([...enter, process.execPath, import.meta.path, "inside", ...words], {
    env: process.env, // with what was set here
    stdio: ["ignore", "inherit", "inherit"],
  });
  const limit = setTimeout(() => p.kill("SIGKILL"), WALL_LIMIT_S * 1000);
  const code = await p.exited;
  clearTimeout(limit);
  const counts = countsOf(report);
  if (counts === undefined) console.log("there is no report: the suites were ended, or died");
  const { tests = 0, skipped = 0 } = counts ?? {};
  const failed = Math.max(counts?.failed ?? 0, code === 0 && tests > 0 ? 0 : 1);
  console.log(
    `${Math.max(0, tests - failed - skipped)} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`,
  );
  return failed > 0 ? 1 : 0;
}

const words = process.argv.slice(2);
process.exitCode = words[0] === "inside" ? inside(words.slice(1)) : await outside(words);
