// What Docker was seen to send, changed in a thousand ways: each is answered, with an error or with a success as the protocol
// has it; the server lives on, and what came of it is taken back by the requests that Docker takes things back with.
import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseCidr } from "../../src/address/cidr.ts";
import type { Json } from "../world.ts";
import { type Answer, Dockerd, errorOf, type Recorded, recorded, textOf } from "./dockerd.ts";
import { PluginHost, SOCKET } from "./plugin.ts";

const names = ["life", "ipv6", "default-ipam", "null-ipam", "internal", "no-gateway", "two-networks", "swarm-global"];
/** Runs; each sends a recording, of which most requests are changed. */
const RUNS = 150;
const WANTED = 1000;

const texts =
  ".. ../../../etc 10.77.0.5 10.77.0.5/24 10.77.0.255/24 10.77.0.1/33 0.0.0.0/0 ::/0 fd77::/64 fd77::9 127.0.0.1 224.0.0.1/4 10.77.0.1/32 02:00:00:00:00:00 ff:ff:ff:ff:ff:ff 01:00:5e:00:00:01 / /proc/self/ns/net /dev/null /run/docker/netns eth1 lo passthru auto ipvlan vlan";
/** What stands in a request where it should not: near what is right, and far from it. */
const awkward: readonly Json[] = [
  ...texts.split(" "),
  [null, true, 0, -1, 1e308, "", " ", "\0", "a".repeat(10_000), "\ud800", [], {}, [[]]],
].flat();

interface Change {
  /** Which of the request's values, counted through all levels. */
  readonly at: number;
  readonly how: "replace" | "remove" | "add" | "cut the text";
  readonly value: Json;
}

const change: fc.Arbitrary<Change> = fc.record({
  at: fc.nat(1000),
  how: fc.constantFrom("replace", "replace", "replace", "remove", "add", "cut the text"),
  value: fc.oneof(
    fc.constantFrom(...awkward),
    fc.jsonValue({ maxDepth: 2 }).map((v) => v as Json),
  ),
});

/** The places of a value's parts. */
function placesIn(value: Json, path: readonly string[] = []): (readonly string[])[] {
  if (value === null || typeof value !== "object") return [path];
  return [path, ...Object.entries(value).flatMap(([key, part]) => placesIn(part, [...path, key]))];
}

/** The request's body as text, changed. */
function changed(request: Json, { at, how, value }: Change): string {
  const whole = structuredClone(request);
  const text = JSON.stringify(whole);
  if (how === "cut the text") return text.slice(0, at % text.length);
  const places = placesIn(whole);
  const path = places[at % places.length] ?? [];
  const last = path.at(-1);
  if (last === undefined) return JSON.stringify(value);
  let parent = whole as Record<string, Json>;
  for (const key of path.slice(0, -1)) parent = parent[key] as Record<string, Json>;
  if (how === "remove") delete parent[last];
  else parent[how === "add" ? `${last}x` : last] = value;
  return JSON.stringify(whole);
}

let w: PluginHost;
let d: Dockerd;

/** What was granted, and is to be taken back. */
const pools = new Set<string>();
const granted = new Map<string, { readonly PoolID: string; readonly Address: string }>();
const networks = new Set<string>();

/** An answer is an error or what libnetwork reads of that call. */
function judge(call: string, body: string, answer: Answer): void {
  const sent = { call, body: body.slice(0, 400), status: answer.status, answer: answer.body };
  const error = errorOf(answer);
  if (error !== undefined) {
    expect({ ...sent, told: error.length > 10 }).toEqual({ ...sent, told: true });
    expect([200, 400]).toContain(answer.status);
    // a defect would show as one of JavaScript's own errors
    expect(error).not.toMatch(/is not a function|undefined is not|null is not|Cannot (read|convert)|circular/u);
    return;
  }
  expect({ ...sent, status: answer.status }).toEqual({ ...sent, status: 200 });
  const said: unknown = body.trim() === "" ? {} : JSON.parse(body);
  const request = (said ?? {}) as Record<string, Json>;
  if (call === "IpamDriver.RequestPool") {
    pools.add(textOf(answer.body["PoolID"]));
    expect(parseCidr(textOf(answer.body["Pool"]))).toBeDefined();
  }
  if (call === "IpamDriver.RequestAddress") {
    const Address = textOf(answer.body["Address"]);
    expect(parseCidr(Address)).toBeDefined();
    const PoolID = textOf(request["PoolID"]);
    granted.set(`${PoolID} ${Address}`, { PoolID, Address: Address.replace(/\/.*/u, "") });
  }
  if (call === "NetworkDriver.CreateNetwork") networks.add(textOf(request["NetworkID"]));
  if (call === "NetworkDriver.Join")
    expect(answer.body).toMatchObject({ InterfaceName: { SrcName: expect.any(String) } });
}

async function takeBack(): Promise<void> {
  for (const NetworkID of networks)
    expect(errorOf(await d.send("NetworkDriver.DeleteNetwork", { NetworkID }))).toBe(undefined);
  for (const grant of granted.values())
    expect(errorOf(await d.send("IpamDriver.ReleaseAddress", grant))).toBe(undefined);
  for (const PoolID of pools) expect(errorOf(await d.send("IpamDriver.ReleasePool", { PoolID }))).toBe(undefined);
  for (const known of [networks, granted, pools]) known.clear();
}

/** Sends a recording, with its changes; how many requests were changed. */
async function play(messages: readonly Recorded[], changes: readonly (Change | undefined)[]): Promise<number> {
  let count = 0;
  const chosen = new Map<string, string>();
  for (const [i, { call, request, answer }] of messages.entries()) {
    let text = JSON.stringify(request);
    for (const [theirs, ours] of chosen) text = text.replaceAll(JSON.stringify(theirs), JSON.stringify(ours));
    const how = changes[i % changes.length];
    const body = how === undefined ? text : changed(JSON.parse(text) as Json, how);
    if (how !== undefined) count++;
    const got = await d.send(call, body);
    judge(call, body, got);
    for (const key of ["PoolID", "Address"]) {
      const [theirs, ours] = [answer?.[key], got.body[key]];
      if (typeof theirs === "string" && typeof ours === "string") chosen.set(theirs, ours);
    }
  }
  await takeBack();
  return count;
}

test("each is answered, none ends the server, nothing is left", async () => {
  w = new PluginHost();
  await w.start();
  d = new Dockerd(w, SOCKET);
  let sent = 0;
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        fc.array(fc.option(change, { nil: undefined, freq: 3 }), { minLength: 3, maxLength: 40 }),
        async (name, changes) => {
          sent += await play(recorded(name), changes);
        },
      ),
      { numRuns: RUNS },
    );
    expect(sent).toBeGreaterThanOrEqual(WANTED);
    expect((await d.send("Plugin.Activate", "")).body).toEqual({ Implements: ["NetworkDriver", "IpamDriver"] });
    // a container's namespace that is none is all that could not be told at once
    w.failures.splice(0, w.failures.length, ...w.failures.filter((f) => f.reason !== "namespace"));
    w.nothingIsLeft();
  } finally {
    await w.stop();
    w[Symbol.dispose]();
  }
});

test.each([
  ["an unknown call", "POST", "NetworkDriver.Nothing", "{}", 404],
  ["another method", "GET", "Plugin.Activate", undefined, 404],
  ["no JSON", "POST", "NetworkDriver.CreateNetwork", "no JSON", 400],
  ["more than a request has", "POST", "NetworkDriver.CreateNetwork", `"${"a".repeat(2 << 20)}"`, 413],
])("%s is refused with the status that says so", async (_, method, call, body, status) => {
  w = new PluginHost();
  await w.start();
  try {
    const response = await fetch(`http://plugin/${call}`, {
      unix: SOCKET,
      method,
      ...(body === undefined ? {} : { body }),
    });
    expect(response.status).toBe(status);
  } finally {
    await w.stop();
    w[Symbol.dispose]();
  }
});
