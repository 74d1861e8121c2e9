// A cloud's own API, for tests: what Berth does is looked at, and provoked, by other code than Berth's.

/** Where the cloud of a suite is. */
export const KEYSTONE = "http://127.0.0.1:15000/v3";
export const NEUTRON = "http://127.0.0.1:19696/v2.0";

/** A body of the API. */
export type Body = Record<string, unknown>;

/** What was answered. */
export interface Reply {
  readonly status: number;
  readonly json: Body;
}

async function send(url: string, method: string, headers: Record<string, string>, body?: object): Promise<Response> {
  return await fetch(url, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    // a cloud that many ask at once on a slow machine takes its time: the tests have limits of their own
    timeout: false,
  });
}

/** A user of the cloud. */
export class Api {
  readonly token: string;
  readonly userId: string;
  readonly projectId: string;

  private constructor(token: string, userId: string, projectId: string) {
    this.token = token;
    this.userId = userId;
    this.projectId = projectId;
  }

  /** Logs in by password. Throws where that is refused. */
  static async login(user: string, password: string, project: string): Promise<Api> {
    const domain = { id: "default" };
    const auth = {
      identity: { methods: ["password"], password: { user: { name: user, password, domain } } },
      scope: { project: { name: project, domain } },
    };
    const response = await send(`${KEYSTONE}/auth/tokens`, "POST", {}, { auth });
    const json = (await response.json()) as { token?: { user: { id: string }; project: { id: string } } };
    const token = response.headers.get("x-subject-token");
    if (token === null || json.token === undefined) throw new Error(`log in as ${user}: ${JSON.stringify(json)}`);
    return new Api(token, json.token.user.id, json.token.project.id);
  }

  /** Asks Neutron; whatever it answers. */
  async call(method: string, path: string, body?: object, headers: Record<string, string> = {}): Promise<Reply> {
    const response = await send(NEUTRON + path, method, { "x-auth-token": this.token, ...headers }, body);
    const text = await response.text();
    return { status: response.status, json: text === "" ? {} : (JSON.parse(text) as Body) };
  }

  /** Asks Neutron for what must succeed: the answer's one value. Throws with what it said. */
  async must<T = Body>(method: string, path: string, body?: object): Promise<T> {
    const { status, json } = await this.call(method, path, body);
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(json)}`);
    const values = Object.values(json);
    return (values.length === 1 ? values[0] : json) as T;
  }

  /** Asks Keystone. Throws where it refuses. */
  async keystone(method: string, path: string, body?: object): Promise<unknown> {
    const response = await send(KEYSTONE + path, method, { "x-auth-token": this.token }, body);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }
}
