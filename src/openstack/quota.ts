// How many more ports the project may have (Networking API v2.0, "Quotas").
import * as v from "valibot";
import { Failure } from "../report/failure.ts";
import { isRefusal } from "./errors.ts";
import { expected } from "./ports.ts";
import type { Session } from "./session.ts";

const Detail = v.object({ used: v.number(), limit: v.number(), reserved: v.optional(v.number(), 0) });
const Details = v.object({ quota: v.object({ port: Detail }) });

/** Of ports; undefined where the cloud does not tell this user. Throws `Failure`. */
export async function portQuota(session: Session): Promise<v.InferOutput<typeof Detail> | undefined> {
  const { projectId } = await session.grant();
  const doing = "look at the quota of ports";
  try {
    const json = await session.call({ method: "GET", path: `/quotas/${projectId}/details.json`, doing });
    return expected(Details, json, doing).quota.port;
  } catch (e) {
    if (isRefusal(e, 403, 404)) return undefined;
    throw e;
  }
}

/** Throws `Failure` (`unavailable`) where no further port can be made. */
export async function checkQuota(session: Session, doing: string): Promise<void> {
  const quota = await portQuota(session);
  if (quota === undefined || quota.limit < 0 || quota.used + quota.reserved < quota.limit) return;
  throw new Failure("unavailable", `${doing}: the project has ${quota.used} ports, as many as its quota allows`, {
    advice: "Delete ports that nobody needs (berth gc), or have the quota raised (openstack quota set --ports N).",
  });
}
