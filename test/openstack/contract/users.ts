// Who asks the clouds that a contract is for, and how answers are looked at.
import { expect } from "bun:test";

/** What was answered. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  /** Whatever was answered; tests look into it. */
  readonly body: Json;
}

// oxlint-disable-next-line typescript/no-explicit-any -- answers are looked at by tests, not relied on
export type Json = any;

/** No resource has it. */
export const NOBODY = "00000000-0000-4000-8000-000000000000";
export const DOMAIN = { id: "default" };

/** Asks a service; whatever it answers. */
export async function send(
  method: string,
  url: string,
  headers: Record<string, string>,
  body?: unknown,
): Promise<Reply> {
  const response = await fetch(url, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  let json: unknown = text;
  try {
    json = text === "" ? undefined : JSON.parse(text);
  } catch {
    // a proxy's page, or a real service's for what is not there
  }
  return { status: response.status, headers: response.headers, body: json };
}

/** A user with a token. */
export class User {
  readonly authUrl: string;
  readonly token: string;
  readonly id: string;
  readonly projectId: string;
  readonly neutron: string;
  /** What {@link User.make} made. */
  readonly made: { readonly kind: string; readonly id: string }[] = [];

  constructor(authUrl: string, { headers, body }: Reply) {
    this.authUrl = authUrl;
    this.token = headers.get("x-subject-token") ?? "";
    this.id = body.token.user.id;
    this.projectId = body.token.project?.id;
    const services: Json[] = body.token.catalog ?? [];
    const endpoints: Json[] = services.find((s) => s.type === "network")?.endpoints ?? [];
    this.neutron = `${endpoints.find((e) => e.interface === "public")?.url}/v2.0`;
  }

  async ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    return await send(method, this.neutron + path, { "x-auth-token": this.token, ...headers }, body);
  }

  async keystone(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    return await send(method, this.authUrl + path, { "x-auth-token": this.token, ...headers }, body);
  }

  /** Makes something, and answers it. */
  async make(kind: string, values: object): Promise<Json> {
    const { status, body } = await this.ask("POST", `/${kind}s`, { [kind]: values });
    if (status !== 201) throw new Error(`make a ${kind}: ${status} ${JSON.stringify(body)}`);
    this.made.push({ kind, id: body[kind].id });
    return body[kind];
  }

  async port(id: string): Promise<Json> {
    return (await this.ask("GET", `/ports/${id}`)).body.port;
  }

  async put(id: string, values: object, revision?: number): Promise<Reply> {
    const headers = revision === undefined ? undefined : { "if-match": `revision_number=${revision}` };
    return await this.ask("PUT", `/ports/${id}`, { port: values }, headers);
  }

  /** The names or ids of the ports that a filter finds. */
  async find(query: string, field = "id"): Promise<string[]> {
    const { body } = await this.ask("GET", `/ports?fields=${field}&${query}`);
    return (body.ports as Json[]).map((p) => String(p[field])).toSorted();
  }
}

/** Expects a refusal of Neutron's. */
export function refused({ status, body }: Reply, wantedStatus: number, type: string, message: RegExp): void {
  expect({ status, body }).toEqual({
    status: wantedStatus,
    body: { NeutronError: { type, message: expect.stringMatching(message), detail: "" } },
  });
}

/** A login by password. */
export function byPassword(user: string, password: string, project?: string): object {
  return {
    auth: {
      identity: { methods: ["password"], password: { user: { name: user, password, domain: DOMAIN } } },
      ...(project === undefined ? {} : { scope: { project: { name: project, domain: DOMAIN } } }),
    },
  };
}

/** The values of a key, sorted. */
export function sortedTexts(list: Json, key: string): string[] {
  return (list as Json[]).map((entry) => String(entry[key])).toSorted();
}

/** The users of a cloud, and what they are given to begin with. */
export interface Cast {
  readonly authUrl: string;
  readonly admin: User;
  readonly demo: User;
  /** A reader of demo's project. */
  readonly reader: User;
  readonly other: User;
  /** Asks for a token. */
  tokens(body: object): Promise<Reply>;
  /** A further token of a user's. */
  login(user: string, project?: string): Promise<User>;
  /** A new network of demo's with one subnet. */
  network(cidr?: string, more?: object): Promise<{ net: Json; subnet: Json }>;
}

/** Removes what the tests made: other suites count what there is. */
export async function strike({ admin, demo }: Cast): Promise<void> {
  const ids = (kind: string): string[] => demo.made.filter((m) => m.kind === kind).map((m) => m.id);
  for (const id of ids("trunk")) await demo.ask("DELETE", `/trunks/${id}`);
  for (const id of ids("network")) {
    const { body } = await admin.ask("GET", `/ports?network_id=${id}&fields=id`);
    for (const port of body.ports as Json[]) await admin.ask("DELETE", `/ports/${port.id}`);
    const { status } = await admin.ask("DELETE", `/networks/${id}`);
    if (status !== 204 && status !== 404) throw new Error(`remove the network ${id}: ${status}`);
  }
}

/** The cast, once the cloud is there. */
export type Stage = () => Cast;
