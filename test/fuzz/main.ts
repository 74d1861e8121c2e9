// npm run test:fuzz [TARGET…] [-- --cases N --seed S --from I]: random input for everything that reads what others write.
// It runs in namespaces of its own, with tmpfs in the place of /run and /var/lib.
import { parseArgs } from "node:util";
import { hideMachine, inNamespaces, namespacesRefused } from "../../bench/host.ts";
import { describeDefect, fuzz } from "./engine.ts";
import { targets } from "./targets.ts";

const CASES = 100_000;
/** How often the line that tells how far it is is written, milliseconds. */
const PROGRESS_MS = 1000;

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    cases: { type: "string", default: `${CASES}` },
    seed: { type: "string", default: "1" },
    from: { type: "string", default: "0" },
    inside: { type: "boolean", default: false },
  },
});

function natural(name: string, text: string): number {
  if (/^\d{1,12}$/u.test(text)) return Number(text);
  throw new Error(`--${name} ${text}: it is no whole number`);
}

async function inside(): Promise<number> {
  hideMachine();
  const [cases, seed, from] = [
    natural("cases", values.cases),
    natural("seed", values.seed),
    natural("from", values.from),
  ];
  const unknown = positionals.filter((name) => !targets.some((t) => t.name === name));
  if (unknown.length > 0) {
    console.error(`there is no target ${unknown.join(", ")}; the targets are:`);
    for (const { name, brief } of targets) console.error(`  ${name.padEnd(14)} ${brief}`);
    return 1;
  }
  let failed = false;
  console.log("target               cases   seconds   refused   slowest, ms (case)   RSS, MiB   defects");
  for (const target of targets.filter((t) => positionals.length === 0 || positionals.includes(t.name))) {
    let told = performance.now();
    const outcome = await fuzz(target, {
      cases,
      seed,
      from,
      progress(done, defects) {
        if (performance.now() - told < PROGRESS_MS) return;
        told = performance.now();
        process.stderr.write(`\r${target.name}: ${done} of ${cases} cases, ${defects} defects\u001b[K`);
      },
    });
    process.stderr.write("\r\u001b[K");
    const { rss } = process.memoryUsage();
    const columns = [
      target.name.padEnd(14),
      `${outcome.cases}`.padStart(11),
      outcome.seconds.toFixed(1).padStart(9),
      `${((100 * outcome.refused) / outcome.cases).toFixed(0)} %`.padStart(9),
      `${outcome.slowestMs.toFixed(1)} (${outcome.slowest})`.padStart(20),
      (rss / 2 ** 20).toFixed(0).padStart(10),
      `${outcome.defects.length}`.padStart(9),
    ];
    console.log(columns.join(" "));
    for (const defect of outcome.defects) console.log(`\n${describeDefect(target.name, seed, defect)}\n`);
    failed ||= outcome.defects.length > 0;
  }
  return failed ? 1 : 0;
}

function outside(): number {
  const refused = namespacesRefused();
  if (refused !== undefined) {
    console.error(refused);
    return 1;
  }
  const command = inNamespaces(process.execPath, import.meta.path, "--inside", ...process.argv.slice(2));
  return Bun.spawnSync(command, { stdio: ["inherit", "inherit", "inherit"] }).exitCode;
}

process.exitCode = values.inside ? await inside() : outside();
