// A small cloud in this process: what Keystone and Neutron answer to the requests of Berth's client, with revisions that are
// enforced, and with whatever trouble a test has in mind.

import type { Credentials } from "../../src/openstack/credentials.ts";
import { Failure } from "../../src/report/failure.ts";

/** A JSON object. */
type Body = Record<string, unknown>;

/** A request that arrived. */
export interface Asked {
  readonly method: string;
  /** Without the service's own part: `/auth/tokens`, `/ports/ID`. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  readonly body: Body;
}

/** A port as it is kept. */
export interface Stored extends Body {
  id: string;
  mac_address: string;
  device_id: string;
  fixed_ips: { subnet_id?: string; ip_address: string }[];
  allowed_address_pairs: { ip_address: string; mac_address?: string }[];
  revision_number: number;
}

/** What a test does instead of the cloud: an answer, or nothing, and the cloud answers. */
export type Trouble = (asked: Asked, usual: () => Response) => Response | undefined | Promise<Response | undefined>;

/** Some of the Neutron extensions that a cloud has. */
export const EXTENSIONS = ["port-security", "revision-if-match", "tag-ports-during-bulk-creation"];
/** The password, the secret and the token that are accepted. */
export const SECRET = "hush";

/** The failure of what must fail. */
export async function failing(promise: Promise<unknown>): Promise<Failure> {
  try {
    await promise;
  } catch (e) {
    if (e instanceof Failure) return e;
    throw e;
  }
  throw new Error("it did not fail");
}

/** An answer of Neutron's that refuses. */
export function refusal(status: number, type: string, message: string): Response {
  return Response.json(
    { NeutronError: { type, message, detail: "" } },
    { status, headers: { "x-openstack-request-id": "req-7" } },
  );
}

/** No answer: the connection ends. */
export function silence(): Response {
  // an error without a value ends it quietly
  return new Response(new ReadableStream({ pull: (controller) => controller.error(undefined) }));
}

/** Trouble with the next so many requests whose method and path begin thus. */
export function next(start: string, what: Trouble, times = 1): Trouble {
  let left = times;
  return (asked, usual) =>
    `${asked.method} ${asked.path}`.startsWith(start) && left-- > 0 ? what(asked, usual) : undefined;
}

/** The cloud. */
export class CloudServer implements Disposable {
  readonly asked: Asked[] = [];
  readonly ports = new Map<string, Stored>();
  readonly networks: Body[] = [];
  readonly subnets: Body[] = [];
  /** By the number of the VLAN, which port the one trunk carries. */
  readonly trunk = new Map<number, string>();
  readonly tokens = new Set<string>();
  readonly troubles: Trouble[] = [];
  maxPairs = 10;
  /** How long a new token is valid, milliseconds. */
  lifetimeMs = 3_600_000;
  /** The longest piece of a list. */
  pieces = Number.POSITIVE_INFINITY;
  readonly #server: Bun.Server<undefined>;
  #made = 0;

  /** Starts it, with TLS where a certificate is given. */
  constructor(tls?: { readonly cert: string; readonly key: string }) {
    Bun.spawnSync(["ip", "link", "set", "lo", "up"]);
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      ...(tls === undefined ? {} : { tls }),
      fetch: async (request) => await this.#answer(request),
    });
  }

  /** Where it is. */
  get url(): string {
    return this.#server.url.origin;
  }

  /** Credentials for it. */
  credentials(over: Partial<Credentials> = {}): Credentials {
    return {
      source: "a test",
      authUrl: `${this.url}/v3`,
      proof: { method: "password", user: { name: "ann", domain: { id: "default" } }, password: SECRET },
      project: { id: "project" },
      interface: "public",
      verify: true,
      ...over,
    };
  }

  /** What was asked, as `GET /ports`, ids left out. */
  get calls(): string[] {
    return this.asked.map((a) => `${a.method} ${a.path.replace(/[\da-f]{8}-[\da-f-]{27}/u, "ID")}`);
  }

  /** Nobody answers any more. */
  [Symbol.dispose](): void {
    void this.#server.stop(true);
  }

  /** Adds a port. */
  port(with_: Body = {}): Stored {
    const n = ++this.#made;
    const port: Stored = {
      id: crypto.randomUUID(),
      name: "",
      network_id: "net",
      mac_address: `fa:16:3e:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`,
      fixed_ips: [],
      description: "",
      device_id: "",
      device_owner: "",
      status: "DOWN",
      allowed_address_pairs: [],
      port_security_enabled: true,
      revision_number: 1,
      ...with_,
    };
    this.ports.set(port.id, port);
    return port;
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const text = await request.text();
    const asked: Asked = {
      method: request.method,
      path: url.pathname.replace(/^(\/internal)?\/(v3|v2\.0)/u, ""),
      query: url.searchParams,
      headers: request.headers,
      body: text === "" ? {} : (JSON.parse(text) as Body),
    };
    this.asked.push(asked);
    const usual = (): Response => this.#usual(asked);
    for (const trouble of this.troubles) {
      const answer = await trouble(asked, usual);
      if (answer !== undefined) return answer;
    }
    return usual();
  }

  #usual(asked: Asked): Response {
    const { method, path, headers } = asked;
    if (path === "/auth/tokens") return this.#login(asked.body);
    if (!this.tokens.has(headers.get("x-auth-token") ?? ""))
      return Response.json(
        { error: { code: 401, title: "Unauthorized", message: "Authentication required" } },
        { status: 401 },
      );
    const [, kind = "", id, verb] = path.split("/");
    if (kind === "extensions") return Response.json({ extensions: EXTENSIONS.map((alias) => ({ alias })) });
    if (kind === "networks") return Response.json({ networks: this.#listed(this.networks, asked) });
    if (kind === "subnets") return Response.json({ subnets: this.#listed(this.subnets, asked) });
    if (kind === "trunks") return this.#trunkChange(verb ?? "", asked.body);
    if (kind !== "ports") return refusal(404, "HTTPNotFound", "The resource could not be found.");
    if (id === undefined) return method === "POST" ? this.#create(asked.body) : this.#list(asked);
    const port = this.ports.get(id);
    if (port === undefined) return refusal(404, "PortNotFound", `Port ${id} could not be found.`);
    if (method === "PUT") return this.#update(port, asked);
    if (method === "DELETE") {
      if ([...this.trunk.values()].includes(id))
        return refusal(409, "PortInUseAsSubPort", `Port ${id} is currently a subport for trunk trunk.`);
      this.ports.delete(id);
      return new Response(undefined, { status: 204 });
    }
    return Response.json({ port: this.#shown(port) });
  }

  #login(body: Body): Response {
    const text = JSON.stringify(body);
    if (!text.includes(`"${SECRET}"`))
      return Response.json(
        { error: { code: 401, title: "Unauthorized", message: "The request you have made requires authentication." } },
        { status: 401 },
      );
    const token = `token-${this.tokens.size}-${crypto.randomUUID()}`;
    this.tokens.add(token);
    const endpoint = (region: string, face: string, path: string): Body => ({
      interface: face,
      region_id: region,
      region,
      url: `${this.url}${path}`,
    });
    return Response.json(
      {
        token: {
          expires_at: new Date(Date.now() + this.lifetimeMs).toISOString(),
          project: { id: "project" },
          catalog: [
            { type: "identity", endpoints: [endpoint("one", "public", "/v3")] },
            {
              type: "network",
              endpoints: [
                endpoint("one", "internal", "/internal"),
                endpoint("one", "public", "/v2.0/"),
                endpoint("two", "public", ""),
              ],
            },
          ],
        },
      },
      { status: 201, headers: { "x-subject-token": token } },
    );
  }

  #listed(all: readonly Body[], { query }: Asked): Body[] {
    const filters = [...new Set(query.keys())].filter((k) => !["fields", "marker"].includes(k));
    const has = (o: Body, key: string, wanted: string): boolean =>
      key === "fixed_ips"
        ? (o as Stored).fixed_ips.some((f) => wanted === `ip_address=${f.ip_address}`)
        : String(o[key]) === wanted;
    return all.filter((o) => filters.every((k) => query.getAll(k).some((wanted) => has(o, k, wanted))));
  }

  #list(asked: Asked): Response {
    const all = this.#listed([...this.ports.values()], asked) as Stored[];
    const from = all.findIndex((p) => p.id === asked.query.get("marker")) + 1;
    const piece = all.slice(from, from + this.pieces);
    const further = new URLSearchParams(asked.query);
    further.set("marker", piece.at(-1)?.id ?? "");
    return Response.json({
      ports: piece.map((p) => this.#shown(p)),
      ...(from + piece.length < all.length
        ? { ports_links: [{ rel: "next", href: `${this.url}/v2.0/ports?${further.toString()}` }] }
        : {}),
    });
  }

  #shown(port: Stored): Body {
    const sub_ports = [...this.trunk].map(([segmentation_id, port_id]) => ({
      segmentation_id,
      port_id,
      segmentation_type: "vlan",
    }));
    return port["trunk"] === true ? { ...port, trunk_details: { trunk_id: "trunk", sub_ports } } : port;
  }

  #create(body: Body): Response {
    const wish = body["port"] as Partial<Stored>;
    const used = new Set([...this.ports.values()].flatMap((p) => p.fixed_ips.map((f) => f.ip_address)));
    const subnet = this.subnets.find((s) => s["network_id"] === wish["network_id"]);
    const any: { subnet_id?: string; ip_address?: string }[] =
      subnet === undefined ? [] : [{ subnet_id: String(subnet["id"]) }];
    const fixed_ips: Stored["fixed_ips"] = [];
    for (const { subnet_id = "", ip_address } of wish.fixed_ips ?? any) {
      const base = String(subnet?.["cidr"]).replace(/0\/.*/u, "");
      const free = Array.from({ length: 250 }, (_, i) => `${base}${i + 2}`).find((ip) => !used.has(ip));
      const ip = ip_address ?? free ?? "";
      if (used.has(ip)) return refusal(409, "IpAddressAlreadyAllocated", `IP address ${ip} already allocated`);
      if (!ip.startsWith(base)) return refusal(400, "InvalidIpForSubnet", `IP address ${ip} is not a valid IP`);
      fixed_ips.push({ subnet_id, ip_address: ip });
    }
    return Response.json({ port: this.port({ ...wish, fixed_ips }) }, { status: 201 });
  }

  #update(port: Stored, { body, headers }: Asked): Response {
    const match = headers.get("if-match");
    if (match !== null && match !== `revision_number=${port.revision_number}`) {
      return refusal(412, "RevisionNumberConstraintFailed", `Constrained to another revision than the current one.`);
    }
    const change = body["port"] as Partial<Stored>;
    const pairs = change.allowed_address_pairs;
    if (pairs !== undefined && port["port_security_enabled"] === false)
      return refusal(409, "AddressPairAndPortSecurityRequired", "Port Security must be enabled.");
    if (pairs !== undefined && pairs.length > this.maxPairs)
      return refusal(400, "AllowedAddressPairExhausted", `The number of allowed address pair exceeds the maximum.`);
    Object.assign(port, change);
    port.revision_number++;
    return Response.json({ port });
  }

  #trunkChange(verb: string, body: Body): Response {
    const wanted = body["sub_ports"] as { port_id: string; segmentation_id: number }[];
    for (const { port_id: port, segmentation_id: vlan } of wanted) {
      if (verb === "remove_subports") {
        const has = [...this.trunk].find(([, id]) => id === port)?.[0];
        if (has === undefined) return refusal(404, "SubPortNotFound", `Subport ${port} could not be found.`);
        this.trunk.delete(has);
      } else if ([...this.trunk.values()].includes(port)) {
        return refusal(409, "TrunkPortInUse", `Port ${port} is in use by another trunk.`);
      } else if ((this.ports.get(port)?.device_id ?? "") !== "") {
        return refusal(409, "PortInUse", `Port already has an attached device.`);
      } else if (this.trunk.has(vlan)) {
        return refusal(409, "DuplicateSubPort", `segmentation_id ${vlan} already in use on trunk trunk.`);
      } else this.trunk.set(vlan, port);
    }
    return Response.json({ id: "trunk" });
  }
}
