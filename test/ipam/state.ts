// Looking at host-local's state on disk from outside.
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync } from "node:fs";
import { parseIp } from "../../src/address/ip.ts";
import { bootId } from "../../src/kernel/namespaces.ts";

/** A fresh data directory; it goes with the test's own mount namespace. */
export function freshDataDir(): string {
  mkdirSync("/var/lib/cni", { recursive: true });
  return mkdtempSync("/var/lib/cni/test-");
}

/** Reservations of a network: address to content. */
export function reservations(dataDir: string, network: string): Map<string, string> {
  const directory = `${dataDir}/${network}`;
  if (!existsSync(directory)) return new Map();
  const ips = readdirSync(directory).filter((name) => parseIp(name) === name);
  return new Map(ips.map((ip) => [ip, readFileSync(`${directory}/${ip}`, "utf8")]));
}

/** Addresses of which there is a side file, of this boot or the one that is named. */
export function sideFiles(dataDir: string, network: string, boot = bootId()): string[] {
  const directory = `${dataDir}/${network}/.berth/${boot}`;
  return existsSync(directory) ? readdirSync(directory) : [];
}

/** The permission bits of a file. */
export function modeOf(path: string): number {
  return lstatSync(path).mode & 0o777;
}

/** True where two names are one file. */
export function isSameFile(a: string, b: string): boolean {
  return statSync(a).ino === statSync(b).ino;
}

/**
 * Starts a process that allocates so many addresses of 10.0.0.0/16, 0 for ever, and prints each. Its holders are `<id>-0`,
 * `<id>-1` and so on.
 */
export function startAllocating(
  dataDir: string,
  id: string,
  count: number,
): Bun.Subprocess<"ignore", "pipe", "inherit"> {
  const script = `
    import { HostLocal } from ${JSON.stringify(new URL("../../src/ipam/host-local.ts", import.meta.url).pathname)};
    const provider = new HostLocal({ type: "host-local", subnet: "10.0.0.0/16", dataDir: ${JSON.stringify(dataDir)} }, []);
    for (let i = 0; i < (${count} || Infinity); i++) {
      const holder = { network: "lan", containerId: "${id}-" + i, ifName: "eth0" };
      console.log((await provider.allocate(holder, [])).ips[0].address);
    }`;
  return Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
}
