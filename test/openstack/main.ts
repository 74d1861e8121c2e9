// npm run test:openstack [WORD…]: Berth in VMs of a real cloud, started from Debian's packages. Root; all of it runs in
// namespaces of its own, so that nothing of the machine's is touched and nothing stays.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { countsOf } from "../../scripts/junit.ts";
import { mount, MS_PRIVATE, MS_REC } from "../../src/kernel/libc.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { installPackages } from "../packages.ts";
import { packages } from "./real/start.ts";

const root = new URL("../..", import.meta.url).pathname;
const report = `${root}test-results/openstack.xml`;
const namespaces = "--net --mount --pid --fork --kill-child --mount-proc".split(" ");
/** All suites together may take so many seconds. */
const WALL_LIMIT_S = 1800;
const suites = readdirSync(`${root}test/openstack`).filter((f) => f.endsWith(".suite.ts"));

/** In the new namespaces: hides what must not be touched, then runs the suites. */
function inside(words: readonly string[]): number {
  mount("none", "/", "", MS_REC | MS_PRIVATE);
  mount("sysfs", "/sys", "sysfs", 0);
  for (const path of ["/run", "/var/lib"]) mount("tmpfs", path, "tmpfs", 0, "mode=0755");
  using nl = new Netlink();
  nl.do(changeLink("lo", { up: true }));
  // what begins with a dash is for the test runner, as -t=PATTERN
  const names = words.filter((w) => !w.startsWith("-"));
  const chosen = suites.filter((s) => names.length === 0 || names.some((w) => s.includes(w)));
  const flags = [
    ...words.filter((w) => w.startsWith("-")),
    "--timeout=60000",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
  ];
  const files = chosen.map((s) => `./test/openstack/${s}`);
  return Bun.spawnSync([process.execPath, "test", ...flags, ...files], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  }).exitCode;
}

/** Why nothing can be run here; undefined where it can. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return "it needs root: namespaces, and packages to be installed";
  const release = readFileSync("/etc/os-release", "utf8");
  if (!/^ID=debian$/mu.test(release) || !/^VERSION_ID="?12"?$/mu.test(release)) {
    return "it needs Debian 12: the cloud is installed from its packages";
  }
  return undefined;
}

function prepare(): void {
  mkdirSync(`${root}test-results`, { recursive: true });
  rmSync(report, { force: true });
  installPackages([...packages, "iputils-ping"]);
  const r = Bun.spawnSync(["npm", "run", "--silent", "build"], { cwd: root });
  if (r.exitCode !== 0) throw new Error(`npm run build: ${r.stderr.toString()}`);
}

async function outside(words: readonly string[]): Promise<number> {
  let why = obstacle();
  if (why === undefined) {
    try {
      prepare();
    } catch (e) {
      why = e instanceof Error ? e.message : String(e);
    }
  }
  if (why !== undefined) {
    console.log(`None of the suites ${suites.join(", ")} can run here: ${why}`);
    console.log(`0 passed, ${suites.length} failed`);
    return 1;
  }
  const p = Bun.spawn(
    [
      "setpriv",
      "--pdeathsig",
      "KILL",
      "unshare",
      ...namespaces,
      process.execPath,
      import.meta.path,
      "inside",
      ...words,
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  const limit = setTimeout(() => p.kill("SIGKILL"), WALL_LIMIT_S * 1000);
  const code = await p.exited;
  clearTimeout(limit);
  const counts = countsOf(report);
  if (counts === undefined) console.log("there is no report: the suites were ended, or died");
  const { tests = 0, skipped = 0 } = counts ?? {};
  const failed = Math.max(counts?.failed ?? 0, code === 0 && tests > 0 ? 0 : 1);
  console.log(`${Math.max(0, tests - failed - skipped)} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

const words = process.argv.slice(2);
process.exitCode = words[0] === "inside" ? inside(words.slice(1)) : await outside(words);
