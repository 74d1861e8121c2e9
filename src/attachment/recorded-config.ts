import { parseJson } from "../ipam/json.ts";
import type { NetworkConfig } from "./config.ts";
import { readConfig } from "./config-issues.ts";
import { describeKey } from "./key.ts";
import type { AttachmentRecord } from "./record.ts";

/** The configuration that an attachment was made by, as its record remembers it. Throws `Failure` (`decode`, `config`). */
export function configOf(record: AttachmentRecord): NetworkConfig {
  return readConfig(parseJson(record.config, `read the configuration of ${describeKey(record.key)} in its record`));
}
