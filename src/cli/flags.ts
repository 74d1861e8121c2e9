// Flags that several commands share.
import { parseCidr } from "../address/cidr.ts";
import { parseIp } from "../address/ip.ts";
import { parseMac } from "../address/mac.ts";
import { CONFIG_DIRECTORY } from "./networks.ts";

/** A value as it was typed. */
export const text = (value: string): string => value;

/** A process id. */
function pid(value: string): number {
  if (/^[1-9]\d{0,9}$/u.test(value)) return Number(value);
  throw new SyntaxError(`${value} is no process id`);
}

function ipText(value: string): string {
  if (parseIp(value) !== undefined || parseCidr(value) !== undefined) return value;
  throw new SyntaxError(`${value} is no IP address`);
}

function macText(value: string): string {
  const mac = parseMac(value);
  if (mac !== undefined) return mac;
  throw new SyntaxError(`${value} is no MAC address`);
}

/** What is asked for: addresses and MAC. */
export const asked = {
  ip: {
    kind: "parsed",
    parse: ipText,
    brief: "an address to ask for; may be given several times",
    optional: true,
    variadic: true,
    placeholder: "IP",
  },
  mac: { kind: "parsed", parse: macText, brief: "the MAC to ask for", optional: true, placeholder: "MAC" },
} as const;

/** `--json`. */
export const json = { kind: "boolean", brief: "answer as JSON", default: false, withNegated: false } as const;

/** `--dry-run`. */
export const dryRun = {
  kind: "boolean",
  brief: "change nothing; print what would be done, as commands",
  default: false,
  withNegated: false,
} as const;

/** The flags that name a network. */
export const network = {
  network: { kind: "parsed", parse: text, brief: "the network's name", optional: true, placeholder: "NAME" },
  config: {
    kind: "parsed",
    parse: text,
    brief: "the network's configuration file",
    optional: true,
    placeholder: "FILE",
  },
  confDir: {
    kind: "parsed",
    parse: text,
    brief: "where networks are looked up by name",
    default: CONFIG_DIRECTORY,
    placeholder: "DIR",
  },
} as const;

/** The flags that name a namespace and an attachment in it. */
export const place = {
  netns: {
    kind: "parsed",
    parse: text,
    brief: "the container's network namespace",
    optional: true,
    placeholder: "PATH|NAME",
  },
  pid: { kind: "parsed", parse: pid, brief: "a process in the namespace", optional: true, placeholder: "N" },
  ifname: {
    kind: "parsed",
    parse: text,
    brief: "the attachment's interface name",
    default: "eth0",
    placeholder: "NAME",
  },
  id: {
    kind: "parsed",
    parse: text,
    brief: "the container id; by default the namespace's name or pid-N",
    optional: true,
    placeholder: "ID",
  },
} as const;
