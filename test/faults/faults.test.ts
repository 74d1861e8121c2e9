// A sample of what npm run test:faults tries, and every point at which it once found a defect.
import { describe, expect, test } from "bun:test";
import { executablePath } from "../executable.ts";
import { FaultHost, networks } from "./host.ts";
import { runScenario, scenarios } from "./run.ts";
import { cniScenario } from "./scenario.ts";
import { describePoint, type Point, tampering } from "./strace.ts";

/** Points of each scenario, evenly spread. */
const SAMPLE = 4;

const executable = await executablePath();
const all = scenarios(executable);

/** What was not so once, and where: the verb, part of the network's name, and the points as {@link describePoint} has them. */
const defects: readonly (readonly [what: string, verb: string, network: string, at: RegExp, last?: true])[] = [
  ["an ADD whose last lookup fails takes all of it back", "ADD", "alone", /^refused at sendto/u, true],
  ["what was sent and not answered is undone", "ADD", "macvtap", /^EAGAIN at recvfrom .*NLMSG_ERROR/u],
  ["a record that cannot be written leaves no file", "ADD", "macvtap", /^(ENOSPC|EBUSY) at rename/u],
  ["GC removes what was being written when ADD was killed", "ADD", "macvtap", /^killed at rename/u],
  ["DEL and GC remove a reservation's second name", "ADD", "macvtap", /^killed at link /u],
  ["a reservation that cannot be written leaves none", "ADD", "macvtap", /^ENOSPC at write no. [1-4] .*c\\r\\neth0/u],
  ["an answer that cannot be written is no success", "ADD", "macvtap", /^ENOSPC at write .*cniVersion/u],
  ["whoever cannot return from a namespace tries again", "GC", "beside", /^(EPERM|ENOMEM) at setns no. 2 /u],
  ["a machine's identity that cannot be read is no other one", "ADD", "alone", /^E\w+ at openat .*machine-id/u],
  ["berth gc says what it cannot look at", "berth gc", "", /^(EMFILE|EACCES) at openat .*\/run\/netns\/c"/u],
  ["berth repair says which record it cannot read", "berth repair", "", /^EMFILE at openat .*first:c:eth0.json/u],
  ["berth repair that is killed leaves what DEL recognises", "berth repair", "", /^killed at sendto .*RTM_SETLINK/u],
  ["Docker's state leaves no file that was being written", "berth docker", "", /^(EBUSY|killed) at rename no. [12] /u],
  ["an address that Docker cannot be told of is given back", "berth docker", "", /^ENOSPC at rename no. [35] /u],
  ["an address that was released by half is released whole", "berth docker", "", /^EBUSY at unlink .*\.berth\//u],
];

function matching(points: readonly Point[], at: RegExp, last: boolean): number[] {
  const found = [...points.entries()].flatMap(([n, point]) => (at.test(describePoint(point)) ? [n] : []));
  return last ? found.slice(-1) : found.slice(0, 3);
}

describe.skipIf(Bun.which("strace") === null)("faults (skipped where strace is not installed)", () => {
  test.each(all.map((s) => [`${s.verb}, ${s.network.name}`, s] as const))("%s", async (_, scenario) => {
    const { verb, network } = scenario;
    const known = defects.filter(([, of, on]) => of === verb && network.name.includes(on));
    const tally = await runScenario(scenario, (points) => {
      const spread = Array.from({ length: SAMPLE }, (__, i) => Math.floor(((i + 0.5) * points.length) / SAMPLE));
      const once = known.map(([what, , , at, last]) => [what, matching(points, at, last === true)] as const);
      expect(once.filter(([, found]) => found.length === 0).map(([what]) => what)).toEqual([]);
      return [...new Set([...spread, ...once.flatMap(([, found]) => found)])].toSorted((a, b) => a - b);
    });
    expect(tally.violations).toEqual([]);
    expect(tally.tried.killed + tally.tried.failed + tally.tried.refused).toBeGreaterThanOrEqual(SAMPLE);
  });

  test("a return from a namespace that the kernel refuses for a moment is tried again, and all goes on", async () => {
    const [network] = networks;
    if (network === undefined) throw new Error("there is no network");
    using host = new FaultHost(network);
    const scenario = cniScenario("ADD", network, executable);
    // the first setns leads into the container's namespace
    const returning: Point = { call: "setns", occurrence: 2, fault: { kind: "failed", errno: "ENOMEM" }, text: "" };
    expect(await scenario.run(host, tampering(returning))).toMatchObject({ how: "succeeded" });
    await host.mustSucceed("DEL");
  });
});
