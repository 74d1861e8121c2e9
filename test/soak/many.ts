// Many calls at once. Each function throws where something does not hold, and leaves the host as it found it.
import { existsSync, linkSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { type Called, addressesIn, type ManyHost, reservations } from "./host.ts";

const STATE = "/var/lib/cni/networks/many";

function requireAll(what: string, answers: readonly Called[]): void {
  const bad = answers.filter((a) => a.code !== 0);
  if (bad.length > 0)
    throw new Error(`${what}: ${bad.length} of ${answers.length} failed, the first with ${bad[0]?.out}`);
}

function requireSame(what: string, now: unknown, before: unknown): void {
  const [a, b] = [JSON.stringify(now), JSON.stringify(before)];
  if (a !== b) throw new Error(`${what}: ${a}, and was ${b}`);
}

function names(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `c${i}`);
}

/** So many ADDs at once, then so many DELs: every address is one container's, and nothing is left. */
export async function manyAtOnce(host: ManyHost, count: number): Promise<void> {
  const before = host.count();
  const all = names(count);
  const added = await Promise.all(all.map((name) => host.call("ADD", name)));
  requireAll("ADDs at once", added);
  const ips = added.flatMap(addressesIn);
  requireSame("different addresses", new Set(ips).size, 2 * count);
  const reserved = reservations();
  for (const [i, answer] of added.entries()) {
    for (const ip of addressesIn(answer)) requireSame(`the holder of ${ip}`, reserved.get(ip), `c${i}\r\neth0`);
  }
  requireSame("reservations", reserved.size, 2 * count);
  requireAll("DELs at once", await Promise.all(all.map((name) => host.call("DEL", name))));
  requireSame("reservations afterwards", reservations().size, 0);
  requireSame("the host", { ...host.count(), files: 0 }, { ...before, files: 0 });
}

/** ADD and DEL of one attachment at once, so many times: either order is right, and a DEL afterwards leaves nothing. */
export async function addAgainstDel(host: ManyHost, times: number): Promise<void> {
  const before = host.count();
  for (let i = 0; i < times; i++) {
    const calls = i % 2 === 0 ? ["ADD", "DEL"] : ["DEL", "ADD"];
    requireAll("ADD and DEL at once", await Promise.all(calls.map((verb) => host.call(verb, "c0"))));
    requireAll("DEL afterwards", [await host.call("DEL", "c0")]);
  }
  requireSame("reservations afterwards", reservations().size, 0);
  requireSame("the host", { ...host.count(), files: 0 }, { ...before, files: 0 });
}

/** ADDs while CNI's GC, which knows of them, and `berth gc` are at work: all of them live on. */
export async function addDuringGc(host: ManyHost, count: number): Promise<void> {
  const all = names(count);
  const valid = all.map((containerID) => ({ containerID, ifname: "eth0" }));
  const collecting = Array.from({ length: 5 }, async () => {
    const child = host.serve("gc");
    return [await host.call("GC", "", { "cni.dev/valid-attachments": valid }), { code: await child.exited, out: "" }];
  });
  const added = await Promise.all(all.map((name) => host.call("ADD", name)));
  requireAll("GC", (await Promise.all(collecting)).flat());
  requireAll("ADD during GC", added);
  requireSame("reservations", reservations().size, 2 * count);
  const checks = added.map(async ({ out }, i) => {
    const prevResult: unknown = JSON.parse(out.split("\n")[0] ?? "");
    return await host.call("CHECK", `c${i}`, { prevResult });
  });
  requireAll("CHECK", await Promise.all(checks));
  requireAll("DELs at once", await Promise.all(all.map((name) => host.call("DEL", name))));
  requireSame("reservations afterwards", reservations().size, 0);
}

/** ADDs at once when the reservations of the last boot are still there: these are released, once, and no address is lost. */
export async function addDuringRelease(host: ManyHost, count: number): Promise<void> {
  const former = `${STATE}/.berth/00000000-0000-0000-0000-000000000000`;
  for (const boot of existsSync(`${STATE}/.berth`) ? readdirSync(`${STATE}/.berth`) : []) {
    // what is of this boot would say that all of the last one's was released
    if (!boot.startsWith("0000")) Bun.spawnSync(["rm", "-rf", `${STATE}/.berth/${boot}`]);
  }
  mkdirSync(former, { recursive: true });
  for (let i = 1; i <= 200; i++) {
    writeFileSync(`${former}/10.77.1.${i}`, `before${i}\r\neth0`);
    linkSync(`${former}/10.77.1.${i}`, `${STATE}/10.77.1.${i}`);
  }
  const all = names(count);
  const added = await Promise.all(all.map((name) => host.call("ADD", name)));
  requireAll("ADDs after a boot", added);
  requireSame("different addresses", new Set(added.flatMap(addressesIn)).size, 2 * count);
  requireSame("reservations", reservations().size, 2 * count);
  requireAll("DELs at once", await Promise.all(all.map((name) => host.call("DEL", name))));
  requireSame("reservations afterwards", reservations().size, 0);
}
