// What dockerd does with a network plugin: it sends requests, and does to a link what the answer to Join says (libnetwork's
// osl package). The requests are those that Docker 20.10 was seen to send (recorded/).
import { mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { type Cidr, contains, parseCidr } from "../../src/address/cidr.ts";
import { HOST, type Json, type TestWorld } from "../world.ts";

/** A request as it was recorded, and of calls that choose something the answer that Docker went on with. */
export interface Recorded {
  readonly call: string;
  readonly request: Readonly<Record<string, Json>>;
  readonly answer?: Readonly<Record<string, Json>>;
}

/** What a plugin answered. */
export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, Json>>;
}

interface JoinAnswer {
  readonly InterfaceName: { readonly SrcName: string; readonly DstPrefix: string };
  readonly Gateway: string;
  readonly GatewayIPv6: string;
  readonly StaticRoutes: readonly { readonly Destination: string; readonly RouteType: number }[];
}

interface Endpoint {
  readonly addresses: readonly string[];
  readonly mac: string;
  sandbox?: string;
  source?: string;
  name?: string;
}

const NAMESPACES = "/run/docker/netns";

/** A recorded sequence. */
export function recorded(name: string): Recorded[] {
  return JSON.parse(readFileSync(new URL(`recorded/${name}.json`, import.meta.url), "utf8")) as Recorded[];
}

/** An answer's error, whichever protocol's; undefined where it has none. */
export function errorOf({ body }: Answer): string | undefined {
  const text = body["Err"] ?? body["Error"];
  return typeof text === "string" && text !== "" ? text : undefined;
}

/** A value that must be text; empty where it is absent. */
export function textOf(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

/** A destination as `ip` prints it. */
function routeOf(dst: string): Cidr | undefined {
  return parseCidr(dst.includes("/") ? dst : `${dst}/${dst.includes(":") ? 128 : 32}`);
}

/** Docker's side of the protocols, in a world. */
export class Dockerd {
  readonly #world: TestWorld;
  readonly #socket: string;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #sandboxes = new Set<string>();
  /** What the recording's plugin chose, and what this one chose instead. */
  readonly #chosen = new Map<string, string>();
  /** Set: links stay on the host until {@link start}, as those of a container do that is not running yet. */
  created = false;
  readonly #waiting: (() => void)[] = [];

  constructor(world: TestWorld, socket: string) {
    this.#world = world;
    this.#socket = socket;
    mkdirSync(NAMESPACES, { recursive: true });
  }

  /** One request, as it is; a body that is text is sent as such. */
  async send(call: string, body: unknown, signal?: AbortSignal): Promise<Answer> {
    const response = await fetch(`http://plugin/${call}`, {
      unix: this.#socket,
      method: "POST",
      headers: { Host: "%2Frun%2Fdocker%2Fplugins%2Fberth.sock" }, // as Docker's client has it
      ...(signal === undefined ? {} : { signal }),
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: response.status, body: (await response.json()) as Answer["body"] };
  }

  /** A request, and what dockerd does with its answer. */
  async call(call: string, request: Readonly<Record<string, Json>>): Promise<Answer> {
    const answer = await this.send(call, request);
    if (errorOf(answer) !== undefined) return answer;
    const id = textOf(request["EndpointID"]);
    if (call === "NetworkDriver.CreateEndpoint") this.#create(id, request, answer);
    if (call === "NetworkDriver.Join") this.#join(id, textOf(request["SandboxKey"]), answer);
    if (call === "NetworkDriver.Leave") this.#leave(id);
    return answer;
  }

  /** A recorded request with what this plugin chose in the place of what the recording's chose. */
  async replay({ call, request, answer }: Recorded): Promise<Answer> {
    let text = JSON.stringify(request);
    for (const [theirs, ours] of this.#chosen) text = text.replaceAll(JSON.stringify(theirs), JSON.stringify(ours));
    const got = await this.call(call, JSON.parse(text) as Recorded["request"]);
    for (const key of ["PoolID", "Address"]) {
      const [theirs, ours] = [answer?.[key], got.body[key]];
      if (typeof theirs !== "string" || typeof ours !== "string") continue;
      this.#chosen.set(theirs, ours);
      if (key === "Address") this.#chosen.set(theirs.replace(/\/.*/u, ""), ours.replace(/\/.*/u, ""));
    }
    return got;
  }

  /** The container's namespace of an endpoint, and the interface's name there. */
  place(id: string): { readonly namespace: string; readonly name: string; readonly addresses: readonly string[] } {
    const { sandbox, name, addresses } = this.#endpoints.get(id) ?? { addresses: [] };
    if (sandbox === undefined || name === undefined) throw new Error(`endpoint ${id} is not joined`);
    return { namespace: sandbox, name, addresses };
  }

  /** The container comes to run: the links of all its networks are moved at once, in the order of the Joins or another. */
  start(order: "as joined" | "reversed" = "as joined"): void {
    const all = this.#waiting.splice(0);
    for (const move of order === "reversed" ? all.toReversed() : all) move();
    this.created = false;
  }

  /** The container ends: its namespace goes, and all that is in it. */
  end(sandboxKey: string): void {
    const name = sandboxKey.replace(/.*\//u, "");
    if (!this.#sandboxes.delete(name)) return;
    rmSync(sandboxKey);
    this.#world.removeNamespace(name);
  }

  /** Every container ends. */
  endAll(): void {
    for (const name of this.#sandboxes) this.end(`${NAMESPACES}/${name}`);
  }

  #create(id: string, request: Readonly<Record<string, Json>>, answer: Answer): void {
    const asked = request["Interface"] as Record<string, string> | null;
    const chosen = answer.body["Interface"] as Record<string, string> | undefined;
    const addresses = [asked?.["Address"], asked?.["AddressIPv6"]].filter((a) => a !== undefined && a !== "");
    this.#endpoints.set(id, {
      addresses: addresses as string[],
      mac: asked?.["MacAddress"] || (chosen?.["MacAddress"] ?? ""),
    });
  }

  #join(id: string, sandboxKey: string, { body }: Answer): void {
    const answer = body as unknown as JoinAnswer;
    const endpoint = this.#endpoints.get(id);
    if (endpoint === undefined) throw new Error(`Join of ${id}, which was not created`);
    const move = (): void => this.#move(endpoint, sandboxKey, answer);
    if (this.created) this.#waiting.push(move);
    else move();
  }

  /** What libnetwork does with a link: all in one namespace, and any failure of it is the container's. */
  #move(endpoint: Endpoint, sandboxKey: string, answer: JoinAnswer): void {
    const { InterfaceName, Gateway, GatewayIPv6, StaticRoutes } = answer;
    const w = this.#world;
    const ns = sandboxKey.replace(/.*\//u, "");
    if (!this.#sandboxes.has(ns)) {
      symlinkSync(w.namespace(ns), sandboxKey);
      this.#sandboxes.add(ns);
    }
    const taken = new Set(w.ipJson(ns, "link show").map((l) => l["ifname"]));
    let n = 0;
    while (taken.has(`${InterfaceName.DstPrefix}${n}`)) n++;
    const name = `${InterfaceName.DstPrefix}${n}`;
    w.ip(HOST, `link set ${InterfaceName.SrcName} netns ${ns}`);
    w.ip(ns, `link set ${InterfaceName.SrcName} down`);
    w.ip(ns, `link set ${InterfaceName.SrcName} name ${name}`);
    if (endpoint.mac !== "") w.ip(ns, `link set ${name} address ${endpoint.mac}`);
    for (const address of endpoint.addresses) this.#refuseOverlap(ns, address);
    for (const address of endpoint.addresses)
      w.ip(ns, `address add ${address} dev ${name}${address.includes(":") ? " nodad" : ""}`);
    w.ip(ns, `link set ${name} up`);
    for (const { Destination, RouteType } of StaticRoutes) {
      if (RouteType === 1) w.ip(ns, `route add ${Destination} dev ${name} scope link`);
    }
    const has = (family: string): boolean => w.ipJson(ns, `-${family} route show default`).length > 0;
    if (Gateway !== "" && !has("4")) w.ip(ns, `route add default via ${Gateway} dev ${name}`);
    if (GatewayIPv6 !== "" && !has("6")) w.ip(ns, `-6 route add default via ${GatewayIPv6} dev ${name}`);
    Object.assign(endpoint, { sandbox: ns, source: InterfaceName.SrcName, name });
  }

  /** libnetwork gives a container no address that a route of its main table leads to (osl, checkRouteConflict). */
  #refuseOverlap(ns: string, address: string): void {
    const own = parseCidr(address);
    for (const { dst } of this.#world.ipJson(ns, `-${address.includes(":") ? 6 : 4} route show table main`)) {
      const other = typeof dst === "string" && dst !== "default" ? routeOf(dst) : undefined;
      if (own === undefined || other === undefined) continue;
      if (contains(own, other.ip) || contains(other, own.ip))
        throw new Error(`cannot program address ${address}: it conflicts with the route to ${textOf(dst)}`);
    }
  }

  #leave(id: string): void {
    const endpoint = this.#endpoints.get(id);
    const { sandbox, source, name } = endpoint ?? {};
    if (endpoint === undefined || sandbox === undefined || source === undefined || name === undefined) return;
    delete endpoint.sandbox;
    if (!this.#sandboxes.has(sandbox)) return;
    this.#world.ip(sandbox, `link set ${name} down`);
    this.#world.ip(sandbox, `link set ${name} name ${source}`);
    this.#world.ip(sandbox, `link set ${source} netns ${process.pid}`);
  }
}
