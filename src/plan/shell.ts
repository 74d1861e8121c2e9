import type { Shell } from "./step-type.ts";

const NAMED = "/run/netns/";

/** A word as a POSIX shell reads it back unchanged. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Commands for a container's namespace: by name where `ip netns` knows it, else by its path. */
export function shellFor(netns: string): Shell {
  const name = netns.startsWith(NAMED) ? netns.slice(NAMED.length) : netns;
  const target = quote(name);
  return {
    netns: target,
    ip: (where) => (where === "host" ? "ip" : `ip -n ${target}`),
    within: (where) => (where === "host" ? "" : `nsenter --net=${quote(netns)} `),
  };
}
