import type { Shell } from "./step-type.ts";

const NAMED = "/run/netns/";

/** A word as a POSIX shell reads it back unchanged. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Commands for a container's namespace: by name where `ip netns` knows it, else by its path, entered with nsenter. */
export function shellFor(netns: string): Shell {
  const name = netns.startsWith(NAMED) ? netns.slice(NAMED.length) : undefined;
  const enter = `nsenter --net=${quote(netns)} `;
  const inside = name === undefined ? `${enter}ip` : `ip -n ${quote(name)}`;
  return {
    netns: quote(name ?? netns),
    ip: (where) => (where === "host" ? "ip" : inside),
    within: (where) => (where === "host" ? "" : enter),
  };
}
