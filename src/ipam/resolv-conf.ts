import { readFile } from "../kernel/files.ts";
import { Failure } from "../report/failure.ts";
import type { Dns } from "./provider.ts";

/**
 * The settings of a resolv.conf(5), read as the standard plugin reads it (plugins/ipam/host-local/dns.go): a comment is a
 * line that begins with # or ;. Throws `Failure` (`io`).
 */
export function readResolvConf(path: string): Dns {
  let text;
  try {
    text = readFile(path);
  } catch (e) {
    throw new Failure("io", `read ${path}: ${e instanceof Error ? e.message : String(e)}`, {
      advice: 'Key "resolvConf" of ipam must name a readable file.',
      cause: e,
    });
  }
  const nameservers: string[] = [];
  const search: string[] = [];
  const options: string[] = [];
  let domain: string | undefined;
  for (const line of text.split("\n")) {
    const [key = "", ...values] = line.trim().split(/\s+/u);
    const [first] = values;
    if (first === undefined || /^[#;]/u.test(key)) continue;
    if (key === "nameserver") nameservers.push(first);
    else if (key === "domain") domain = first;
    else if (key === "search") search.push(...values);
    else if (key === "options") options.push(...values);
  }
  return {
    ...(nameservers.length === 0 ? {} : { nameservers }),
    ...(domain === undefined ? {} : { domain }),
    ...(search.length === 0 ? {} : { search }),
    ...(options.length === 0 ? {} : { options }),
  };
}
