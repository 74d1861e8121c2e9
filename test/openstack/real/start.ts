// A real cloud, as far as containers in its VMs need one: Keystone, Neutron with its database and message queue, and one
// hypervisor whose Linux bridge agent filters what comes out of its VMs' taps. All of Debian 12's packages (OpenStack Zed).
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { Api, KEYSTONE, NEUTRON } from "../api.ts";
import { Services } from "./services.ts";

/** What must be installed. */
export const packages: readonly string[] = [
  "neutron-common",
  "keystone",
  "mariadb-server-core",
  "rabbitmq-server",
  "socat",
  "iproute2",
  "iptables",
  "ipset",
  "ebtables",
  "conntrack",
  "bridge-utils",
];

/** The hypervisor's namespace, and its name in Neutron. */
export const HYPERVISOR = "hv1";
const here = `${import.meta.dir}/etc`;
const QUEUE = 15673;

/** Writes a configuration out of its template. */
function fill(services: Services, name: string, values: Record<string, string>): string {
  const path = `${services.directory}/${name}`;
  const text = Object.entries({ RUN: services.directory, ...values }).reduce(
    (content, [key, value]) => content.replaceAll(`@${key}@`, value),
    readFileSync(`${here}/${name}`, "utf8"),
  );
  writeFileSync(path, text);
  return path;
}

function startQueue(services: Services): void {
  const directory = `${services.directory}/rabbit`;
  mkdirSync(directory);
  cpSync(`${here}/rabbitmq.conf`, `${directory}/rabbit.conf`);
  services.start("rabbitmq", ["/usr/lib/rabbitmq/bin/rabbitmq-server"], {
    HOME: directory,
    RABBITMQ_NODENAME: "cloud@localhost",
    RABBITMQ_CONF_ENV_FILE: "/dev/null",
    RABBITMQ_CONFIG_FILE: `${directory}/rabbit`,
    RABBITMQ_ENABLED_PLUGINS_FILE: "/dev/null",
    RABBITMQ_MNESIA_BASE: `${directory}/mnesia`,
    RABBITMQ_LOG_BASE: `${services.directory}/log`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: String(QUEUE),
    RABBITMQ_DIST_PORT: "15674",
    ERL_EPMD_PORT: "14369",
    ERL_EPMD_ADDRESS: "127.0.0.1",
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
      "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
  });
}

/** Whether something of AMQP answers there. */
async function queueAnswers(): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(QUEUE, "127.0.0.1", () => socket.write("AMQP\0\0\u0009\u0001"));
  socket
    .on("data", () => resolve(true))
    .on("error", () => resolve(false))
    .on("close", () => resolve(false));
  const answered = await promise;
  socket.destroy();
  return answered;
}

async function startDatabases(services: Services): Promise<void> {
  const { directory } = services;
  mkdirSync(`${directory}/mysql`);
  const socket = `${directory}/mysql.sock`;
  const options =
    "--skip-networking --skip-grant-tables --skip-log-bin --performance-schema=off --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --innodb-log-file-size=16M";
  const files = `--datadir=${directory}/mysql --socket=${socket} --pid-file=${directory}/mysql.pid`;
  services.start("mariadb", `mariadbd --no-defaults --user=root ${files} ${options}`.split(" "));
  const create = `
import pymysql, sys
cursor = pymysql.connect(unix_socket=sys.argv[1], user="root").cursor()
for name in "keystone", "neutron":
    cursor.execute(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8")`;
  await services.ready("mariadb", () => {
    services.run(["/usr/bin/python3", "-c", create, socket]);
    return true;
  });
}

async function startKeystone(services: Services): Promise<void> {
  const { directory } = services;
  for (const keys of ["fernet", "credkeys"]) {
    mkdirSync(`${directory}/${keys}`);
    chmodSync(`${directory}/${keys}`, 0o700);
  }
  const config = fill(services, "keystone.conf", {});
  const manage = (...args: string[]): string => services.run(["keystone-manage", "--config-file", config, ...args]);
  manage("db_sync");
  for (const setup of ["fernet_setup", "credential_setup"])
    manage(setup, "--keystone-user", "root", "--keystone-group", "root");
  const urls = ["public", "internal", "admin"].map((i) => `--bootstrap-${i}-url=${KEYSTONE}`);
  const names = ["--bootstrap-username", "admin", "--bootstrap-password", "admin", "--bootstrap-project-name", "admin"];
  const others = [
    "--bootstrap-role-name",
    "admin",
    "--bootstrap-service-name",
    "keystone",
    "--bootstrap-region-id",
    "RegionOne",
  ];
  manage("bootstrap", ...names, ...others, ...urls);
  // without the header uwsgi closes each connection unannounced, and a client that keeps connections sees a 503 now and then
  const uwsgi =
    "uwsgi_python3 --http-socket 127.0.0.1:15000 --wsgi-file /usr/bin/keystone-wsgi-public --processes 1 --threads 4 --die-on-term --need-app --buffer-size 65535";
  services.start("keystone", [...uwsgi.split(" "), "--add-header", "Connection: close"], {
    OS_KEYSTONE_CONFIG_FILES: config,
  });
  await services.ready("keystone", async () => (await fetch(KEYSTONE)).ok);
}

/** Starts Neutron's server; it may be stopped and started again with another limit. */
export async function startNeutron(services: Services, pairs: number): Promise<void> {
  const config = fill(services, "neutron.conf", {
    PAIRS: String(pairs),
    BROKER: `rabbit://guest:guest@127.0.0.1:${QUEUE}/`,
  });
  services.start("neutron-server", ["neutron-server", "--config-file", config]);
  await services.ready("neutron-server", async () => (await fetch(NEUTRON)).status < 500);
  const admin = await Api.login("admin", "admin", "admin");
  await services.ready("neutron-server", async () => (await admin.call("GET", "/networks")).status === 200);
}

async function startHypervisor(services: Services): Promise<void> {
  const { directory } = services;
  const since = new Date().toISOString().replace("T", " ").slice(0, 19);
  for (const command of [
    `ip netns add ${HYPERVISOR}`,
    `ip -n ${HYPERVISOR} link set lo up`,
    `ip -n ${HYPERVISOR} link add fab0 type bridge`,
    `ip -n ${HYPERVISOR} addr add 10.99.0.1/24 dev fab0`,
    `ip -n ${HYPERVISOR} link set fab0 up`,
  ])
    services.run(command.split(" "));
  mkdirSync(`${directory}/state-${HYPERVISOR}/lock`, { recursive: true });
  const config = fill(services, "agent.conf", { HOST: HYPERVISOR, IP: "10.99.0.1" });
  // no route leads out of a hypervisor: the agent comes to the queue by way of a socket in the file system
  relay(services, HYPERVISOR, QUEUE);
  services.start("agent", ["ip", "netns", "exec", HYPERVISOR, "neutron-linuxbridge-agent", "--config-file", config], {
    PATH: `${here}:/usr/sbin:/usr/bin:/sbin:/bin`,
  });
  const admin = await Api.login("admin", "admin", "admin");
  await services.ready("agent", async () => {
    const { json } = await admin.call("GET", "/agents");
    const { agents = [] } = json as { agents?: { alive: boolean; started_at: string }[] };
    return agents.some((a) => a.alive && a.started_at >= since);
  });
}

/** Lets a namespace reach a port of 127.0.0.1 out here by a port of its own 127.0.0.1. */
export function relay(services: Services, namespace: string, port: number, to = port): void {
  const socket = `${services.directory}/relay-${to}`;
  if (!services.runs(`relay-${to}`)) {
    services.start(`relay-${to}`, ["socat", `UNIX-LISTEN:${socket},fork,unlink-early`, `TCP:127.0.0.1:${to}`]);
  }
  const inside = `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork`;
  const enter = ["nsenter", `--net=/run/netns/${namespace}`];
  services.start(`relay-${namespace}-${port}`, [...enter, "socat", inside, `UNIX-CONNECT:${socket}`]);
}

/** Users, projects, the catalog: what Neutron needs of Keystone, and an ordinary user. */
async function seed(): Promise<void> {
  const admin = await Api.login("admin", "admin", "admin");
  const roles = (await admin.keystone("GET", "/roles")) as { roles: { id: string; name: string }[] };
  const role = (name: string): string => roles.roles.find((r) => r.name === name)?.id ?? "";
  const make = async (kind: string, body: object): Promise<string> => {
    const made = (await admin.keystone("POST", `/${kind}s`, { [kind]: body })) as Record<string, { id: string }>;
    return made[kind]?.id ?? "";
  };
  for (const [project, user, roleName] of [
    ["service", "neutron", "admin"],
    ["demo", "demo", "member"],
    ["demo", "reader", "reader"],
    ["other", "other", "member"],
  ] as const) {
    const found = (await admin.keystone("GET", `/projects?name=${project}`)) as { projects: { id: string }[] };
    const projectId = found.projects[0]?.id ?? (await make("project", { name: project, domain_id: "default" }));
    const userId = await make("user", { name: user, domain_id: "default", password: user });
    await admin.keystone("PUT", `/projects/${projectId}/users/${userId}/roles/${role(roleName)}`);
  }
  const service = await make("service", { name: "neutron", type: "network" });
  for (const kind of ["public", "internal", "admin"]) {
    await make("endpoint", {
      interface: kind,
      service_id: service,
      region_id: "RegionOne",
      url: NEUTRON.replace("/v2.0", ""),
    });
  }
}

/** Starts all of it. Throws with the last words of what does not start. */
export async function startCloud(directory: string): Promise<Services> {
  const services = new Services(directory);
  mkdirSync(`${directory}/state`);
  mkdirSync(`${directory}/lock`);
  startQueue(services); // it takes longest
  await startDatabases(services);
  await startKeystone(services);
  await seed(); // before Neutron, which logs in
  const config = fill(services, "neutron.conf", { PAIRS: "10", BROKER: `rabbit://guest:guest@127.0.0.1:${QUEUE}/` });
  services.run(["neutron-db-manage", "--config-file", config, "upgrade", "heads"]);
  await services.ready("rabbitmq", queueAnswers);
  await startNeutron(services, 10);
  await startHypervisor(services);
  return services;
}
