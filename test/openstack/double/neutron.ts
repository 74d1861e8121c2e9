// Neutron's v2.0 API in memory: who asks, for which resource, and what is answered.
import { type Question, objectOf, Refused, type Reply } from "./answers.ts";
import type { Keystone } from "./keystone.ts";
import { NETWORK, Networks, SUBNET, SUBNET_POOL } from "./networks.ts";
import { PORT, Ports } from "./ports.ts";
import {
  type Caller,
  checkRevision,
  checkWriter,
  type Kind,
  listed,
  newRow,
  notFound,
  type Row,
  shown,
  tagsOf,
  touch,
  valuesOf,
} from "./rows.ts";
import { GROUP, RULE, SecurityGroups } from "./security-groups.ts";
import { TRUNK, Trunks } from "./trunks.ts";

/** As `GET /extensions` has them. */
const EXTENSIONS = [
  "allowed-address-pairs",
  "binding",
  "dns-integration",
  "filter-validation",
  "net-mtu",
  "port-security",
  "project-id",
  "quota_details",
  "quotas",
  "revision-if-match",
  "security-group",
  "standard-attr-revisions",
  "standard-attr-tag",
  "tag-ports-during-bulk-creation",
  "trunk",
  "trunk-details",
];

/** Of a project, where nobody set another. */
const QUOTAS: Readonly<Record<string, number>> = { network: 100, subnet: 100, port: 500, trunk: -1 };

/** What one kind of resource can do. */
interface Collection {
  readonly kind: Kind;
  all(caller: Caller): readonly Row[];
  find(caller: Caller, id: string): Row;
  view(caller: Caller, row: Row): Record<string, unknown>;
  add(caller: Caller, values: Record<string, unknown>): Row;
  update(caller: Caller, row: Row, values: Record<string, unknown>): Promise<void>;
  remove(caller: Caller, row: Row): void;
}

/** The network service. */
export class Neutron {
  readonly networks = new Networks();
  readonly groups = new SecurityGroups();
  readonly ports: Ports;
  readonly trunks: Trunks;
  readonly #keystone: Keystone;
  readonly #collections: Readonly<Record<string, Collection>>;
  /** By project. */
  readonly #limits = new Map<string, Record<string, number>>();

  constructor(keystone: Keystone, maxPairs: number) {
    this.#keystone = keystone;
    this.ports = new Ports(this.networks, this.groups, maxPairs);
    this.trunks = new Trunks(this.ports);
    this.#collections = this.#makeCollections();
  }

  async answer(question: Question): Promise<Reply> {
    const { path, headers } = question;
    if (path === "/") return { status: 200, body: { versions: [{ id: "v2.0", status: "CURRENT" }] } };
    const token = headers["x-auth-token"];
    const grant = this.#keystone.validate(typeof token === "string" ? token : undefined);
    if (grant === undefined) {
      const message = "The request you have made requires authentication.";
      return { status: 401, body: { error: { code: 401, title: "Unauthorized", message } } };
    }
    const { roles } = grant.user;
    const caller: Caller = {
      projectId: grant.projectId ?? "",
      admin: roles.includes("admin"),
      readOnly: !roles.includes("member"),
    };
    try {
      return await this.#route(question, caller);
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      return { status: e.status, body: { NeutronError: { type: e.type, message: e.message, detail: "" } } };
    }
  }

  async #route(question: Question, caller: Caller): Promise<Reply> {
    const [version, plural = "", id, part, tag] = question.path.split("/").filter((p) => p !== "");
    const nothing = new Refused(404, "HTTPNotFound", "The resource could not be found.");
    if (version !== "v2.0") throw nothing;
    if (plural === "extensions") return extensions(id);
    if (plural === "quotas" && id !== undefined) return this.#quotas(question, caller, id, part);
    const collection = this.#collections[plural.replaceAll("-", "_")];
    if (collection === undefined) throw nothing;
    if (id === undefined) return this.#onAll(collection, plural, question, caller);
    if (part === "tags") return this.#tags(collection, plural, id, tag, question, caller);
    if (part !== undefined) return this.#subPorts(id, part, question, caller);
    return await this.#onOne(collection, id, question, caller);
  }

  #onAll(collection: Collection, plural: string, question: Question, caller: Caller): Reply {
    const { kind } = collection;
    const { method, query } = question;
    const view = (row: Row): Record<string, unknown> => collection.view(caller, row);
    if (method === "GET") {
      const { views, next } = listed(kind, collection.all(caller).map(view), query);
      return { status: 200, body: { [plural.replaceAll("-", "_")]: views, ...this.#links(plural, query, next) } };
    }
    if (method !== "POST") throw new Refused(405, "HTTPMethodNotAllowed", "");
    const values = valuesOf(kind, question, caller);
    checkWriter(caller, `create_${kind.name}`);
    this.#checkQuota(collection, caller);
    return { status: 201, body: { [kind.name]: view(collection.add(caller, values)) } };
  }

  #links(plural: string, query: URLSearchParams, next: string | undefined): object {
    if (next === undefined) return {};
    const further = new URLSearchParams(query);
    further.set("marker", next);
    const href = `${this.#keystone.endpoints.network}/v2.0/${plural}?${further.toString()}`;
    return { [`${plural}_links`]: [{ rel: "next", href }] };
  }

  async #onOne(collection: Collection, id: string, question: Question, caller: Caller): Promise<Reply> {
    const { kind } = collection;
    const { method, query } = question;
    const row = collection.find(caller, id);
    const body = (): Reply => ({ status: 200, body: { [kind.name]: shown(collection.view(caller, row), query) } });
    if (method === "GET") return body();
    if (method === "PUT") {
      const values = valuesOf(kind, question, caller);
      checkWriter(caller, `update_${kind.name}`);
      checkRevision(question, row);
      await collection.update(caller, row, values);
      return body();
    }
    if (method !== "DELETE") throw new Refused(405, "HTTPMethodNotAllowed", "");
    checkWriter(caller, `delete_${kind.name}`);
    checkRevision(question, row);
    collection.remove(caller, row);
    return { status: 204 };
  }

  #makeCollections(): Readonly<Record<string, Collection>> {
    const { networks, ports, trunks, groups } = this;
    return {
      networks: {
        kind: NETWORK,
        all: (caller) =>
          [...networks.networks.values()].filter((n) => caller.admin || n.shared || n.project_id === caller.projectId),
        find: (caller, id) => networks.network(caller, id),
        view: (_, row) =>
          networks.view(networks.networks.get(row.id) ?? networks.network({ projectId: "", admin: true }, row.id)),
        add: (caller, values) => networks.addNetwork(caller, values),
        update: (_, row, values) => assign(row, values),
        remove: (_, row) => {
          const used = [...ports.rows.values()].filter((p) => p.network_id === row.id).map((p) => p.id);
          if (used.length > 0) {
            const why = `There are one or more ports still in use on the network, id for these ports is: ${used.join(",")}.`;
            throw new Refused(409, "NetworkInUse", `Unable to complete operation on network ${row.id}. ${why}`);
          }
          networks.networks.delete(row.id);
          for (const subnet of networks.subnetsOf(row.id)) networks.subnets.delete(subnet.id);
        },
      },
      subnets: {
        kind: SUBNET,
        all: (caller) =>
          [...networks.subnets.values()].filter((s) => {
            const network = networks.networks.get(s.network_id);
            return caller.admin || s.project_id === caller.projectId || network?.shared === true;
          }),
        find: (caller, id) => networks.subnet(caller, id),
        view: (_, row) => row,
        add: (caller, values) => networks.addSubnet(caller, values),
        update: (_, row, values) => assign(row, values),
        remove: (_, row) => {
          if ([...ports.rows.values()].some((p) => p.fixed_ips.some((f) => f.subnet_id === row.id))) {
            const why = "One or more ports have an IP allocation from this subnet.";
            throw new Refused(409, "SubnetInUse", `Unable to complete operation on subnet ${row.id}: ${why}`);
          }
          networks.subnets.delete(row.id);
        },
      },
      ports: {
        kind: PORT,
        all: (caller) => [...ports.rows.values()].filter((p) => ports.visible(caller, p)),
        find: (caller, id) => ports.port(caller, id),
        view: (caller, row) => {
          const port = ports.rows.get(row.id);
          return port === undefined ? row : { ...ports.view(caller, port), ...trunks.details(port) };
        },
        add: (caller, values) => ports.add(caller, values),
        update: (caller, row, values) => ports.update(caller, ports.port(caller, row.id), values),
        remove: (_, row) => {
          trunks.checkUnused(row.id);
          ports.rows.delete(row.id);
        },
      },
      subnetpools: {
        kind: SUBNET_POOL,
        all: (caller) => [...networks.pools.values()].filter((p) => caller.admin || p.project_id === caller.projectId),
        find: (_, id) => {
          const pool = networks.pools.get(id);
          if (pool === undefined) throw notFound("SubnetPool", id);
          return pool;
        },
        view: (_, row) => row,
        add: (caller, values) => {
          const pool = { ...values, ...newRow(caller, values) };
          networks.pools.set(pool.id, pool);
          return pool;
        },
        update: (_, row, values) => assign(row, values),
        remove: (_, row) => void networks.pools.delete(row.id),
      },
      security_groups: {
        kind: GROUP,
        all: (caller) => {
          groups.defaultOf(caller.projectId);
          return [...groups.rows.values()].filter((g) => caller.admin || g.project_id === caller.projectId);
        },
        find: (caller, id) => groups.group(caller, id),
        view: (_, row) => groups.view(row),
        add: (caller, values) => groups.add(caller, values),
        update: (_, row, values) => assign(row, values),
        remove: (_, { id }) =>
          groups.remove(
            id,
            [...ports.rows.values()].some((p) => p.security_groups.includes(id)),
          ),
      },
      security_group_rules: {
        kind: RULE,
        all: (caller) => [...groups.rules.values()].filter((r) => caller.admin || r.project_id === caller.projectId),
        find: (_, id) => groups.rule(id),
        view: (_, row) => row,
        add: (caller, values) => groups.addRule(caller, values),
        update: (_, row, values) => assign(row, values),
        remove: (_, row) => void groups.rules.delete(row.id),
      },
      trunks: {
        kind: TRUNK,
        all: (caller) => [...trunks.rows.values()].filter((t) => caller.admin || t.project_id === caller.projectId),
        find: (caller, id) => trunks.trunk(caller, id),
        view: (_, row) => row,
        add: (caller, values) => trunks.add(caller, values),
        update: (_, row, values) => assign(row, values),
        remove: (_, row) => void trunks.rows.delete(row.id),
      },
    };
  }

  #subPorts(id: string, verb: string, { method, text }: Question, caller: Caller): Reply {
    const trunk = this.trunks.trunk(caller, id);
    if (verb === "get_subports" && method === "GET") return { status: 200, body: { sub_ports: trunk.sub_ports } };
    checkWriter(caller, verb);
    const given = objectOf(JSON.parse(text))?.["sub_ports"];
    if (verb === "add_subports" && method === "PUT") this.trunks.addSubPorts(caller, trunk, given);
    else if (verb === "remove_subports" && method === "PUT") this.trunks.removeSubPorts(trunk, given);
    else throw new Refused(404, "HTTPNotFound", "The resource could not be found.");
    return { status: 200, body: trunk }; // not under "trunk", as everything else is
  }

  #tags(
    collection: Collection,
    plural: string,
    id: string,
    tag: string | undefined,
    { method, text }: Question,
    caller: Caller,
  ): Reply {
    let row: Row;
    try {
      row = collection.find(caller, id);
    } catch {
      throw new Refused(404, "TagResourceNotFound", `Resource ${plural} ${id} could not be found.`);
    }
    const change = (tags: string[]): void => {
      if (tags.join() === row.tags.join()) return;
      row.tags = tags;
      touch(row);
    };
    if (tag === undefined) {
      if (method === "PUT") change(tagsOf(objectOf(JSON.parse(text))?.["tags"]));
      if (method !== "DELETE") return { status: 200, body: { tags: row.tags } };
      change([]);
      return { status: 204 };
    }
    if (method === "PUT") {
      change(tagsOf([...row.tags, decodeURIComponent(tag)]));
      return { status: 201, body: null };
    }
    if (!row.tags.includes(tag)) throw notFound("Tag", tag);
    if (method === "DELETE") change(row.tags.filter((t) => t !== tag));
    return { status: 204 };
  }

  #limitsOf(projectId: string): Record<string, number> {
    return { ...QUOTAS, ...this.#limits.get(projectId) };
  }

  #used(kind: string, projectId: string): number {
    const rows = this.#collections[`${kind}s`]?.all({ projectId, admin: true }) ?? [];
    return rows.filter((r) => r.project_id === projectId).length;
  }

  #checkQuota({ kind: { name } }: Collection, { projectId }: Caller): void {
    const limit = this.#limitsOf(projectId)[name] ?? -1;
    if (limit < 0 || this.#used(name, projectId) < limit) return;
    throw new Refused(409, "OverQuota", `Quota exceeded for resources: ['${name}'].`);
  }

  #quotas({ method, text }: Question, caller: Caller, projectId: string, part: string | undefined): Reply {
    const limits = this.#limitsOf(projectId);
    if (method === "GET") {
      if (!caller.admin && caller.projectId !== projectId) {
        const why = "Only admin is authorized to access quotas for another project.";
        throw new Refused(403, "AdminRequired", `User does not have admin privileges: ${why}`);
      }
      const details = Object.entries(limits).map(([kind, limit]) => [
        kind,
        { limit, used: this.#used(kind, projectId), reserved: 0 },
      ]);
      return { status: 200, body: { quota: part === undefined ? limits : Object.fromEntries(details) } };
    }
    const rule = method === "PUT" ? "update_quota" : "delete_quota";
    if (!caller.admin) throw new Refused(403, "PolicyNotAuthorized", `rule:${rule} is disallowed by policy`);
    if (method === "DELETE") {
      this.#limits.delete(projectId);
      return { status: 204 };
    }
    const given = (objectOf(JSON.parse(text))?.["quota"] ?? {}) as Record<string, number>;
    this.#limits.set(projectId, { ...this.#limits.get(projectId), ...given });
    return { status: 200, body: { quota: this.#limitsOf(projectId) } };
  }
}

async function assign(row: Row, values: Record<string, unknown>): Promise<void> {
  Object.assign(row, values);
  touch(row);
}

function extensions(alias: string | undefined): Reply {
  const all = EXTENSIONS.map((a) => ({ alias: a, name: a, description: "", links: [] }));
  if (alias === undefined) return { status: 200, body: { extensions: all } };
  const extension = all.find((e) => e.alias === alias);
  return extension === undefined ? { status: 404 } : { status: 200, body: { extension } };
}
