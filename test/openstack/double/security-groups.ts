// Neutron's security groups and their rules in memory.
import { Refused, textOf } from "./answers.ts";
import { badRequest, type Caller, isText, isUuid, type Kind, newRow, notFound, type Row } from "./rows.ts";

/** A rule, as far as it is looked at. */
export interface Rule extends Row {
  readonly security_group_id: string;
}

export const GROUP: Kind = {
  name: "security_group",
  attributes: {
    name: { post: true, put: true, check: isText() },
    description: { post: true, put: true, check: isText() },
    project_id: { post: true },
    id: {},
    tags: {},
  },
  filters: [],
};

export const RULE: Kind = {
  name: "security_group_rule",
  attributes: {
    security_group_id: { post: true, check: isUuid },
    direction: { post: true },
    ethertype: { post: true },
    protocol: { post: true },
    port_range_min: { post: true },
    port_range_max: { post: true },
    remote_ip_prefix: { post: true },
    description: { post: true, check: isText() },
    id: {},
  },
  filters: ["security_group_id", "direction", "protocol"],
};

/** Groups and rules; each project has a group `default`. */
export class SecurityGroups {
  readonly rows = new Map<string, Row>();
  readonly rules = new Map<string, Rule>();

  /** The id of a project's group `default`, which is there since somebody asked. */
  defaultOf(projectId: string): string {
    const found = [...this.rows.values()].find((g) => g.name === "default" && g.project_id === projectId);
    return found?.id ?? this.add({ projectId, admin: false }, { name: "default" }).id;
  }

  group(caller: Caller, id: string): Row {
    const found = this.rows.get(id);
    if (found !== undefined && (caller.admin || found.project_id === caller.projectId)) return found;
    throw new Refused(404, "SecurityGroupNotFound", `Security group ${id} does not exist`);
  }

  add(caller: Caller, values: Record<string, unknown>): Row {
    const group: Row = { ...newRow(caller, values), description: textOf(values["description"]), stateful: true };
    this.rows.set(group.id, group);
    return group;
  }

  addRule(caller: Caller, values: Record<string, unknown>): Rule {
    if (values["direction"] !== "ingress" && values["direction"] !== "egress") {
      throw badRequest("Failed to parse request. Required attribute 'direction' not specified");
    }
    const group = this.group(caller, textOf(values["security_group_id"]));
    const rule: Rule = {
      ethertype: "IPv4",
      remote_ip_prefix: null,
      ...newRow(caller, values),
      ...values,
      security_group_id: group.id,
    };
    this.rules.set(rule.id, rule);
    return rule;
  }

  rule(id: string): Rule {
    const found = this.rules.get(id);
    if (found === undefined) throw notFound("SecurityGroupRule", id);
    return found;
  }

  /** A group as it is answered: with its rules. */
  view(group: Row): Record<string, unknown> {
    const own = [...this.rules.values()].filter((r) => r.security_group_id === group.id);
    return { ...group, security_group_rules: own };
  }

  /** Removes a group that no port has. */
  remove(id: string, inUse: boolean): void {
    if (inUse) throw new Refused(409, "SecurityGroupInUse", `Security Group ${id} in use.`);
    this.rows.delete(id);
    for (const rule of this.rules.values()) if (rule.security_group_id === id) this.rules.delete(rule.id);
  }
}
