// npm run test:clients [WORD…] [-- --record]: the programs that call CNI plugins, each as Debian ships it, against dist/berth.
import { packages as cloudPackages } from "../openstack/real/start.ts";
import { installPackages } from "../packages.ts";
import { build, notDebian12, runSuites } from "../suites.ts";
import { joinCgroups, removeCgroups } from "./cgroups.ts";
import { hideMachine } from "./machine.ts";
import { packagesOf } from "./packages.ts";

const root = new URL("../..", import.meta.url).pathname;
const results = "dist/results/clients";
/** The suite that starts a cloud of its own, whose packages no other needs. */
const CLOUD = "neutron";
const RECORD = "--record";

/** Builds a Go program against the libraries that Debian packages. Throws with the compiler's words. */
function buildGo(name: string): void {
  const r = Bun.spawnSync(["go", "build", "-o", `${root}${results}/${name}`, `${root}test/clients/${name}/main.go`], {
    env: { ...process.env, GOPATH: "/usr/share/gocode", GO111MODULE: "off", GOFLAGS: "" },
  });
  if (r.exitCode !== 0) throw new Error(`go build ${name}: ${r.stderr.toString()}`);
}

await runSuites({
  main: import.meta.path,
  results,
  namespaces: ["--cgroup"],
  apart: true,
  limitS: 600,
  timeoutMs: 240_000,
  ownFlags: [RECORD],
  obstacle: () => notDebian12("the runtimes are installed from its packages"),
  prepare(suites) {
    installPackages([...packagesOf(`${root}docs`), ...(suites.includes(CLOUD) ? cloudPackages : [])]);
    console.log("building dist/berth and the Go callers");
    build();
    for (const name of ["libcni", "nomad"]) buildGo(name);
  },
  enter: joinCgroups,
  leave: removeCgroups,
  hide(own) {
    hideMachine(`${root}dist/berth`);
    return {
      PATH: "/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: "/run/home",
      TMPDIR: "/run/tmp",
      LC_ALL: "C.UTF-8",
      CLIENT_PROGRAMS: `${root}${results}`,
      ...(own.includes(RECORD) ? { CLIENT_RECORD: `${root}test/clients/recorded` } : {}),
    };
  },
});
