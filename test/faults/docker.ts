// Faults of berth docker: it is started, and a Docker creates a network, starts a container on it, and takes all of it back.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { listRecords } from "../../src/attachment/record.ts";
import type { Grant } from "../../src/docker/state.ts";
import { type DockerServer, serveDocker } from "../../src/docker/server.ts";
import { type Answer, Dockerd, errorOf, recorded, type Recorded, textOf } from "../docker/dockerd.ts";
import { until } from "../world.ts";
import type { FaultHost, Network } from "./host.ts";
import { type Ended, expectSame, expectUsable, type Scenario } from "./scenario.ts";

const SOCKET = "/run/docker/plugins/berth.sock";
const GRANTS = "/var/lib/berth/docker/grants";
/** Longer than the plugin keeps an address that nobody claimed, seconds. */
const LONG_AGO_S = 3600;
/** A request that is not answered in this time is sent again, milliseconds. */
const PATIENCE_MS = 15_000;
/** The calls that take back what others made, in a recording's order. */
const ENDINGS = /\.(Revoke\w+|Leave|Delete\w+|Release\w+)$/u;

/** The plugin as a process that something happens to, and after its end one in this process: systemd starts it again. */
class Plugin {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  #successor: DockerServer | undefined;
  /** What the successor could tell nobody. */
  readonly failures: string[] = [];

  constructor(argv: readonly string[], env: Record<string, string>) {
    this.#process = Bun.spawn([...argv], { env, stdio: ["ignore", "pipe", "pipe"], argv0: "berth", detached: true });
  }

  get dead(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** Waits until it listens, or its successor does. */
  async listening(): Promise<void> {
    await until("the plugin listens", () => this.dead || existsSync(SOCKET));
    await this.revive();
  }

  /** Where it has ended, or been ended, starts its successor. */
  async revive(): Promise<void> {
    if (this.dead) this.#successor ??= await this.#succeed();
  }

  async #succeed(): Promise<DockerServer> {
    return await serveDocker(SOCKET, { failed: (f) => this.failures.push(f.message), refused: () => {} });
  }

  /** Stops it, and starts it once more for a moment: what is to be given back at a start is. */
  async end(): Promise<Ended> {
    const stopped = !this.dead;
    if (stopped) for (const pid of childrenOf(this.#process.pid)) process.kill(pid, "SIGTERM");
    const limit = setTimeout(() => process.kill(-this.#process.pid, "SIGKILL"), PATIENCE_MS);
    const [out, err] = await Promise.all([
      this.#process.stdout.text(),
      this.#process.stderr.text(),
      this.#process.exited,
    ]);
    clearTimeout(limit);
    await this.#successor?.[Symbol.asyncDispose]();
    forgetUnclaimed();
    await (await this.#succeed())[Symbol.asyncDispose]();
    const killed = this.#process.signalCode === "SIGKILL";
    const how = stopped && !killed ? "succeeded" : killed ? "killed" : "crashed";
    return { how, out: `${out}${err}` };
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

/** Lets time pass for addresses that were reserved for a request whose answer was lost. */
function forgetUnclaimed(): void {
  for (const name of existsSync(GRANTS) ? readdirSync(GRANTS) : []) {
    if (!name.endsWith(".json")) continue;
    const grant = JSON.parse(readFileSync(`${GRANTS}/${name}`, "utf8")) as Grant;
    const { boot = "", seconds = 0 } = grant.since ?? {};
    writeFileSync(`${GRANTS}/${name}`, JSON.stringify({ ...grant, since: { boot, seconds: seconds - LONG_AGO_S } }));
  }
}

/** A Docker that sends a request again where it gets no answer, as it does. */
class PatientDockerd extends Dockerd {
  readonly #plugin: Plugin;

  constructor(host: FaultHost, plugin: Plugin) {
    super(host, SOCKET);
    this.#plugin = plugin;
  }

  override async send(name: string, body: unknown): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await super.send(name, body, AbortSignal.timeout(PATIENCE_MS));
      } catch (e) {
        if (attempt === 5) throw new Error(`${name} gets no answer`, { cause: e });
        await Bun.sleep(20); // a process that was killed may not have ended yet
        await this.#plugin.revive();
      }
    }
  }
}

function sequence(): Recorded[] {
  const all = recorded("ipv6");
  return all.filter(({ call }) => !call.endsWith("EndpointOperInfo") && !call.endsWith("ExternalConnectivity"));
}

/** What takes back what a call makes: its name, and what both requests are about. */
function endingOf({ call, request, answer }: Recorded): string {
  const about = (name: string): string => textOf(answer?.[name] ?? request[name]);
  const address = about("Address").replace(/\/.*/u, "");
  switch (call) {
    case "IpamDriver.RequestPool":
    case "IpamDriver.ReleasePool":
      return `ReleasePool ${about("PoolID")}`;
    case "IpamDriver.RequestAddress":
    case "IpamDriver.ReleaseAddress":
      return `ReleaseAddress ${about("PoolID")} ${address}`;
    case "NetworkDriver.Join":
    case "NetworkDriver.Leave":
      return `Leave ${about("EndpointID")}`;
    default:
      return `${call.replace(/.*\.(Create|Delete)/u, "Delete")} ${about("EndpointID")} ${about("NetworkID")}`;
  }
}

/** Sends everything; where something is refused, no more than what takes back what was made. */
async function live(docker: PatientDockerd): Promise<void> {
  const made = new Set<string>();
  let refused = false;
  for (const message of sequence()) {
    if (!ENDINGS.test(message.call)) {
      if (refused) continue;
      refused = errorOf(await docker.replay(message)) !== undefined;
      if (!refused) made.add(endingOf(message));
      continue;
    }
    if (!made.has(endingOf(message))) continue;
    if (message.call === "NetworkDriver.Leave") await delivered();
    const first = errorOf(await docker.replay(message));
    const second = first === undefined ? undefined : errorOf(await docker.replay(message)); // an administrator tries again
    if (second !== undefined) throw new Error(`${message.call} answers ${first}, and then ${second}`);
  }
}

async function delivered(): Promise<void> {
  await until("the link is finished in its container", () =>
    listRecords(() => {}).every((r) => r.inTransit !== true || r.key.containerId === "other"),
  );
}

/** The whole life of a network and a container. */
export function dockerScenario(network: Network, executable: string): Scenario {
  return {
    verb: "berth docker",
    network,
    isOwn: ({ name, text }) => name === "openat" && text.includes('"/var/lib/berth/docker/'),
    async prepare() {},
    async run(host, before) {
      const plugin = new Plugin([...before, executable, "docker"], host.environmentOf(""));
      await plugin.listening();
      const docker = new PatientDockerd(host, plugin);
      try {
        await live(docker);
      } finally {
        docker.endAll();
      }
      const ended = await plugin.end();
      if (plugin.failures.length > 0) throw new Error(`the next plugin says ${plugin.failures.join("; ")}`);
      return ended;
    },
    async settle(host, _, before) {
      expectSame("when Docker has taken everything back", host.state(), before);
      await expectUsable(host, before);
    },
  };
}
