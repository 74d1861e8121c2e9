// Neutron's security groups, as far as Berth uses them: a port is given them by id.
import * as v from "valibot";
import { ipFamily } from "../address/ip.ts";
import { isId, theOne } from "./networks.ts";
import { expected, getPort, query, updatePort } from "./ports.ts";
import type { Session } from "./session.ts";

const Groups = v.object({ security_groups: v.array(v.object({ id: v.string(), name: v.string() })) });

/** The ids of security groups that go by id or name; undefined where none are named: then the project's default one. Throws `Failure`. */
export async function securityGroupIds(
  session: Session,
  wanted: readonly string[] | undefined,
): Promise<readonly string[] | undefined> {
  if (wanted === undefined) return undefined;
  const names = wanted.filter((w) => !isId(w));
  if (names.length === 0) return wanted;
  const doing = `find the security groups ${names.join(", ")}`;
  const path = `/security-groups?${query({ name: names })}&fields=id&fields=name`;
  const { security_groups: found } = expected(Groups, await session.call({ method: "GET", path, doing }), doing);
  return wanted.map((w) =>
    isId(w)
      ? w
      : theOne(
          found.filter((g) => g.name === w),
          "security group",
          w,
          "security group",
        ).id,
  );
}

/** A port of a container that everybody may reach. */
export interface ExposedPort {
  /** As security group rules name it: `tcp`, `udp`, `sctp`. */
  readonly protocol: string;
  readonly port: number;
}

const OneGroup = v.object({ security_group: v.object({ id: v.string() }) });

/** Neighbouring ports of a protocol as ranges. */
function rangesOf(exposed: readonly ExposedPort[]): { readonly protocol: string; first: number; last: number }[] {
  const ranges: { readonly protocol: string; first: number; last: number }[] = [];
  const sorted = exposed.toSorted((a, b) =>
    a.protocol < b.protocol ? -1 : a.protocol > b.protocol ? 1 : a.port - b.port,
  );
  for (const { protocol, port } of sorted) {
    const last = ranges.at(-1);
    if (last?.protocol === protocol && port <= last.last + 1) last.last = port;
    else ranges.push({ protocol, first: port, last: port });
  }
  return ranges;
}

async function idsOf(session: Session, name: string): Promise<string[]> {
  const doing = `find the security group ${name}`;
  const path = `/security-groups?${query({ name })}&fields=id&fields=name`;
  const { security_groups: found } = expected(Groups, await session.call({ method: "GET", path, doing }), doing);
  return found.map((g) => g.id);
}

/** Makes a security group that lets everybody in to some ports, and gives it to a port beside those that it has. Throws `Failure`. */
export async function expose(
  session: Session,
  portId: string,
  name: string,
  exposed: readonly ExposedPort[],
): Promise<void> {
  const doing = `expose ports of ${name}`;
  const group = { name, description: "made by Berth: ports that a container exposes" };
  const made = await session.call({ method: "POST", path: "/security-groups", body: { security_group: group }, doing });
  const { id } = expected(OneGroup, made, doing).security_group;
  const port = await getPort(session, portId);
  const ethertypes = new Set((port?.fixed_ips ?? []).map((f) => (ipFamily(f.ip_address) === 4 ? "IPv4" : "IPv6")));
  for (const ethertype of ethertypes) {
    for (const { protocol, first, last } of rangesOf(exposed)) {
      const rule = {
        security_group_id: id,
        direction: "ingress",
        ethertype,
        protocol,
        port_range_min: first,
        port_range_max: last,
      };
      await session.call({ method: "POST", path: "/security-group-rules", body: { security_group_rule: rule }, doing });
    }
  }
  await updatePort(session, portId, { security_groups: [...(port?.security_groups ?? []), id] }, { doing });
}

/** Takes a group that {@link expose} made from its port, and deletes it; what is gone is success. Throws `Failure`. */
export async function conceal(session: Session, portId: string, name: string): Promise<void> {
  const doing = `take back what ${name} exposes`;
  const ids = await idsOf(session, name);
  const port = ids.length === 0 ? undefined : await getPort(session, portId);
  const has = port?.security_groups ?? [];
  const left = has.filter((g) => !ids.includes(g));
  if (left.length < has.length) await updatePort(session, portId, { security_groups: left }, { doing });
  for (const id of ids) await session.call({ method: "DELETE", path: `/security-groups/${id}`, doing });
}
