// npm run test:clients [WORD…] [-- --record]: the programs that call CNI plugins, each as Debian ships it, against dist/berth. Root; each
// suite has namespaces of its own, cgroups included, so that nothing of the machine's is touched and nothing stays.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { type Counts, countsOf } from "../../scripts/junit.ts";
import { joinCgroups, removeCgroups } from "./cgroups.ts";
import { hideMachine } from "./machine.ts";
import { installPackages } from "../packages.ts";
import { packages as cloudPackages } from "../openstack/real/start.ts";
import { packagesOf } from "./packages.ts";

const root = new URL("../..", import.meta.url).pathname;
const self = import.meta.path;
/** Programs and reports; not in test-results, which `npm test` begins by emptying. */
const results = `${root}dist/clients`;
/** A suite that takes longer than this many seconds is ended and counts as failed. */
const WALL_LIMIT_S = 600;
const namespaces = "--net --mount --pid --cgroup --fork --kill-child --mount-proc --propagation private".split(" ");
/** The suite that starts a cloud of its own, whose packages no other needs. */
const CLOUD = "neutron";
/** A first process that waits for orphans, as an init would; a runtime takes a zombie for a living container. */
const init = ["sh", "-c", '"$@" & wait $!', "init"];
const [mode, ...args] = process.argv.slice(2);

/** In cgroups of its own: makes the namespaces. */
function enter(suite: string, cgroup: string): number {
  joinCgroups(cgroup);
  const command = [...init, process.execPath, self, "inside", suite];
  const stdio = ["ignore", "inherit", "inherit"] as const;
  return Bun.spawnSync(["setpriv", "--pdeathsig", "KILL", "unshare", ...namespaces, ...command], { stdio: [...stdio] })
    .exitCode;
}

/** In the namespaces: hides the machine's state, then runs the suite. */
function inside(suite: string): number {
  hideMachine(`${root}dist/berth`);
  const report = ["--reporter=junit", `--reporter-outfile=${results}/${suite}.xml`];
  const r = Bun.spawnSync(
    [process.execPath, "test", "--timeout=240000", ...report, `./test/clients/${suite}.suite.ts`],
    {
      cwd: root,
      env: {
        PATH: "/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        HOME: "/run/home",
        TMPDIR: "/run/tmp",
        LC_ALL: "C.UTF-8",
        CLIENT_PROGRAMS: results,
        ...(process.env["CLIENT_RECORD"] === undefined ? {} : { CLIENT_RECORD: process.env["CLIENT_RECORD"] }),
      },
      stdio: ["ignore", "inherit", "inherit"],
    },
  );
  return r.exitCode;
}

async function runSuite(suite: string): Promise<Counts> {
  console.log(`\n== ${suite}`);
  const cgroup = `berth-clients-${process.pid}`;
  const p = Bun.spawn([process.execPath, self, "enter", suite, cgroup], {
    env: process.env,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const limit = setTimeout(() => p.kill("SIGKILL"), WALL_LIMIT_S * 1000);
  const code = await p.exited;
  clearTimeout(limit);
  removeCgroups(cgroup);
  const counts = countsOf(`${results}/${suite}.xml`);
  if (counts !== undefined && counts.tests > 0 && (code === 0 || counts.failed > 0)) return counts;
  console.log(
    `${suite}: ended with ${code === 0 ? "no test" : `exit status ${code}`}${counts ? "" : " and no report"}`,
  );
  return { tests: counts?.tests ?? 1, failed: Math.max(1, counts?.failed ?? 0), skipped: counts?.skipped ?? 0 };
}

/** Why nothing can be run here; undefined where it can. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return "it needs root: container runtimes are started";
  const release = readFileSync("/etc/os-release", "utf8");
  if (!/^ID=debian$/mu.test(release) || !/^VERSION_ID="?12"?$/mu.test(release)) {
    return "it needs Debian 12: the runtimes are installed from its packages";
  }
  return undefined;
}

/** Builds a Go program against the libraries that Debian packages. Throws with the compiler's words. */
function buildGo(name: string): void {
  const r = Bun.spawnSync(["go", "build", "-o", `${results}/${name}`, `${root}test/clients/${name}/main.go`], {
    env: { ...process.env, GOPATH: "/usr/share/gocode", GO111MODULE: "off", GOFLAGS: "" },
  });
  if (r.exitCode !== 0) throw new Error(`go build ${name}: ${r.stderr.toString()}`);
}

function prepare(suites: readonly string[]): void {
  rmSync(results, { recursive: true, force: true });
  mkdirSync(results, { recursive: true });
  installPackages([...packagesOf(`${root}docs`), ...(suites.includes(CLOUD) ? cloudPackages : [])]);
  console.log("building dist/berth and the Go callers");
  const r = Bun.spawnSync(["npm", "run", "--silent", "build"], { cwd: root });
  if (r.exitCode !== 0) throw new Error(`npm run build: ${r.stderr.toString()}`);
  for (const name of ["libcni", "nomad"]) buildGo(name);
}

async function outside(words: readonly string[]): Promise<number> {
  const suites = readdirSync(`${root}test/clients`)
    .flatMap((f) => (f.endsWith(".suite.ts") ? [f.slice(0, -".suite.ts".length)] : []))
    .filter((s) => words.length === 0 || words.some((word) => s.includes(word)))
    .toSorted();
  let why = obstacle();
  if (why === undefined) {
    try {
      prepare(suites);
    } catch (e) {
      why = e instanceof Error ? e.message : String(e);
    }
  }
  if (why !== undefined) {
    console.log(`None of the suites ${suites.join(", ")} can run here: ${why}`);
    console.log(`0 passed, ${suites.length} failed`);
    return 1;
  }
  const all: Counts[] = [];
  for (const suite of suites) all.push(await runSuite(suite));
  const sum = (key: keyof Counts): number => all.reduce((n, c) => n + c[key], 0);
  const [failed, skipped] = [sum("failed"), sum("skipped")];
  console.log(
    `\n${sum("tests") - failed - skipped} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`,
  );
  return failed > 0 || suites.length === 0 ? 1 : 0;
}

const [suite = "", cgroup = ""] = args;
if (mode === "enter") process.exitCode = enter(suite, cgroup);
else if (mode === "inside") process.exitCode = inside(suite);
else {
  const words = process.argv.slice(2);
  if (words.includes("--record")) process.env["CLIENT_RECORD"] = `${root}test/clients/recorded`;
  process.exitCode = await outside(words.filter((word) => !word.startsWith("-")));
}
