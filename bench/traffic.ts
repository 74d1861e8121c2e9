// Traffic between two namespaces and what it took: a stream by iperf3, questions and answers by sockets of this thread.
import { ping } from "../src/kernel/icmp.ts";
import { accept, bind, close, connect, listen, receive, send, setSocketInt } from "../src/kernel/libc.ts";
import type { Namespace } from "../src/kernel/namespaces.ts";
import { openIn, socketAddress, socketFamily } from "../src/kernel/sockets.ts";

const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const PORT = 5201;
const TIMEOUT_MS = 5000;

/** Why streams cannot be measured, and what to do about it. */
export const noIperf = `iperf3 is not installed: the rows of streams are missing.
  apt install iperf3   (Debian, Ubuntu)
  dnf install iperf3   (Fedora, RHEL)`;

/** Whether streams can be measured. */
export function hasIperf(): boolean {
  return Bun.which("iperf3") !== null;
}

/** An iperf3 server in a namespace, until it is disposed of. */
export class StreamServer implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "ignore">;

  private constructor(process: Bun.Subprocess<"ignore", "pipe", "ignore">) {
    this.#process = process;
  }

  /** Starts it and waits until it listens. Throws where it ends instead. */
  static async start(namespace: string, address: string): Promise<StreamServer> {
    const command = ["iperf3", "--server", "--bind", address, "--port", String(PORT), "--forceflush"];
    const process = Bun.spawn(["nsenter", `--net=/run/netns/${namespace}`, "--", ...command], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const decoder = new TextDecoder();
    let said = "";
    for await (const part of process.stdout) {
      said += decoder.decode(part, { stream: true });
      if (said.includes("listening")) return new StreamServer(process);
    }
    throw new Error(`iperf3 in ${namespace} does not listen: ${said}`);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill();
    await this.#process.exited;
  }
}

/** What a stream came to. */
export interface Streamed {
  /** What arrived, Gbit/s. */
  readonly rate: number;
  /** Processor time of both ends' processes, seconds for each gigabyte that arrived. */
  readonly cpuPerGigabyte: number;
}

/** {@link measureStream} from this namespace; what arrived, Gbit/s. */
export async function stream(server: string, direction: "out" | "in", seconds: number): Promise<number> {
  return (await measureStream(undefined, server, direction, seconds)).rate;
}

/**
 * One TCP stream between a namespace and a server's. Throws where iperf3 fails.
 * @param from the client's namespace, by its name; absent: this one
 * @param direction `in`: the server sends
 * @param seconds how long; iperf3 takes whole seconds only, and 0 as without end
 */
export async function measureStream(
  from: string | undefined,
  server: string,
  direction: "out" | "in",
  seconds: number,
): Promise<Streamed> {
  const reverse = direction === "in" ? ["--reverse"] : [];
  const options = ["--port", String(PORT), "--time", String(seconds), "--json", ...reverse];
  const enter = from === undefined ? [] : ["nsenter", `--net=/run/netns/${from}`, "--"];
  const p = Bun.spawn([...enter, "iperf3", "--client", server, ...options], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: seconds * 1000 + TIMEOUT_MS,
  });
  const [text, exitCode] = await Promise.all([p.stdout.text(), p.exited]);
  if (text === "") throw new Error(`iperf3 to ${server} ended with exit status ${exitCode} and said nothing`);
  const report = JSON.parse(text) as {
    readonly error?: string;
    readonly end?: {
      readonly sum_received?: { readonly bits_per_second?: number };
      readonly cpu_utilization_percent?: { readonly host_total?: number; readonly remote_total?: number };
    };
  };
  const rate = report.end?.sum_received?.bits_per_second;
  const { host_total: own = 0, remote_total: other = 0 } = report.end?.cpu_utilization_percent ?? {};
  if (exitCode !== 0 || rate === undefined) throw new Error(`iperf3 to ${server}: ${report.error ?? text}`);
  return { rate: rate / 1e9, cpuPerGigabyte: (own + other) / 100 / (rate / 8e9) };
}

/**
 * Round trips of one byte on an open TCP connection, microseconds each. Both ends are of this thread, so that no
 * scheduler comes between: what is measured is the kernel's way there and back.
 */
export function questions(to: Namespace | undefined, address: string, count: number, from?: Namespace): number[] {
  const family = socketFamily(address);
  const open: number[] = [];
  const keep = (fd: number): number => {
    open.push(fd);
    return fd;
  };
  try {
    const server = keep(openIn(to, family, SOCK_STREAM, 0, TIMEOUT_MS));
    setSocketInt(server, SOL_SOCKET, SO_REUSEADDR, 1);
    bind(server, socketAddress(address, PORT + 1));
    listen(server, 1);
    const client = keep(openIn(from, family, SOCK_STREAM, 0, TIMEOUT_MS));
    connect(client, socketAddress(address, PORT + 1));
    const served = keep(accept(server));
    for (const fd of [client, served]) setSocketInt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    const [byte, into] = [new Uint8Array(1), new Uint8Array(1)];
    const taken: number[] = [];
    for (let i = 0; i < count; i++) {
      const start = performance.now();
      send(client, byte);
      receive(served, into);
      send(served, byte);
      receive(client, into);
      taken.push((performance.now() - start) * 1000);
    }
    return taken;
  } finally {
    for (const fd of open) close(fd);
  }
}

/** ICMP echoes from this namespace, microseconds each. Throws where one is not answered. */
export function echoes(address: string, count: number): number[] {
  return Array.from({ length: count }, () => {
    const answer = ping(undefined, address);
    if (answer.ok) return answer.milliseconds * 1000;
    throw new Error(`ping ${address}: ${answer.why}`);
  });
}
