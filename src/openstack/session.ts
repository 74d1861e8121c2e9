// A session with a cloud: a token of Keystone's, kept on disk between processes, and requests to its network service.
import * as v from "valibot";
import { Failure } from "../report/failure.ts";
import { withoutUser } from "../report/redact.ts";
import type { Credentials, Named, Proof } from "./credentials.ts";
import { failureOf } from "./errors.ts";
import { type Answer, Http, isHttp, type Request } from "./http.ts";
import { type Grant, TokenCache } from "./token-cache.ts";

const Token = v.object({
  token: v.object({
    expires_at: v.string(),
    project: v.exactOptional(v.object({ id: v.string() })),
    catalog: v.optional(
      v.array(
        v.object({
          type: v.string(),
          endpoints: v.array(
            v.object({
              interface: v.string(),
              url: v.string(),
              region_id: v.nullish(v.string()),
              region: v.nullish(v.string()),
            }),
          ),
        }),
      ),
      [],
    ),
  }),
});
type Catalog = v.InferOutput<typeof Token>["token"]["catalog"];

const Extensions = v.object({ extensions: v.array(v.object({ alias: v.string() })) });

/** What is asked of the network service. */
export interface Call extends Pick<Request, "method" | "body" | "headers" | "doing"> {
  /** Below the service's version, as `/ports`. */
  readonly path: string;
  /** Absent: what the method says: all but POST. */
  readonly repeatable?: boolean;
}

/** Talks to one cloud as one user. */
export class Session {
  readonly credentials: Credentials;
  readonly #http: Http;
  readonly #cache: TokenCache;
  #grant: Grant | undefined;

  /** Throws `Failure` (`io`). Nothing is asked yet. */
  constructor(credentials: Credentials) {
    this.credentials = credentials;
    this.#http = new Http(credentials);
    this.#cache = new TokenCache(credentials);
  }

  /** What was granted, of this process, of an earlier one, or of Keystone now. Throws `Failure` (`config`, `busy`). */
  async grant(): Promise<Grant> {
    this.#grant ??= this.#cache.read() ?? (await this.#another());
    return this.#grant;
  }

  /**
   * Asks the network service; a token that is no longer accepted is renewed. Throws `Failure` for every answer but 2xx, as
   * {@link failureOf} says, and `busy` where there is none.
   */
  async call(call: Call): Promise<unknown> {
    let grant = await this.grant();
    let answer = await this.#send(call, grant);
    // twice: the token that another process obtained meanwhile may be revoked too
    for (let renewed = 0; answer.status === 401 && renewed < 2; renewed++) {
      grant = this.#grant = await this.#another(grant);
      answer = await this.#send(call, grant);
    }
    if (answer.status >= 200 && answer.status < 300) return answer.json;
    throw failureOf(call.doing, answer);
  }

  /** What another process has been granted by now, or Keystone grants: one process logs in for all that wait. */
  async #another(refused?: Grant): Promise<Grant> {
    using _lock = await this.#cache.lock();
    const kept = this.#cache.read();
    if (kept !== undefined && kept.token !== refused?.token) return kept;
    this.#cache.forget();
    return await this.#login();
  }

  async #send({ method, path, body, headers, doing, repeatable }: Call, grant: Grant): Promise<Answer> {
    return await this.#http.send({
      method,
      url: grant.endpoint + path,
      headers: { ...headers, "x-auth-token": grant.token },
      ...(body === undefined ? {} : { body }),
      doing,
      repeatable: repeatable ?? method !== "POST",
    });
  }

  async #login(): Promise<Grant> {
    const { authUrl, source } = this.credentials;
    const doing = `log in to ${withoutUser(authUrl)} with ${source}`;
    const answer = await this.#http.send({
      method: "POST",
      url: `${authUrl}/auth/tokens`,
      body: { auth: authOf(this.credentials) },
      doing,
      repeatable: true, // a second token does no harm
    });
    const token = answer.headers.get("x-subject-token");
    if (answer.status !== 201 || token === null) throw refusedLogin(doing, answer);
    const result = v.safeParse(Token, answer.json);
    if (!result.success) throw failureOf(doing, answer);
    const { expires_at: expires, project, catalog } = result.output.token;
    if (project === undefined) {
      throw new Failure("config", `${doing}: the token is not for a project`, {
        advice: "Name the project (project_id or project_name).",
      });
    }
    const endpoint = this.#endpointOf(catalog, doing);
    const grant = { token, expires: Date.parse(expires), projectId: project.id, endpoint, extensions: [] };
    const extensions = await this.#send(
      { method: "GET", path: "/extensions", doing: "list the extensions of Neutron" },
      grant,
    );
    const known = v.safeParse(Extensions, extensions.json);
    // without them nothing is kept: it would be without them until the token expires
    if (!known.success) throw failureOf("list the extensions of Neutron", extensions);
    const complete: Grant = { ...grant, extensions: known.output.extensions.map((e) => e.alias) };
    this.#cache.write(complete);
    return complete;
  }

  #endpointOf(catalog: Catalog, doing: string): string {
    const { region, interface: wanted } = this.credentials;
    const all = catalog.filter((s) => s.type === "network").flatMap((s) => s.endpoints);
    const endpoint = all.find(
      (e) => e.interface === wanted && (region === undefined || e.region_id === region || e.region === region),
    );
    if (endpoint === undefined) {
      const there = all.map((e) => `${e.interface} in ${e.region_id ?? e.region ?? "no region"}`);
      throw new Failure(
        "config",
        `${doing}: there is no ${wanted} endpoint of the network service${region === undefined ? "" : ` in region ${region}`}`,
        {
          advice: `The catalog has ${there.length === 0 ? "none at all" : there.join(", ")}: look at region_name and interface.`,
        },
      );
    }
    // Bun's fetch reads files, too
    if (!isHttp(endpoint.url)) {
      throw new Failure(
        "config",
        `${doing}: the network service's endpoint is ${withoutUser(endpoint.url)}: it is no http or https URL`,
      );
    }
    const plain = endpoint.url.replace(/\/+$/u, "");
    return /\/v\d[\d.]*$/u.test(plain) ? plain : `${plain}/v2.0`;
  }
}

function refusedLogin(doing: string, answer: Answer): Failure {
  if (answer.status !== 401 && answer.status !== 404) return failureOf(doing, answer);
  return new Failure("config", `${doing}: refused (HTTP ${answer.status})`, {
    advice:
      answer.status === 401
        ? "Look at the user, the password or the application credential's secret, the domain and the project."
        : "Look at auth_url: it must be Keystone's, as https://cloud.example.org:5000/v3.",
  });
}

/** A user or project as Keystone takes it. */
function reference({ id, name, domain }: Named): object {
  return id === undefined ? { name, domain } : { id };
}

function identityOf(proof: Proof): object {
  switch (proof.method) {
    case "password":
      return { methods: ["password"], password: { user: { ...reference(proof.user), password: proof.password } } };
    case "token":
      return { methods: ["token"], token: { id: proof.token } };
    case "application_credential": {
      const { id, name, user, secret } = proof;
      const which = id === undefined ? { name, ...(user === undefined ? {} : { user: reference(user) }) } : { id };
      return { methods: ["application_credential"], application_credential: { ...which, secret } };
    }
  }
}

/** The request's `auth`; an application credential has its scope in itself, and Keystone refuses another. */
function authOf({ proof, project }: Credentials): object {
  const scoped = project !== undefined && proof.method !== "application_credential";
  return { identity: identityOf(proof), ...(scoped ? { scope: { project: reference(project) } } : {}) };
}
