// Which kinds of link the kernel has that a test runs on: what it lacks is tested elsewhere (npm run test:vm).
const settings: Readonly<Record<string, string>> = {
  gretap: "type gretap local 127.0.0.1 remote 127.0.0.2",
  ip6gretap: "type ip6gretap local ::1 remote ::2",
  vxlan: "type vxlan id 1 dstport 4789 remote 127.0.0.2",
  vlan: "link berth-kinds type vlan id 1",
  macvlan: "link berth-kinds type macvlan",
  macvtap: "link berth-kinds type macvtap",
  ipvlan: "link berth-kinds type ipvlan mode l2",
};

function ip(args: string): boolean {
  return Bun.spawnSync(["ip", ...args.split(" ")]).exitCode === 0;
}

/** Why a test that needs this kind of link cannot run here, to be appended to its name; undefined where it can. */
export function missingKind(kind: string): string | undefined {
  ip("link add berth-kinds type bridge");
  const has = ip(`link add berth-kind ${settings[kind] ?? `type ${kind}`}`);
  if (has) ip("link delete berth-kind");
  ip("link delete berth-kinds");
  return has ? undefined : ` (this kernel has no ${kind})`;
}
