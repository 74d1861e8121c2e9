// Source NAT on a lab's router, by whichever packet filter's program the machine has: the router is no part of Berth.
import { namedNamespacePath } from "../kernel/namespaces.ts";
import { Failure } from "../report/failure.ts";

function run(namespace: string, argv: readonly string[]): string | undefined {
  const r = Bun.spawnSync(["nsenter", `--net=${namedNamespacePath(namespace)}`, "--", ...argv], { stderr: "pipe" });
  return r.exitCode === 0 ? undefined : r.stderr.toString().trim() || `exit ${r.exitCode}`;
}

/**
 * What leaves a namespace by a link and comes from a network gets the link's own address. Throws `Failure` (`unavailable`)
 * where there is neither nft nor iptables, or the kernel refuses.
 */
export function masquerade(namespace: string, from: string, link: string): void {
  const rules = [
    "table ip lab { chain out { type nat hook postrouting priority 100;",
    `ip saddr ${from} oifname ${link} masquerade; }; }`,
  ].join(" ");
  const ways: readonly (readonly [program: string, argv: readonly string[]])[] = [
    ["nft", ["nft", rules]],
    ["iptables", ["iptables", "-t", "nat", "-A", "POSTROUTING", "-s", from, "-o", link, "-j", "MASQUERADE"]],
  ];
  let refusal = "there is neither nft nor iptables";
  for (const [program, argv] of ways) {
    if (Bun.which(program) === null) continue;
    const said = run(namespace, argv);
    if (said === undefined) return;
    refusal = `${program}: ${said}`;
  }
  throw new Failure("unavailable", `make the lab's router translate addresses: ${refusal}`, {
    advice: "Install nftables or iptables, on a kernel that has NAT (CONFIG_NF_NAT, CONFIG_NFT_MASQ).",
  });
}
