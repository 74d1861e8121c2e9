import { type Services } from "./services.ts";
import { startCloud } from "./start.ts";

const shared = globalThis as { realCloud?: Promise<Services> };

/** The one cloud of all suites of this process, started when it is first asked for. */
export async function realCloud(): Promise<Services> {
  shared.realCloud ??= startCloud("/run/cloud");
  return await shared.realCloud;
}
