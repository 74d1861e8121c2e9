// The plugin's server: libnetwork's two remote driver protocols over HTTP on a unix socket.
import { parseJson } from "../ipam/json.ts";
import { isThere, makeDirectory, removeFile } from "../kernel/files.ts";
import { keepError } from "../attachment/last-errors.ts";
import { asFailure, Failure } from "../report/failure.ts";
import { log } from "../report/log.ts";
import { inheritedSocket, passOn } from "./activation.ts";
import { asCall } from "./calls.ts";
import { Deliveries } from "./deliveries.ts";
import { Forgotten } from "./forgotten.ts";
import { IpamDriver } from "./ipam-driver.ts";
import { type Message, readMessage, type requests } from "./messages.ts";
import { NetworkDriver } from "./network-driver.ts";
import { Queue } from "./queue.ts";
import { State } from "./state.ts";

/** The media type of Docker's plugin protocol, which it asks for and demands of Plugin.Activate's answer. */
const MEDIA_TYPE = "application/vnd.docker.plugins.v1.2+json";
/** Bytes; Docker's requests have some hundreds. */
const MAX_BODY = 1 << 20;

type Name = keyof typeof requests;
type Handler = (body: unknown) => unknown;

/** A call that reads its request. */
function reading<K extends Name>(name: K, handle: (message: Message<K>) => unknown): Handler {
  return (body) => handle(readMessage(name, body));
}

/** A call whose request says nothing that matters here. */
const nothing: Handler = () => ({});

/** What answers each path. */
export function handlersOf(network: NetworkDriver, ipam: IpamDriver): ReadonlyMap<string, Handler> {
  return new Map<string, Handler>([
    ["/Plugin.Activate", () => ({ Implements: ["NetworkDriver", "IpamDriver"] })],
    ["/NetworkDriver.GetCapabilities", () => network.capabilities()],
    ["/NetworkDriver.CreateNetwork", reading("CreateNetwork", (m) => network.createNetwork(m))],
    ["/NetworkDriver.DeleteNetwork", reading("DeleteNetwork", (m) => network.deleteNetwork(m))],
    ["/NetworkDriver.CreateEndpoint", reading("CreateEndpoint", (m) => network.createEndpoint(m))],
    ["/NetworkDriver.DeleteEndpoint", reading("DeleteEndpoint", (m) => network.deleteEndpoint(m))],
    ["/NetworkDriver.EndpointOperInfo", reading("EndpointOperInfo", (m) => network.operInfo(m))],
    ["/NetworkDriver.Join", reading("Join", (m) => network.join(m))],
    ["/NetworkDriver.Leave", reading("Leave", (m) => network.leave(m))],
    // swarm's, and published ports: a container on the LAN has all its ports there
    ["/NetworkDriver.AllocateNetwork", nothing],
    ["/NetworkDriver.FreeNetwork", nothing],
    ["/NetworkDriver.DiscoverNew", nothing],
    ["/NetworkDriver.DiscoverDelete", nothing],
    ["/NetworkDriver.ProgramExternalConnectivity", nothing],
    ["/NetworkDriver.RevokeExternalConnectivity", nothing],
    ["/IpamDriver.GetCapabilities", () => ipam.capabilities()],
    ["/IpamDriver.GetDefaultAddressSpaces", () => ipam.addressSpaces()],
    ["/IpamDriver.RequestPool", reading("RequestPool", (m) => ipam.requestPool(m))],
    ["/IpamDriver.ReleasePool", reading("ReleasePool", (m) => ipam.releasePool(m))],
    ["/IpamDriver.RequestAddress", reading("RequestAddress", (m) => ipam.requestAddress(m))],
    ["/IpamDriver.ReleaseAddress", reading("ReleaseAddress", (m) => ipam.releaseAddress(m))],
  ]);
}

function answer(status: number, body: unknown): Response {
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": MEDIA_TYPE } });
}

/** A failure as the two protocols have it: the network driver's answers call it Err, the IPAM driver's Error. */
function refusal(path: string, status: number, failure: Failure): Response {
  const text = failure.advice === undefined ? failure.message : `${failure.message}. ${failure.advice}`;
  // Docker reads Err whatever the protocol where the status is not 200
  return answer(status, path.startsWith("/IpamDriver.") ? { Error: text, Err: text } : { Err: text });
}

/** A server that is listening. */
export interface DockerServer extends AsyncDisposable {
  /** Path of the socket. */
  readonly socket: string;
}

/** What the server has to say while it serves. */
export interface ServerReport {
  /** What cannot be told to Docker. */
  failed(failure: Failure): void;
  /** What was told to Docker. */
  refused(path: string, failure: Failure): void;
}

/** Where Docker itself is asked, and how often. */
export interface DockerApi {
  /** Path of dockerd's socket. */
  readonly socket: string;
  /** Milliseconds. */
  readonly everyMs: number;
}

/** Where the server listens itself when it was given a socket. */
const BEHIND = "/run/berth/docker.sock";

/**
 * Serves Docker on a unix socket that root alone may open, until it is disposed of. Throws `Failure` (`io`) where it cannot
 * listen.
 */
export async function serveDocker(socket: string, report: ServerReport, api?: DockerApi): Promise<DockerServer> {
  const inherited = inheritedSocket();
  const failed = (failure: Failure): void => report.failed(failure);
  const state = new State(failed);
  const queue = new Queue();
  const deliveries = new Deliveries(queue, failed);
  const ipam = new IpamDriver(state);
  const network = new NetworkDriver(state, ipam, deliveries);
  const handlers = handlersOf(network, ipam);

  async function handle(request: Request): Promise<Response> {
    const path = pathOf(request.url);
    const handler = handlers.get(path);
    if (handler === undefined || request.method !== "POST")
      return refusal(path, 404, new Failure("request", `serve ${request.method} ${path}: there is no such call`));
    try {
      const text = await request.text();
      const work = async (): Promise<unknown> => await logged(path, async () => await handler(parse(path, text)));
      return answer(200, await asCall(() => (ipam.asksCloud(path, text) ? work() : queue.run(work))));
    } catch (thrown) {
      const failure = asFailure(thrown, `serve ${path}`);
      report.refused(path, failure);
      return refusal(path, failure.reason === "decode" ? 400 : 200, failure);
    }
  }

  await queue.run(async () => {
    await network.resume(failed);
    await ipam.tidy(failed);
  });
  const own = inherited === undefined ? socket : BEHIND;
  const server = listen(own, inherited === undefined ? 0o755 : 0o700, handle);
  const front = inherited === undefined ? undefined : await passOn(inherited, own);
  const forgotten =
    api === undefined
      ? undefined
      : new Forgotten(api.socket, api.everyMs, {
          networks: () => state.networks.values().map((n) => n.id),
          forget: (id) => queue.run(() => network.forget(id)),
          failed,
        });
  return {
    socket,
    async [Symbol.asyncDispose]() {
      forgotten?.[Symbol.dispose]();
      front?.close();
      await server.stop(true);
      deliveries.end();
      await queue.run(() => {}); // what is at work comes to its end
      removeFile(own); // one that was given is systemd's, which goes on listening
    },
  };
}

/** A request's work, and what is logged of it. */
async function logged(path: string, work: () => Promise<unknown>): Promise<unknown> {
  const start = performance.now();
  try {
    const done = await work();
    log("info", "done", () => ({ call: path, ms: Math.round(performance.now() - start) }));
    return done;
  } catch (thrown) {
    const failure = asFailure(thrown, `serve ${path}`);
    log("error", "failed", () => ({ call: path, message: failure.message, advice: failure.advice }));
    keepError(`Docker ${path}`, failure);
    throw failure;
  }
}

/** Docker's Host header is the socket's path, which makes a URL that is none: only what follows it matters. */
function pathOf(url: string): string {
  return url.replace(/^[a-z]+:\/\/[^/]*/u, "").replace(/[?#].*/u, "");
}

/** A request's body; an empty one is `{}`. Throws `Failure` (`decode`). */
export function parse(path: string, text: string): unknown {
  return text.trim() === "" ? {} : parseJson(text, `read the body of ${path}`);
}

/** @param mode of the socket's directory, where that is missing */
function listen(
  socket: string,
  mode: number,
  fetch: (request: Request) => Promise<Response>,
): ReturnType<typeof Bun.serve> {
  try {
    makeDirectory(socket.slice(0, socket.lastIndexOf("/")), mode);
    if (isThere(socket)) removeFile(socket); // of a process that was killed
    const former = process.umask(0o177); // or others could open it for a moment
    try {
      return Bun.serve({
        unix: socket,
        maxRequestBodySize: MAX_BODY,
        development: false, // or a defect would be answered by a page for a browser
        fetch(request, server) {
          server.timeout(request, 0); // a cloud may take its time
          return fetch(request);
        },
      });
    } finally {
      process.umask(former);
    }
  } catch (e) {
    throw new Failure("io", `listen on ${socket}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
}
