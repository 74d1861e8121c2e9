import { OWN_NAMESPACE } from "../kernel/namespaces.ts";
import type { Shell } from "./step-type.ts";

const NAMED = "/run/netns/";

/** A word as a POSIX shell reads it back unchanged. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Commands for whoever is in the namespace already, without Berth's marks: there Berth undoes nothing. */
export const inside: Shell = { marks: false, netns: undefined, ip: () => "ip", within: () => "" };

/** Commands for a container's namespace: by name where `ip netns` knows it, else by its path, entered with nsenter. */
export function shellFor(netns: string): Shell {
  if (netns === OWN_NAMESPACE) return { ...inside, marks: true };
  const name = netns.startsWith(NAMED) ? netns.slice(NAMED.length) : undefined;
  const enter = `nsenter --net=${quote(netns)} `;
  const within = name === undefined ? `${enter}ip` : `ip -n ${quote(name)}`;
  return {
    marks: true,
    netns: quote(name ?? netns),
    ip: (where) => (where === "host" ? "ip" : within),
    within: (where) => (where === "host" ? "" : enter),
  };
}
