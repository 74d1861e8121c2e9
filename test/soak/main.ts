// npm run test:soak [-- --pairs N] [--docs]: many calls of dist/berth at once, and then N pairs of ADD and DEL while berth docker and
// berth repair --watch run beside. With --docs the figures are written to docs/reliability.md.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeMachine, hideMachine, inNamespaces, machine, namespacesRefused } from "../../bench/host.ts";
import { Dockerd, errorOf, recorded } from "../docker/dockerd.ts";
import { until } from "../world.ts";
import { type Count, ManyHost, openAtRest, reservations, residentKib } from "./host.ts";
import { addAgainstDel, addDuringGc, addDuringRelease, manyAtOnce } from "./many.ts";

const root = new URL("../../", import.meta.url).pathname;
const executable = `${root}dist/berth`;
const page = `${root}docs/reliability.md`;
/** Calls that are at work at a time. */
const TOGETHER = 8;
const AT_ONCE = 200;
const SOCKET = "/run/docker/plugins/berth.sock";
/** So often it is looked at during the pairs. */
const LOOKS = 10;
/** Of a network and container of Docker's, for each look. */
const LIVES = 5;
/** What a server may grow by after the first tenth, KiB: its heap, between two collections. */
const GROWTH_KIB = 16 * 1024;

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    pairs: { type: "string", default: "20000" },
    docs: { type: "boolean", default: false },
    inside: { type: "boolean", default: false },
  },
});

/** What was seen after a part of the pairs. */
interface Look extends Count {
  readonly pairs: number;
  readonly dockerKib: number;
  readonly watchKib: number;
  readonly descriptors: number;
}

async function pairs(host: ManyHost, count: number): Promise<void> {
  let left = count;
  const worker = async (_: unknown, i: number): Promise<void> => {
    while (left-- > 0) {
      for (const verb of ["ADD", "DEL"]) {
        const { code, out } = await host.call(verb, `c${i}`);
        if (code !== 0) throw new Error(`${verb}: ${out}`);
      }
    }
  };
  await Promise.all(Array.from({ length: TOGETHER }, worker));
}

async function dockerLives(host: ManyHost): Promise<void> {
  const docker = new Dockerd(host, SOCKET);
  for (const message of recorded("default-ipam")) {
    const error = errorOf(await docker.replay(message));
    if (error !== undefined) throw new Error(`${message.call}: ${error}`);
  }
  docker.endAll();
}

async function soak(host: ManyHost, count: number): Promise<Look[]> {
  const docker = host.serve("docker");
  const watch = host.serve("repair", "--watch");
  await until("berth docker listens", () => existsSync(SOCKET));
  const looks: Look[] = [];
  for (let i = 1; i <= LOOKS; i++) {
    await pairs(host, Math.ceil(count / LOOKS));
    for (let n = 0; n < LIVES; n++) await dockerLives(host);
    const look = {
      pairs: i * Math.ceil(count / LOOKS),
      dockerKib: residentKib(docker.pid),
      watchKib: residentKib(watch.pid),
      descriptors: (await openAtRest(docker.pid)) + (await openAtRest(watch.pid)),
      ...host.count(),
    };
    looks.push(look);
    console.error(JSON.stringify(look));
  }
  for (const child of [docker, watch]) {
    child.kill("SIGTERM");
    await child.exited;
  }
  return looks;
}

/** What is not flat, a sentence each. */
function notFlat(looks: readonly Look[]): string[] {
  const [first, last] = [looks[0], looks.at(-1)];
  if (first === undefined || last === undefined) return ["nothing was seen"];
  const counts = (["files", "links", "routes", "rules", "neighbours", "descriptors"] as const).flatMap((key) =>
    looks.every((look) => look[key] === first[key]) ? [] : [`${key}: ${looks.map((l) => l[key]).join(", ")}`],
  );
  const sizes = (["dockerKib", "watchKib"] as const).flatMap((key) =>
    last[key] - first[key] <= GROWTH_KIB ? [] : [`${key}: ${looks.map((l) => l[key]).join(", ")}`],
  );
  return [...counts, ...sizes];
}

function report(looks: readonly Look[], done: readonly string[], seconds: number, on: string): string {
  const heading = ["pairs", "berth docker, MiB", "repair --watch, MiB", "their descriptors"];
  const counts = ["files", "links", "routes", "rules", "neighbours"] as const;
  const rows = looks.map((look) => [
    look.pairs.toLocaleString("en-US"),
    (look.dockerKib / 1024).toFixed(1),
    (look.watchKib / 1024).toFixed(1),
    look.descriptors,
    ...counts.map((key) => look[key]),
  ]);
  const all = [[...heading, ...counts], [...heading, ...counts].map(() => "---"), ...rows];
  const table = all.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
  return `${done.map((line) => `- ${line}`).join("\n")}\n\n${table}\n\n${on}; ${seconds.toFixed(0)} s.`;
}

/** In namespaces. Prints the report, and what does not hold on standard error. */
async function inside(count: number): Promise<number> {
  hideMachine();
  const on = describeMachine(machine());
  const start = performance.now();
  using host = new ManyHost(executable);
  for (let i = 0; i < AT_ONCE; i++) host.container(`c${i}`);
  const done: string[] = [];
  const stages = [
    [`${AT_ONCE} ADDs at once, then ${AT_ONCE} DELs at once`, () => manyAtOnce(host, AT_ONCE)],
    ["ADD and DEL of one attachment at once, 100 times", () => addAgainstDel(host, 100)],
    ["100 ADDs during 5 GCs and 5 `berth gc`", () => addDuringGc(host, 100)],
    [
      `${AT_ONCE} ADDs at once while 200 reservations of the last boot are released`,
      () => addDuringRelease(host, AT_ONCE),
    ],
  ] as const;
  for (const [what, run] of stages) {
    const began = performance.now();
    await run();
    done.push(`${what}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
    console.error(done.at(-1));
  }
  const looks = await soak(host, count);
  done.push(
    `${looks.at(-1)?.pairs.toLocaleString("en-US")} pairs of ADD and DEL, ${TOGETHER} at a time, each a process, and ${LOOKS * LIVES} networks of Docker's with their containers`,
  );
  console.log(report(looks, done, (performance.now() - start) / 1000, on));
  const bad = notFlat(looks);
  if (reservations().size > 0) bad.push(`reservations are left: ${[...reservations().keys()].join(", ")}`);
  for (const line of bad) console.error(`not flat: ${line}`);
  return bad.length;
}

async function main(): Promise<number> {
  const refused = namespacesRefused();
  if (refused !== undefined) {
    console.error(refused);
    return 1;
  }
  const build = Bun.spawnSync([process.execPath, `${root}scripts/build.ts`], { stderr: "inherit" });
  if (build.exitCode !== 0) return 1;
  const command = inNamespaces(process.execPath, import.meta.path, "--inside", "--pairs", values.pairs);
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  const [out] = await Promise.all([child.stdout.text(), child.exited]);
  console.log(out);
  if (child.exitCode === 0 && values.docs) {
    const between = /(<!-- soak -->\n)[^]*(<!-- \/soak -->)/u;
    const text = readFileSync(page, "utf8");
    writeFileSync(
      page,
      text.replace(between, (_, a: string, b: string) => `${a}\n${out.trim()}\n\n${b}`),
    );
    Bun.spawnSync([process.execPath, "fmt", "--no-script", page], { cwd: root });
  }
  return child.exitCode ?? 1;
}

process.exit(values.inside ? await inside(Number(values.pairs)) : await main());
