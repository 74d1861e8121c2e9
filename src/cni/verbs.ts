// What each CNI command requires of its caller (CNI spec 1.1.0, section 2 "CNI operations").
import type { CniVersion } from "./version.ts";

/** The environment variables that a command may require. */
type Variable = "CNI_CONTAINERID" | "CNI_NETNS" | "CNI_IFNAME" | "CNI_PATH";

/** A command's requirements. */
export interface Verb {
  /** Variables that must be set and not empty. */
  readonly requires: readonly Variable[];
  /** The oldest configuration version that the command may be called with. */
  readonly since: CniVersion;
  /** The command reads a network configuration from stdin, and cannot do without. */
  readonly config: boolean;
}

/** The commands. */
export const verbs = {
  ADD: { requires: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"], since: "0.1.0", config: true },
  // CNI_NETNS may be empty or absent: the namespace may be gone
  DEL: { requires: ["CNI_CONTAINERID", "CNI_IFNAME"], since: "0.1.0", config: true },
  // runtimes call CHECK from 0.4.0 on only, but people with an older configuration want to know too
  CHECK: { requires: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"], since: "0.1.0", config: true },
  GC: { requires: [], since: "1.1.0", config: true },
  STATUS: { requires: [], since: "1.1.0", config: true },
  VERSION: { requires: [], since: "0.1.0", config: false },
} as const satisfies Record<string, Verb>;

/** A command of CNI. */
export type VerbName = keyof typeof verbs;

/** True for the name of a command. */
export function isVerb(name: string): name is VerbName {
  return Object.hasOwn(verbs, name);
}
