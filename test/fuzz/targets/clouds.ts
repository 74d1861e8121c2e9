// A cloud: where its credentials are, and what its services answer.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { type Credentials, findCredentials } from "../../../src/openstack/credentials.ts";
import { Neutron } from "../../../src/openstack/neutron.ts";
import type { NeutronConfig } from "../../../src/openstack/neutron-config.ts";
import { Session } from "../../../src/openstack/session.ts";
import { readResult } from "../../../src/ipam/ipam-result.ts";
import { Failure } from "../../../src/report/failure.ts";
import { Broken, type Target } from "../engine.ts";
import { hostileText, mutateJson, mutateText } from "../mutate.ts";
import type { Random } from "../random.ts";
import { Place } from "./directories.ts";

const CANARY = "canary-4711";

const clouds = `clouds:
  one:
    auth:
      auth_url: https://cloud.example.org:5000/v3
      username: demo
      password: ${CANARY}
      project_name: demo
      user_domain_id: default
      project_domain_name: Default
    region_name: RegionOne
    interface: publicURL
    verify: false
  two: {auth_type: v3applicationcredential, auth: {auth_url: "http://[fd00::1]:5000", application_credential_id: x, application_credential_secret: ${CANARY}}}
  three: &three
    auth: {auth_url: "https://cloud/identity", token: ${CANARY}, project_id: p}
    auth_type: v3token
    cacert: /etc/ssl/ca.pem
  four:
    <<: *three
`;
const variables: Readonly<Record<string, string>> = {
  OS_CLOUD: "one",
  OS_AUTH_URL: "https://cloud/v3",
  OS_USERNAME: "demo",
  OS_PASSWORD: CANARY,
  OS_PROJECT_NAME: "demo",
  OS_AUTH_TYPE: "password",
  OS_INSECURE: "true",
  OS_INTERFACE: "internal",
};

interface CloudsCase {
  readonly clouds: string;
  readonly secure: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly cloud: string | undefined;
  readonly own: boolean;
}

const DIRECTORY = "/run/fuzz-clouds";

/** clouds.yaml, secure.yaml and OS_ variables. */
export const cloudsTarget: Target<CloudsCase> = {
  name: "clouds",
  brief: "clouds.yaml, secure.yaml and the OS_ variables",
  make(r) {
    const env: Record<string, string> = {};
    for (const [key, value] of Object.entries(variables)) {
      if (r.once(2)) continue;
      env[key] = r.once(4) ? hostileText(r) : value;
    }
    return {
      clouds: r.once(10)
        ? JSON.stringify(mutateJson(r, { clouds: { one: { auth: variables } } }))
        : mutateText(r, clouds),
      secure: r.once(3) ? mutateText(r, clouds) : undefined,
      env,
      cloud: r.once(3) ? undefined : r.once(6) ? hostileText(r) : r.pick(["one", "two", "three", "four"]),
      own: r.once(5),
    };
  },
  run({ clouds: text, secure, env, cloud, own }) {
    rmSync(DIRECTORY, { recursive: true, force: true });
    mkdirSync(DIRECTORY);
    writeFileSync(`${DIRECTORY}/clouds.yaml`, text, { mode: 0o600 });
    if (secure !== undefined) writeFileSync(`${DIRECTORY}/secure.yaml`, secure);
    try {
      const config = own ? { credentials: `${DIRECTORY}/clouds.yaml` } : cloud === undefined ? {} : { cloud };
      const found = findCredentials(config, { env, directories: [DIRECTORY] });
      if (typeof found.authUrl !== "string" || !/^https?:/u.test(found.authUrl))
        throw new Broken("no URL of Keystone's");
      JSON.stringify(found);
    } catch (e) {
      // what a name or a wrong key was made of may be told, a password in its place not
      if (e instanceof Failure && text.includes(`password: ${CANARY}`) && `${e.message} ${e.advice}`.includes(CANARY))
        throw new Broken(`a secret is told: ${e.message}`);
      throw e;
    }
  },
};

/** An answer of a service. */
interface CloudAnswer {
  readonly status: number;
  readonly json: unknown;
}
type Answers = Record<string, CloudAnswer>;

const id = (n: number): string => `3f2b1c4d-0000-4000-8000-00000000000${n}`;
/** The port of the virtual machine that the targets are in. */
export const vm = {
  id: id(1),
  name: "vm",
  network_id: id(2),
  mac_address: "fa:16:3e:00:00:01",
  fixed_ips: [{ subnet_id: id(3), ip_address: "10.1.0.4" }],
  device_id: "",
  device_owner: "compute:nova",
  status: "ACTIVE",
  allowed_address_pairs: [{ ip_address: "10.1.0.9" }],
  port_security_enabled: true,
  revision_number: 7,
  trunk_details: { trunk_id: id(4), sub_ports: [{ port_id: id(5), segmentation_id: 1, segmentation_type: "vlan" }] },
};
const port = {
  ...vm,
  id: id(6),
  name: "c1",
  mac_address: "fa:16:3e:00:00:06",
  fixed_ips: [{ subnet_id: id(3), ip_address: "10.1.0.7" }],
  device_id: `${id(1)}/lan/c1/eth0`,
  device_owner: "berth:container",
  trunk_details: null,
};
const subnet = {
  id: id(3),
  name: "subnet",
  network_id: id(2),
  cidr: "10.1.0.0/24",
  gateway_ip: "10.1.0.1",
  host_routes: [{ destination: "10.9.0.0/16", nexthop: "10.1.0.2" }],
  dns_nameservers: ["10.1.0.53"],
  allocation_pools: [{ start: "10.1.0.2", end: "10.1.0.254" }],
};
const refusal = (status: number, type: string): CloudAnswer => ({
  status,
  json: { NeutronError: { type, message: `No: ${type}.`, detail: "" } },
});
/** Good answers, by the beginnings of requests. */
export const neutronAnswers: Answers = {
  "GET /ports": { status: 200, json: { ports: [port], ports_links: [] } },
  [`GET /ports/${id(1)}`]: { status: 200, json: { port: vm } },
  "GET /ports/": { status: 200, json: { port } },
  "POST /ports": { status: 201, json: { port } },
  "PUT /ports/": { status: 200, json: { port: vm } },
  "DELETE /ports/": { status: 204, json: undefined },
  "GET /networks": { status: 200, json: { networks: [{ id: id(2), name: "net", mtu: 1450 }] } },
  "GET /subnets": { status: 200, json: { subnets: [subnet] } },
  "GET /security-groups": { status: 200, json: { security_groups: [{ id: id(8), name: "default" }] } },
  "GET /quotas/": { status: 200, json: { quota: { port: { limit: 100, used: 5, reserved: 0 } } } },
  "PUT /trunks/": {
    status: 200,
    json: { sub_ports: [{ port_id: id(6), segmentation_id: 2, segmentation_type: "vlan" }] },
  },
};
const extensions = {
  extensions: ["trunk", "tag-ports-during-bulk-creation", "allowed-address-pairs", "port-security"].map((alias) => ({
    alias,
  })),
};
const token = {
  token: {
    expires_at: "2099-01-01T00:00:00.000000Z",
    project: { id: "p" },
    catalog: [
      {
        type: "network",
        endpoints: [{ interface: "public", url: "http://cloud:9696", region_id: "RegionOne", region: "RegionOne" }],
      },
    ],
  },
};

/** The one whose name is the longest beginning of a request. */
function answerTo(answers: Answers, method: string, path: string): CloudAnswer {
  const asked = `${method} ${path}`;
  const [best] = Object.keys(answers)
    .filter((key) => asked.startsWith(key))
    .toSorted((a, b) => b.length - a.length);
  return answers[best ?? ""] ?? { status: 404, json: {} };
}

let current: Answers = {};
let headers: Readonly<Record<string, string>> = {};

function answer(input: Request | URL | string, init?: RequestInit): Promise<Response> {
  const url = new URL(input instanceof Request ? input.url : input);
  const { status, json } = answerTo(current, init?.method ?? "GET", url.pathname.replace(/^\/v[\d.]+/u, ""));
  const body = json === undefined ? null : typeof json === "string" ? json : JSON.stringify(json);
  return Promise.resolve(new Response(status === 204 ? null : body, { status, headers }));
}

/** Has the client's requests answered here. */
function divert(): void {
  globalThis.fetch = Object.assign(answer, { preconnect() {} });
}

/** One that does not make the client wait and try again. */
const statuses = [400, 401, 403, 404, 409] as const;
const types = [
  "OverQuota",
  "IpAddressInUse",
  "NetworkNotFound",
  "PolicyNotAuthorized",
  "constructor",
  "toString",
] as const;

function mutated(r: Random, good: Answers): Answers {
  const all: Record<string, CloudAnswer> = { ...good };
  for (let n = 1 + r.int(2); n > 0; n--) {
    const key = r.pick(Object.keys(good));
    const { status, json } = good[key] ?? { status: 200, json: {} };
    // a trunk's VLAN may be somebody's meanwhile (409): then the client waits, and tries the next
    const refused = key.startsWith("PUT /trunks") ? ([400, 403, 404] as const) : statuses;
    all[key] = r.once(6)
      ? refusal(r.pick(refused), r.pick(types))
      : {
          status: r.once(10) ? r.pick([200, 201, 204, ...refused]) : status,
          json: r.once(20) ? hostileText(r) : mutateJson(r, json),
        };
  }
  return all;
}

const credentials = (password: string): Credentials => ({
  source: "fuzz",
  authUrl: "http://cloud:5000/v3",
  proof: { method: "password", user: { id: "u" }, password },
  project: { id: "p" },
  interface: "public",
  verify: true,
});

const configs: readonly NeutronConfig[] = [
  { type: "neutron", vmPort: id(1) },
  {
    type: "neutron",
    vmPort: id(1),
    network: "net",
    subnets: ["subnet"],
    ip: "10.1.0.7",
    securityGroups: ["default"],
    tags: ["a"],
    dnsName: "c1",
  },
  { type: "neutron", vmPort: id(1), port: id(6) },
  { type: "neutron", vmPort: id(1), addressPairs: { cidr: "10.1.0.0/28" } },
  { type: "neutron" },
];
const verbs = [
  "allocate",
  "allocate",
  "preview",
  "release",
  "check",
  "collect",
  "status",
  "admit",
  "dismiss",
  "lacking",
] as const;

interface NeutronCase {
  readonly config: number;
  readonly kind: "macvlan" | "ipvlan" | "vlan";
  readonly verb: (typeof verbs)[number];
  readonly answers: Answers;
}

let cloudPlace: Place | undefined;
let session: Session | undefined;

/** A session that has logged in. */
async function loggedIn(): Promise<Session> {
  if (session !== undefined) return session;
  session = new Session(credentials("good"));
  current = { "POST /auth/tokens": { status: 201, json: token }, "GET /extensions": { status: 200, json: extensions } };
  headers = { "x-subject-token": "t" };
  await session.grant();
  return session;
}

/** What Neutron answers. */
export const neutronTarget: Target<NeutronCase> = {
  name: "neutron",
  brief: "Neutron's answers, to whole attachments",
  make: (r) => ({
    config: r.int(configs.length),
    kind: r.pick(["macvlan", "ipvlan", "vlan"]),
    verb: r.pick(verbs),
    answers: mutated(r, neutronAnswers),
  }),
  async run({ config, kind, verb, answers }) {
    divert();
    cloudPlace ??= new Place("neutron");
    const own = await loggedIn();
    rmSync("/var/lib/berth", { recursive: true, force: true });
    current = {
      ...answers,
      "POST /auth/tokens": { status: 201, json: token },
      "GET /extensions": { status: 200, json: extensions },
    };
    const neutron = new Neutron(configs[config] ?? { type: "neutron" }, own);
    const holder = { network: "lan", containerId: "c1", ifName: "eth0" };
    const seat = { kind, parentMac: "fa:16:3e:00:00:01", mac: undefined };
    const admission = { port: id(1), user: id(6), pairs: [{ mac: "fa:16:3e:00:00:06", ip: "10.1.0.7" }] };
    try {
      switch (verb) {
        case "allocate": {
          const { port: given, ips } = await neutron.allocate(holder, [], seat);
          for (const { address } of ips)
            if (!/^[\da-f.:]+\/\d+$/u.test(address)) throw new Broken(`an address ${address}`);
          if (given?.admission !== undefined) await neutron.admit(given.admission);
          break;
        }
        case "preview":
          await neutron.preview(holder, [], seat);
          break;
        case "release":
          await neutron.release(holder);
          break;
        case "check":
          await neutron.check(holder, ["10.1.0.7"]);
          break;
        case "collect":
          await neutron.collect("lan", []);
          break;
        case "status":
          await neutron.status("lan");
          break;
        case "admit":
          await neutron.admit(admission);
          break;
        case "dismiss":
          await neutron.dismiss(admission);
          break;
        case "lacking":
          await neutron.lacking(admission);
      }
    } finally {
      cloudPlace.check();
    }
  },
};

interface KeystoneCase {
  readonly token: CloudAnswer;
  readonly extensions: CloudAnswer;
  readonly subject: string | undefined;
}

/** What Keystone answers, and the list of extensions that is asked for at once. */
export const keystoneTarget: Target<KeystoneCase> = {
  name: "keystone",
  brief: "Keystone's answers to a log in",
  make(r) {
    const { "GET /extensions": second = { status: 200, json: extensions }, "POST /auth/tokens": first } = mutated(r, {
      "POST /auth/tokens": { status: 201, json: token },
      ...(r.once(3) ? { "GET /extensions": { status: 200, json: extensions } } : {}),
    });
    const subject = r.once(10) ? undefined : r.once(10) ? encodeURIComponent(hostileText(r).toWellFormed()) : "t";
    return { token: first ?? { status: 201, json: token }, extensions: second, subject };
  },
  async run({ token: first, extensions: second, subject }) {
    divert();
    rmSync("/run/berth/tokens", { recursive: true, force: true });
    current = { "POST /auth/tokens": first, "GET /extensions": second };
    headers = subject === undefined ? {} : { "x-subject-token": subject };
    const grant = await new Session(credentials(CANARY)).grant();
    if (!/^https?:/u.test(grant.endpoint)) throw new Broken(`an endpoint ${grant.endpoint}`);
  },
};

const ipamResults: readonly unknown[] = [
  {
    cniVersion: "1.1.0",
    ips: [{ address: "10.1.0.7/24", gateway: "10.1.0.1" }, { address: "fd00::7/64" }],
    routes: [{ dst: "0.0.0.0/0", gw: "10.1.0.1", mtu: 1400, table: 5 }, { dst: "fd00::/8" }],
    dns: { nameservers: ["10.1.0.53"], search: ["a"], domain: "b", options: ["c"] },
  },
  {
    ip4: { ip: "10.1.0.7/24", gateway: "10.1.0.1", routes: [{ dst: "10.0.0.0/8", gw: "10.1.0.2" }] },
    ip6: { ip: "fd00::7/64" },
    dns: {},
  },
];

/** What a delegated IPAM plugin answers. */
export const ipamResultTarget: Target = {
  name: "ipam-result",
  brief: "answers of delegated IPAM plugins",
  make: (r) => mutateJson(r, r.pick(ipamResults)),
  run(result) {
    if (typeof result === "object" && result !== null && !Array.isArray(result))
      readResult(result as Readonly<Record<string, unknown>>);
  },
};
