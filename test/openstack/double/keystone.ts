// Keystone's v3 API in memory: tokens by password, application credential and token; application credentials.
import { objectOf, type Question, Refused, type Reply } from "./answers.ts";

interface User {
  readonly id: string;
  readonly name: string;
  readonly password: string;
  readonly projectId: string;
  readonly roles: readonly string[];
}

interface ApplicationCredential {
  readonly id: string;
  readonly name: string;
  readonly secret: string;
  readonly user: User;
}

/** Who a token is for. */
export interface Grant {
  readonly user: User;
  /** Absent where the token has no scope. */
  readonly projectId: string | undefined;
  readonly methods: readonly string[];
  /** Milliseconds since 1970. */
  readonly expires: number;
  readonly issued: number;
}

const DOMAIN = { id: "default", name: "Default" };
const REGION = "RegionOne";
const UNAUTHORIZED = "The request you have made requires authentication.";
/** So long Neutron takes a token for good that it has asked Keystone about, milliseconds (keystonemiddleware, `token_cache_time`). */
const VALIDATION_CACHE_MS = 300_000;

function identifier(): string {
  return crypto.randomUUID().replaceAll("-", "");
}

function malformed(what: string): Refused {
  const blame =
    "The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.";
  return new Refused(400, "Bad Request", `${what} ${blame}`);
}

function parse(text: string): Record<string, unknown> {
  try {
    return objectOf(JSON.parse(text)) ?? {};
  } catch {
    throw malformed("");
  }
}

/** Users, projects, tokens. */
export class Keystone {
  /** By name. */
  readonly projects = new Map<string, string>();
  readonly #users: User[] = [];
  readonly #credentials = new Map<string, ApplicationCredential>();
  readonly #tokens = new Map<string, Grant>();
  readonly #revoked = new Set<string>();
  /** Until when Neutron does not ask again. */
  readonly #validated = new Map<string, number>();
  /** How long a token is valid, milliseconds. */
  tokenLifetimeMs = 3_600_000;
  /** Where the services are. */
  endpoints = { identity: "", network: "" };

  constructor() {
    for (const [name, project, ...roles] of [
      ["admin", "admin", "admin", "member", "reader"],
      ["demo", "demo", "member", "reader"],
      ["reader", "demo", "reader"],
      ["other", "other", "member", "reader"],
    ] as const) {
      const projectId = this.projects.get(project) ?? identifier();
      this.projects.set(project, projectId);
      this.#users.push({ id: identifier(), name, password: name, projectId, roles });
    }
  }

  /** What a token is good for, as Neutron sees it; undefined where it is refused. */
  validate(token: string | undefined): Grant | undefined {
    const grant = token === undefined ? undefined : this.#tokens.get(token);
    if (token === undefined || grant === undefined || grant.expires <= Date.now()) return undefined;
    if (!this.#revoked.has(token)) this.#validated.set(token, Date.now() + VALIDATION_CACHE_MS);
    return (this.#validated.get(token) ?? 0) > Date.now() ? grant : undefined;
  }

  /** Has every service refuse the tokens that were given so far: as if they had expired, or Neutron's memory of them had. */
  invalidateTokens(): void {
    this.#tokens.clear();
    this.#validated.clear();
  }

  answer(question: Question): Reply {
    try {
      return this.#route(question);
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      return { status: e.status, body: { error: { code: e.status, message: e.message, title: e.type } } };
    }
  }

  #route({ method, path, headers, text }: Question): Reply {
    if (path === "/v3" || path === "/v3/") return { status: 200, body: { version: { id: "v3.14", status: "stable" } } };
    if (path === "/v3/auth/tokens" && method === "POST") return this.#login(parse(text));
    const caller = this.#known(headers["x-auth-token"]);
    if (caller === undefined) throw new Refused(401, "Unauthorized", UNAUTHORIZED);
    if (path === "/v3/auth/tokens") return this.#subject(method, headers["x-subject-token"]);
    const [, userId, id] = /^\/v3\/users\/([^/]+)\/application_credentials(?:\/([^/]+))?$/u.exec(path) ?? [];
    if (userId !== caller.user.id) throw new Refused(404, "Not Found", "The resource could not be found.");
    if (method === "POST") return this.#newCredential(caller, parse(text));
    if (method === "DELETE" && id !== undefined && this.#credentials.delete(id)) return { status: 204 };
    throw new Refused(404, "Not Found", `Could not find Application Credential: ${id ?? ""}.`);
  }

  #known(token: string | string[] | undefined): Grant | undefined {
    if (typeof token !== "string" || this.#revoked.has(token)) return undefined;
    const grant = this.#tokens.get(token);
    return grant !== undefined && grant.expires > Date.now() ? grant : undefined;
  }

  #subject(method: string, token: string | string[] | undefined): Reply {
    const grant = this.#known(token);
    if (grant === undefined || typeof token !== "string") {
      throw new Refused(404, "Not Found", "Failed to validate token");
    }
    if (method !== "DELETE") return { status: 200, body: { token: this.#describe(grant) } };
    this.#revoked.add(token);
    return { status: 204 };
  }

  #newCredential({ user }: Grant, body: Record<string, unknown>): Reply {
    const { name, secret = identifier() } = objectOf(body["application_credential"]) ?? {};
    if (typeof name !== "string" || typeof secret !== "string") throw malformed("'name' is a required property.");
    const credential = { id: identifier(), name, secret, user };
    this.#credentials.set(credential.id, credential);
    return {
      status: 201,
      body: {
        application_credential: { id: credential.id, name, secret, project_id: user.projectId, expires_at: null },
      },
    };
  }

  #login(body: Record<string, unknown>): Reply {
    const auth = objectOf(body["auth"]);
    if (auth === undefined) throw malformed("Expecting to find auth in request body.");
    const identity = objectOf(auth["identity"]) ?? {};
    const methods = Array.isArray(identity["methods"]) ? identity["methods"].map(String) : [];
    const [method = ""] = methods;
    const proof = objectOf(identity[method]);
    if (proof === undefined) throw malformed(`Expecting to find ${method} in identity.`);
    const scope = objectOf(auth["scope"]);
    const grant = this.#prove(method, proof, scope);
    const token = `gAAAAAB${identifier()}${identifier()}`;
    this.#tokens.set(token, grant);
    return { status: 201, body: { token: this.#describe(grant) }, headers: { "x-subject-token": token } };
  }

  #prove(method: string, proof: Record<string, unknown>, scope: Record<string, unknown> | undefined): Grant {
    const issued = Date.now();
    const expires = issued + this.tokenLifetimeMs;
    const refused = new Refused(401, "Unauthorized", UNAUTHORIZED);
    if (method === "password") {
      const named = objectOf(proof["user"]);
      if (named === undefined) throw malformed("Expecting to find user in None.");
      const user = this.#userOf(named);
      if (user === undefined || user.password !== named["password"]) throw refused;
      return { user, projectId: this.#scopeOf(user, scope), methods: [method], expires, issued };
    }
    if (method === "token") {
      const id = proof["id"];
      const old = typeof id === "string" ? this.#known(id) : undefined;
      if (old === undefined) throw new Refused(404, "Not Found", "Could not recognize Fernet token");
      const projectId = scope === undefined ? old.projectId : this.#scopeOf(old.user, scope);
      return { ...old, methods: [method, ...old.methods], projectId, issued }; // it expires with the one before
    }
    if (method === "application_credential") {
      const credential = this.#credentialOf(proof);
      if (credential.secret !== proof["secret"]) throw refused;
      if (scope !== undefined) {
        const why = "Application credentials cannot request a scope.";
        throw new Refused(401, "Unauthorized", `Error authenticating with application credential: ${why}`);
      }
      const { user } = credential;
      return { user, projectId: user.projectId, methods: [method], expires, issued };
    }
    throw malformed(`Expecting to find ${method} in identity.`);
  }

  #credentialOf(proof: Record<string, unknown>): ApplicationCredential {
    const { id, name, user } = proof;
    if (typeof id !== "string" && user === undefined) {
      throw malformed("Expecting to find user in application credential.");
    }
    const owner = this.#userOf(objectOf(user) ?? {});
    const found = [...this.#credentials.values()].find(
      (c) => c.id === id || (id === undefined && c.name === name && c.user === owner),
    );
    if (found !== undefined) return found;
    throw new Refused(404, "Not Found", `Could not find Application Credential: ${String(id ?? name)}.`);
  }

  #userOf({ id, name, domain }: Record<string, unknown>): User | undefined {
    return this.#users.find((u) => u.id === id || (id === undefined && u.name === name && isDefault(domain)));
  }

  #scopeOf(user: User, scope: Record<string, unknown> | undefined): string | undefined {
    if (scope === undefined) return undefined;
    const { id, name, domain } = objectOf(scope["project"]) ?? {};
    const projectId = typeof id === "string" ? id : isDefault(domain) ? this.projects.get(String(name)) : undefined;
    if (projectId === undefined || projectId !== user.projectId) throw new Refused(401, "Unauthorized", UNAUTHORIZED);
    return projectId;
  }

  #describe({ user, projectId, methods, expires, issued }: Grant): object {
    const project = [...this.projects].find(([, id]) => id === projectId);
    return {
      methods,
      user: { domain: DOMAIN, id: user.id, name: user.name, password_expires_at: null },
      expires_at: new Date(expires).toISOString().replace("Z", "000Z"),
      issued_at: new Date(issued).toISOString().replace("Z", "000Z"),
      ...(project === undefined
        ? {}
        : {
            project: { domain: DOMAIN, id: project[1], name: project[0] },
            is_domain: false,
            roles: user.roles.map((name) => ({ id: name, name })),
            catalog: (["identity", "network"] as const).map((type) => ({
              type,
              name: type,
              endpoints: ["public", "internal", "admin"].map((kind) => ({
                interface: kind,
                region: REGION,
                region_id: REGION,
                url: this.endpoints[type],
              })),
            })),
          }),
    };
  }
}

function isDefault(domain: unknown): boolean {
  const { id, name } = objectOf(domain) ?? {};
  return id === DOMAIN.id || name === DOMAIN.name;
}
