// Measures the ways between host and task in rounds: in each round every way once, one directly after the other.
import { readFileSync } from "node:fs";
import type { World } from "../src/lab/world.ts";
import { percentile } from "./statistics.ts";
import { echoes, questions, stream, StreamServer } from "./traffic.ts";
import { PARENT, type Way } from "./ways.ts";

/** How much is measured. */
export interface Extent {
  readonly rounds: number;
  /** Rounds before the counted ones. */
  readonly warmUp: number;
  /** Of each stream, whole seconds; 0: none. */
  readonly seconds: number;
  /** Round trips by TCP in each round. */
  readonly questions: number;
  /** ICMP echoes in each round. */
  readonly echoes: number;
}

/** What is measured. */
export interface Metric {
  readonly id: "out" | "in" | "cut" | "median" | "p99" | "ping";
  readonly name: string;
  readonly unit: "Gbit/s" | "µs";
}

/** A round's metrics in their order; those in Gbit/s are of streams. */
export const metrics: readonly Metric[] = [
  { id: "out", name: "TCP stream, host to task", unit: "Gbit/s" },
  { id: "in", name: "TCP stream, task to host", unit: "Gbit/s" },
  { id: "cut", name: "TCP stream, host to task, one segment a frame", unit: "Gbit/s" },
  { id: "median", name: "TCP question and answer, median", unit: "µs" },
  { id: "p99", name: "TCP question and answer, 99th percentile", unit: "µs" },
  { id: "ping", name: "ping, median", unit: "µs" },
];

/** A way's values, one of each round, in their metric's unit; none where it was not measured. */
export interface WayFigures {
  readonly id: Way["id"];
  readonly name: string;
  readonly values: Record<Metric["id"], number[]>;
  /** Mean size of what crossed the host's link during the streams, bytes: above the MTU where nothing was segmented. */
  readonly bytesPerFrame?: number;
  /** How many frames the NIC on the LAN sent for each frame that crossed the host's link during the streams. */
  readonly onTheLan?: number;
}

interface Counters {
  readonly bytes: number;
  readonly frames: number;
}

/** What a link of this namespace has sent and received. */
function countersOf(link: string, directions: readonly ("rx" | "tx")[]): Counters {
  const read = (name: string): number =>
    Number(readFileSync(`/sys/class/net/${link}/statistics/${name}`, "utf8").trim());
  const sum = (what: string): number => directions.reduce((n, d) => n + read(`${d}_${what}`), 0);
  return { bytes: sum("bytes"), frames: sum("packets") };
}

/** The kernel's default (include/linux/netdevice.h). */
const GSO_MAX_SEGS = 65_535;

/** How many TCP segments one frame that leaves by a link of this namespace may hold. Throws where `ip` fails. */
function setSegments(link: string, count: number): void {
  const r = Bun.spawnSync(["ip", "link", "set", "dev", link, "gso_max_segs", String(count)]);
  if (r.exitCode !== 0) throw new Error(`ip link set dev ${link} gso_max_segs ${count}: ${r.stderr.toString().trim()}`);
}

/** One way's figures while they grow. */
class Growing {
  readonly way: Way;
  readonly values: WayFigures["values"] = { out: [], in: [], cut: [], median: [], p99: [], ping: [] };
  #bytes = 0;
  #frames = 0;
  #lanFrames = 0;

  constructor(way: Way) {
    this.way = way;
  }

  /** Measures the streams of a round. What makes a way fast is seen where it is taken away: frames of one segment each. */
  async streams(seconds: number): Promise<void> {
    const [before, lanBefore] = [countersOf(this.way.hostLink, ["rx", "tx"]), countersOf(PARENT, ["tx"])];
    for (const direction of ["out", "in"] as const) {
      this.values[direction].push(await stream(this.way.taskAddress, direction, seconds));
    }
    const after = countersOf(this.way.hostLink, ["rx", "tx"]);
    this.#bytes += after.bytes - before.bytes;
    this.#frames += after.frames - before.frames;
    this.#lanFrames += countersOf(PARENT, ["tx"]).frames - lanBefore.frames;
    setSegments(this.way.hostLink, 1);
    this.values.cut.push(await stream(this.way.taskAddress, "out", seconds));
    setSegments(this.way.hostLink, GSO_MAX_SEGS);
  }

  /** Measures the round trips of a round. */
  roundTrips(world: World, extent: Extent): void {
    const taken = questions(world.at(this.way.namespace), this.way.taskAddress, extent.questions);
    this.values.median.push(percentile(taken, 50));
    this.values.p99.push(percentile(taken, 99));
    this.values.ping.push(percentile(echoes(this.way.taskAddress, extent.echoes), 50));
  }

  figures(): WayFigures {
    const { id, name } = this.way;
    const streams =
      this.#frames === 0 ? {} : { bytesPerFrame: this.#bytes / this.#frames, onTheLan: this.#lanFrames / this.#frames };
    return { id, name, values: this.values, ...streams };
  }
}

/**
 * Measures. Who goes first changes from round to round. Throws where a way carries no traffic.
 */
export async function measure(world: World, ways: readonly Way[], extent: Extent): Promise<WayFigures[]> {
  await using servers = new AsyncDisposableStack();
  if (extent.seconds > 0) {
    for (const way of ways) servers.use(await StreamServer.start(way.namespace, way.taskAddress));
  }
  let records = ways.map((way) => new Growing(way));
  for (let round = -extent.warmUp; round < extent.rounds; round++) {
    if (round === 0) records = ways.map((way) => new Growing(way)); // what warmed up is not counted
    const first = Math.max(0, round) % records.length;
    const turn = [...records.slice(first), ...records.slice(0, first)];
    const order = round % 2 === 0 ? turn : turn.toReversed();
    if (extent.seconds > 0) for (const record of order) await record.streams(extent.seconds);
    for (const record of order) record.roundTrips(world, extent);
    if (round >= 0) console.error(`round ${round + 1} of ${extent.rounds}`);
  }
  return records.map((r) => r.figures());
}
