// Where a cloud's credentials come from: clouds.yaml and secure.yaml, the environment, or a file of their own.
import * as v from "valibot";
import { isObject, type Json } from "../ipam/json.ts";
import { readFileIfThere, statusOf } from "../kernel/files.ts";
import { Failure } from "../report/failure.ts";

/** How to prove who is asking (Keystone API v3, "Authentication and token management"). */
export type Proof =
  | { readonly method: "password"; readonly user: Named; readonly password: string }
  | {
      readonly method: "application_credential";
      readonly id?: string;
      readonly name?: string;
      readonly user?: Named;
      readonly secret: string;
    }
  | { readonly method: "token"; readonly token: string };

/** A user or project, by id or by name within a domain. */
export interface Named {
  readonly id?: string;
  readonly name?: string;
  readonly domain?: { readonly id?: string; readonly name?: string };
}

/** What a client of a cloud needs to know of it. */
export interface Credentials {
  /** Where they were found, for sentences. */
  readonly source: string;
  /** Keystone's, with its version: `https://cloud:5000/v3`. */
  readonly authUrl: string;
  readonly proof: Proof;
  readonly project?: Named;
  readonly region?: string;
  readonly interface: "public" | "internal" | "admin";
  /** A file of certificates to trust, PEM. */
  readonly caFile?: string;
  /** Whether the server's certificate is verified. */
  readonly verify: boolean;
}

/** Where a configuration says that credentials are. */
export interface CredentialsConfig {
  /** A cloud of clouds.yaml. */
  readonly cloud?: string;
  /** Path of a file with one cloud, as an entry of clouds.yaml. */
  readonly credentials?: string;
}

const text = v.exactOptional(v.string());
const Auth = v.looseObject({
  auth_url: text,
  username: text,
  user_id: text,
  password: text,
  project_name: text,
  project_id: text,
  tenant_name: text,
  tenant_id: text,
  domain_name: text,
  domain_id: text,
  user_domain_name: text,
  user_domain_id: text,
  project_domain_name: text,
  project_domain_id: text,
  application_credential_id: text,
  application_credential_name: text,
  application_credential_secret: text,
  token: text,
});
const Entry = v.looseObject({
  auth: v.optional(Auth, {}),
  auth_type: text,
  region_name: text,
  interface: v.exactOptional(v.picklist(["public", "internal", "admin", "publicURL", "internalURL", "adminURL"])),
  cacert: text,
  verify: v.exactOptional(v.boolean()),
});
type Auth = v.InferOutput<typeof Auth>;
type Entry = v.InferOutput<typeof Entry>;

/** What the surroundings tell: tests have their own. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where OpenStack clients look for their files, the first that has one wins. */
  readonly directories: readonly string[];
}

/**
 * Of this process: as OpenStack clients have it (os-client-config), but for the working directory, where they look first.
 * That is the caller's: a file there could send what /etc/openstack/secure.yaml says to whom it likes.
 */
function surroundings(): Surroundings {
  const { env } = process;
  const own = env["XDG_CONFIG_HOME"] ?? `${env["HOME"] ?? "/root"}/.config`;
  return { env, directories: [`${own}/openstack`, "/etc/openstack"] };
}

function configFailure(message: string, advice: string, cause?: unknown): Failure {
  return new Failure("config", message, { advice, ...(cause === undefined ? {} : { cause }) });
}

function readText(path: string): string | undefined {
  try {
    return readFileIfThere(path);
  } catch (e) {
    throw new Failure("io", `read ${path}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
}

function parseYaml(path: string, content: string): Json {
  let parsed: unknown;
  try {
    parsed = Bun.YAML.parse(content);
  } catch (e) {
    throw configFailure(`read ${path}: ${e instanceof Error ? e.message : String(e)}`, "It must be YAML.", e);
  }
  if (isObject(parsed)) return parsed;
  throw configFailure(`read ${path}: it is no mapping`, 'Write it as OpenStack clients do: "clouds:", then a cloud.');
}

/** The first of the places that has the file; undefined where none has. */
function findYaml(
  name: string,
  variable: string,
  { env, directories }: Surroundings,
): { path: string; json: Json } | undefined {
  const first = env[variable];
  const paths = [
    ...(first === undefined || first === "" ? [] : [first]),
    ...directories.flatMap((d) => [`${d}/${name}.yaml`, `${d}/${name}.yml`]),
  ];
  for (const path of paths) {
    const content = readText(path);
    if (content !== undefined) return { path, json: parseYaml(path, content) };
  }
  return undefined;
}

/** One mapping over another, at every depth. */
function merged(below: Json, above: Json): Json {
  const all: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const former = all[key];
    all[key] = isObject(former) && isObject(value) ? merged(former, value) : value;
  }
  return all;
}

function cloudsOf(json: Json | undefined): Json {
  const clouds = json?.["clouds"];
  return isObject(clouds) ? clouds : {};
}

/** A cloud of clouds.yaml with what secure.yaml adds. Throws `Failure` (`config`). */
function fromClouds(wanted: string | undefined, around: Surroundings): Credentials {
  const file = findYaml("clouds", "OS_CLIENT_CONFIG_FILE", around);
  const secure = findYaml("secure", "OS_CLIENT_SECURE_FILE", around);
  const clouds = merged(cloudsOf(file?.json), cloudsOf(secure?.json));
  const names = Object.keys(clouds);
  const name = wanted ?? (names.length === 1 ? names[0] : undefined);
  const where = file?.path ?? `clouds.yaml in ${around.directories.join(", ")}`;
  if (file === undefined) {
    throw configFailure(
      `find the credentials of ${wanted === undefined ? "a cloud" : `the cloud ${wanted}`}: there is no ${where}`,
      'Write one, name a file with "credentials", or set OS_AUTH_URL and the other OS_ variables.',
    );
  }
  if (name === undefined) {
    throw configFailure(
      `find the credentials: ${where} has the clouds ${names.join(", ")}, and none was named`,
      'Name one of them with "cloud", or OS_CLOUD.',
    );
  }
  const entry = clouds[name];
  if (!isObject(entry)) {
    throw configFailure(
      `find the credentials of the cloud ${name}: ${where} has ${names.length === 0 ? "none" : names.join(", ")}`,
      'Name one of them with "cloud".',
    );
  }
  return fromEntry(entry, `${where}, cloud ${name}`);
}

/** A file with one cloud, which nobody else may read. Throws `Failure` (`config`, `io`). */
function fromFile(path: string): Credentials {
  const content = readText(path);
  if (content === undefined) throw configFailure(`read the credentials ${path}: there is no such file`, "Write it.");
  if (((statusOf(path)?.permissions ?? 0) & 0o007) !== 0) {
    throw configFailure(`use the credentials ${path}: everybody may read or write the file`, `chmod 600 ${path}`);
  }
  return fromEntry(parseYaml(path, content), path);
}

/** The names that clients know from their environment (OS_USERNAME and so on). */
function fromEnvironment(env: Surroundings["env"]): Credentials {
  const auth: Record<string, string> = {};
  for (const key of Object.keys(Auth.entries)) {
    const value = env[`OS_${key.toUpperCase()}`];
    if (value !== undefined && value !== "") auth[key] = value;
  }
  const entry: Record<string, unknown> = { auth };
  for (const key of ["auth_type", "region_name", "interface", "cacert"]) {
    const value = env[`OS_${key.toUpperCase()}`];
    if (value !== undefined && value !== "") entry[key] = value;
  }
  if (/^(1|true|yes)$/iu.test(env["OS_INSECURE"] ?? "")) entry["verify"] = false;
  return fromEntry(entry, "the environment (OS_AUTH_URL and others)");
}

function named(
  id: string | undefined,
  name: string | undefined,
  auth: Auth,
  kind: "user" | "project",
): Named | undefined {
  if (id !== undefined) return { id };
  if (name === undefined) return undefined;
  const domainId = auth[`${kind}_domain_id`] ?? auth.domain_id;
  const domainName = auth[`${kind}_domain_name`] ?? auth.domain_name;
  const domain = domainId === undefined ? { name: domainName ?? "Default" } : { id: domainId };
  return { name, domain };
}

function proofOf(auth: Auth, type: string | undefined, source: string): Proof {
  const missing = (what: string): Failure =>
    configFailure(`use the credentials in ${source}: ${what} is missing`, "Complete them.");
  const user = named(auth.user_id, auth.username, auth, "user");
  if (type?.includes("applicationcredential") === true || auth.application_credential_secret !== undefined) {
    const {
      application_credential_id: id,
      application_credential_name: name,
      application_credential_secret: secret,
    } = auth;
    if (secret === undefined) throw missing("application_credential_secret");
    if (id !== undefined) return { method: "application_credential", id, secret };
    if (name === undefined) throw missing("application_credential_id");
    if (user === undefined) throw missing("user_id or username, which a credential's name belongs to,");
    return { method: "application_credential", name, user, secret };
  }
  if (type?.endsWith("token") === true || (auth.token !== undefined && auth.password === undefined)) {
    if (auth.token === undefined) throw missing("token");
    return { method: "token", token: auth.token };
  }
  if (type !== undefined && !/^(v3)?password$/u.test(type)) {
    throw configFailure(
      `use the credentials in ${source}: auth_type is ${type}`,
      "Berth knows password, v3applicationcredential and token.",
    );
  }
  if (user === undefined) throw missing("username or user_id");
  if (auth.password === undefined) throw missing("password");
  return { method: "password", user, password: auth.password };
}

function versioned(url: string): string {
  const plain = url.replace(/\/+$/u, "");
  return /\/v\d[\d.]*$/u.test(plain) ? plain.replace(/\/v2\.0$/u, "/v3") : `${plain}/v3`;
}

function fromEntry(json: Json, source: string): Credentials {
  const result = v.safeParse(Entry, json);
  if (!result.success) {
    const [issue] = result.issues;
    const path = issue.path?.map((p) => String(p.key)).join(".") ?? "";
    throw configFailure(`use the credentials in ${source}: ${path} must be ${issue.expected}`, "Mend the file.");
  }
  const entry: Entry = result.output;
  const { auth } = entry;
  // the value is not told: who exchanges two lines of the file has the password there
  if (auth.auth_url === undefined || !/^https?:\/\//u.test(auth.auth_url)) {
    throw configFailure(
      `use the credentials in ${source}: auth_url is ${auth.auth_url === undefined ? "missing" : "no http:// or https:// URL"}`,
      "It is Keystone's address, as https://cloud.example.org:5000/v3.",
    );
  }
  const project = named(auth.project_id ?? auth.tenant_id, auth.project_name ?? auth.tenant_name, auth, "project");
  return {
    source,
    authUrl: versioned(auth.auth_url),
    proof: proofOf(auth, entry.auth_type, source),
    ...(project === undefined ? {} : { project }),
    ...(entry.region_name === undefined ? {} : { region: entry.region_name }),
    interface: (entry.interface?.replace("URL", "") ?? "public") as Credentials["interface"],
    ...(entry.cacert === undefined ? {} : { caFile: entry.cacert }),
    verify: entry.verify ?? true,
  };
}

/**
 * The credentials that a configuration names; where it names none: OS_CLOUD, then OS_AUTH_URL and the other variables, then
 * the one cloud of clouds.yaml. Throws `Failure` (`config`, `io`).
 */
export function findCredentials(config: CredentialsConfig, around: Surroundings = surroundings()): Credentials {
  if (config.credentials !== undefined) return fromFile(config.credentials);
  const cloud = config.cloud ?? around.env["OS_CLOUD"];
  if ((cloud === undefined || cloud === "") && (around.env["OS_AUTH_URL"] ?? "") !== "")
    return fromEnvironment(around.env);
  return fromClouds(cloud === "" ? undefined : cloud, around);
}
