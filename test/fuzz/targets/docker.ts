// Requests of dockerd's two protocols, one after the other, as the plugin's server hands them on.
import { rmSync } from "node:fs";
import { Deliveries } from "../../../src/docker/deliveries.ts";
import { IpamDriver } from "../../../src/docker/ipam-driver.ts";
import { NetworkDriver } from "../../../src/docker/network-driver.ts";
import { Queue } from "../../../src/docker/queue.ts";
import { handlersOf, parse } from "../../../src/docker/server.ts";
import { State } from "../../../src/docker/state.ts";
import { Broken, type Target } from "../engine.ts";
import { hostileText, mutateJson, mutateText } from "../mutate.ts";
import { Place } from "./directories.ts";
import { dockerCalls } from "./samples.ts";

interface Call {
  readonly call: string;
  readonly body: { readonly json: unknown } | { readonly text: string };
}

const poolId = JSON.stringify({ network: "docker-10.77.0.0-24", pool: "10.77.0.0/24", range: "10.77.0.128/27" });

let place: Place | undefined;

function ignore(): void {}

/** Recordings name pools by the ids of their own plugin: here by Berth's. */
function withPool(request: unknown): unknown {
  return typeof request === "object" && request !== null && "PoolID" in request
    ? { ...request, PoolID: poolId }
    : request;
}

/** Docker's requests. */
export const dockerTarget: Target<readonly Call[]> = {
  name: "docker",
  brief: "requests to the Docker plugin, up to four in a row",
  make(r) {
    return Array.from({ length: 1 + r.int(4) }, () => {
      const { call, request } = r.pick(dockerCalls);
      const good = withPool(request);
      const json = r.once(3) ? good : mutateJson(r, good);
      const text = r.once(10) ? mutateText(r, JSON.stringify(json) ?? "") : undefined;
      return { call: r.once(100) ? hostileText(r) : call, body: text === undefined ? { json } : { text } };
    });
  },
  async run(calls) {
    place ??= new Place("docker");
    for (const used of ["/var/lib/berth", "/var/lib/cni", "/run/berth"]) rmSync(used, { recursive: true, force: true });
    const state = new State(ignore);
    const deliveries = new Deliveries(new Queue(), ignore);
    const ipam = new IpamDriver(state);
    const handlers = handlersOf(new NetworkDriver(state, ipam, deliveries), ipam);
    try {
      for (const { call, body } of calls) {
        const handler = handlers.get(`/${call}`);
        const text = "text" in body ? body.text : (JSON.stringify(body.json) ?? "");
        if (handler === undefined) continue;
        const answer: unknown = await handler(parse(call, text));
        if (JSON.stringify(answer) === undefined) throw new Broken("no answer");
      }
    } finally {
      deliveries.end();
      place.check();
    }
  },
};
