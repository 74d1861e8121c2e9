// Reading a configuration where every millisecond counts: what the schema would say of it, without the schema.
import { accepts, defaults } from "./config-accepts.ts";
import type { NetworkConfig } from "./config.ts";

/** {@link readConfig} of config-issues.ts, for a CNI call: where nothing is wrong, the schema need not be loaded to say so. */
export function readConfigQuickly(json: unknown): NetworkConfig | Promise<NetworkConfig> {
  if (accepts(json)) return { ...defaults, ...(json as Partial<NetworkConfig>) } as NetworkConfig;
  return readBySchema(json);
}

async function readBySchema(json: unknown): Promise<NetworkConfig> {
  const { readConfig } = await import("./config-issues.ts");
  return readConfig(json);
}
