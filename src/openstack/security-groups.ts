// Neutron's security groups, as far as Berth uses them: a port is given them by id.
import * as v from "valibot";
import { isId, theOne } from "./networks.ts";
import { expected, query } from "./ports.ts";
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
