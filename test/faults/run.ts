// Runs scenarios over their points, in the namespaces of one worker.
import { gcScenario, repairScenario } from "./commands.ts";
import { dockerScenario } from "./docker.ts";
import { FaultHost, type Network, networks } from "./host.ts";
import { cniScenario, type Ended, findPoints, type Scenario, tryPoint } from "./scenario.ts";
import { describePoint, type Point } from "./strace.ts";

/** What came of the points of one scenario, or of a share of them. */
export interface Tally {
  readonly verb: string;
  readonly network: string;
  /** How many points there are. */
  readonly points: number;
  /** How many were tried, by what was done: killed, failed, refused. */
  readonly tried: Record<Point["fault"]["kind"], number>;
  /** How the calls ended. */
  readonly ended: Record<Ended["how"], number>;
  /** What did not hold, a text each. */
  readonly violations: string[];
}

function first(): Network {
  const [network] = networks;
  if (network === undefined) throw new Error("there is no network");
  return network;
}

/** All scenarios of an executable. */
export function scenarios(executable: string): Scenario[] {
  return [
    ...networks.flatMap((network) =>
      (["ADD", "DEL", "GC"] as const).map((verb) => cniScenario(verb, network, executable)),
    ),
    gcScenario(first(), executable),
    repairScenario(first(), executable),
    dockerScenario(first(), executable),
  ];
}

async function newHost(network: Network): Promise<FaultHost> {
  const host = new FaultHost(network);
  await host.attachOther();
  return host;
}

/** Which points are tried, by their places among all. */
export type Choice = (points: readonly Point[]) => readonly number[];

/** Tries those points of a scenario that are chosen. After one where something did not hold the host is made anew. */
export async function runScenario(scenario: Scenario, choose: Choice): Promise<Tally> {
  let host = await newHost(scenario.network);
  try {
    const points = await findPoints(scenario, host);
    const tally: Tally = {
      verb: scenario.verb,
      network: scenario.network.name,
      points: points.length,
      tried: { killed: 0, failed: 0, refused: 0 },
      ended: { killed: 0, crashed: 0, "answered an error": 0, succeeded: 0 },
      violations: [],
    };
    let before = host.state();
    for (const n of choose(points)) {
      const point = points[n];
      if (point === undefined) continue;
      tally.tried[point.fault.kind]++;
      try {
        tally.ended[(await tryPoint(scenario, host, point, before, n)).how]++;
      } catch (e) {
        const text = e instanceof Error ? e.message : String(e);
        tally.violations.push(`${scenario.verb}, ${scenario.network.name}, ${describePoint(point)}: ${text}`);
        host[Symbol.dispose]();
        host = await newHost(scenario.network);
        before = host.state();
      }
    }
    return tally;
  } finally {
    host[Symbol.dispose]();
  }
}
