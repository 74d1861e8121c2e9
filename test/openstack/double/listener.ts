// An HTTP server that can fail as the way to a cloud can: late, silent, or with an answer that is lost.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Question, Reply } from "./answers.ts";
import type { Fault, Faults } from "./faults.ts";

/** An HTTP server on 127.0.0.1. */
export class Listener {
  readonly #server: Server;
  /** How long it took to answer, from requests' arrival on, milliseconds in all. */
  answeringMs = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens; port 0 is any that is free. */
  static async listen(port: number, faults: Faults, answer: (q: Question) => Promise<Reply>): Promise<Listener> {
    const server = createServer((request, response) => {
      const start = performance.now();
      response.once("finish", () => (listener.answeringMs += performance.now() - start));
      void serve(request, response, faults, answer);
    });
    const listener = new Listener(server);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).listen(port, "127.0.0.1", resolve);
    await promise;
    return listener;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

async function read(request: IncomingMessage): Promise<Question> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const url = new URL(request.url ?? "/", "http://127.0.0.1");
  return {
    method: request.method ?? "GET",
    path: url.pathname,
    query: url.searchParams,
    headers: request.headers,
    text: Buffer.concat(parts).toString(),
  };
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  faults: Faults,
  answer: (q: Question) => Promise<Reply>,
): Promise<void> {
  const question = await read(request);
  const fault: Fault = faults.take(question) ?? {};
  const { delayMs = 0, instead } = fault;
  if (delayMs > 0) await Bun.sleep(delayMs);
  if (instead === "dropped") return void request.socket.destroy();
  if (instead === "silence") return;
  const reply = instead ?? (await answer(question));
  if (fault.lost === true) return void request.socket.destroy();
  const content = reply.body === undefined ? "" : JSON.stringify(reply.body);
  response.writeHead(reply.status, {
    ...(content === "" ? {} : { "content-type": "application/json" }),
    "x-openstack-request-id": `req-${crypto.randomUUID()}`,
    ...reply.headers,
  });
  response.end(content);
}
