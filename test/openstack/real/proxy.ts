// Between Berth and Neutron: counts requests, and does what happens to requests on the way.
import { NEUTRON } from "../api.ts";

/** What happens to a request instead of being answered; undefined: nothing, it is passed on. */
export type Incident = (request: { readonly method: string; readonly path: string; readonly number: number }) => Fate;
/** `drop`: nobody answers, and the cloud never hears of it; `lose`: it is carried out, and its answer is lost. */
type Fate = "drop" | "lose" | { readonly status: number; readonly body: object } | undefined;

/** A proxy before Neutron, until it is disposed of. */
export class Proxy implements AsyncDisposable {
  readonly #server: Bun.Server<undefined>;
  /** What was asked, in order: `GET /ports`. */
  readonly asked: string[] = [];
  /** Those of {@link asked} that Neutron did not refuse. */
  readonly granted: string[] = [];
  incident: Incident = () => undefined;
  /** Called before a request meets its fate. */
  before: (number: number, when: "before" | "after") => void | Promise<void> = () => {};

  /** Starts it on a port of 127.0.0.1. */
  constructor(port: number) {
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port,
      idleTimeout: 0,
      fetch: async (request) => await this.#handle(request),
    });
  }

  /** Forgets what was asked. */
  reset(): void {
    this.asked.length = 0;
    this.granted.length = 0;
    this.incident = () => undefined;
    this.before = () => {};
  }

  async #handle(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const path = pathname.replace(/^\/v2\.0/u, "");
    const number = this.asked.push(`${request.method} ${path.replace(/[\da-f]{8}-[\da-f-]{27}/gu, "ID")}`);
    const body = await request.text();
    await this.before(number, "before");
    const fate = this.incident({ method: request.method, path, number });
    if (fate === "drop") return broken();
    if (typeof fate === "object") return Response.json(fate.body, { status: fate.status });
    const headers = new Headers(request.headers);
    headers.delete("host");
    headers.delete("accept-encoding");
    const answer = await fetch(`${NEUTRON}${path}${search}`, {
      method: request.method,
      headers,
      ...(body === "" ? {} : { body }),
    });
    const content = await answer.text();
    if (answer.ok) this.granted.push(this.asked[number - 1] ?? "");
    await this.before(number, "after");
    if (fate === "lose") return broken();
    return new Response(answer.status === 204 ? null : content, {
      status: answer.status,
      headers: { "content-type": "application/json" },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
  }
}

/** An answer that breaks off. */
function broken(): Response {
  return new Response(
    new ReadableStream({
      start(controller) {
        controller.error(new Error("the connection is lost"));
      },
    }),
  );
}
