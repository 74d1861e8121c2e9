// What no plugin can be faster than: the kernel's own work for an ADD and a DEL, and the same by hand with ip.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { compileFile } from "../../scripts/compile.ts";
import { newAddress } from "../../src/kernel/addresses.ts";
import { changeLink, deleteLink, findLink, type Link, newSubInterface } from "../../src/kernel/links.ts";
import type { Namespace } from "../../src/kernel/namespaces.ts";
import type { Netlink } from "../../src/kernel/netlink.ts";
import { newRoute } from "../../src/kernel/routes.ts";
import type { Bench, Row, Series } from "../series.ts";

const NAMESPACE = "bound";
const ADDRESS = { ip: "10.93.0.5", prefix: 16 };
const WARM_UP = 5;
/** IPV4_DEVCONF_ARP_NOTIFY of linux/ip.h. */
const ARP_NOTIFY = 22;

/**
 * What an ADD asks of the kernel, and nothing else: no process is started, the sockets are open, and the code has run before.
 * @returns the link's index
 */
export function kernelAdd(host: Netlink, inside: Netlink, namespace: Namespace, parent: Link): number {
  const detail = { kind: "macvlan", mode: "bridge" } as const;
  const namespaceFd = namespace.fd;
  host.do(newSubInterface({ name: "eth0", parentIndex: parent.index, parentName: parent.name, detail, namespaceFd }));
  const index = findLink(inside, "eth0")?.index ?? 0;
  const route = { dst: { ip: "0.0.0.0", prefix: 0 }, gateway: "10.93.0.1" };
  const errors = inside.batch([
    changeLink("eth0", { ipv4: { number: ARP_NOTIFY, value: 1 } }),
    newAddress(index, "eth0", ADDRESS),
    changeLink("eth0", { up: true }),
    newRoute(route, index, "eth0"),
  ]);
  const failed = errors.find((e) => e !== undefined);
  if (failed !== undefined) throw failed;
  return index;
}

/** The kernel's part of so many ADDs and DELs in a new namespace, milliseconds each. */
export function kernelParts(bench: Bench, name: string, count: number): { add: number[]; del: number[] } {
  const { world } = bench;
  world.namespace(name);
  const [host, inside, namespace] = [world.netlink(""), world.netlink(name), world.at(name)];
  const parent = findLink(host, bench.parent);
  if (parent === undefined || namespace === undefined) throw new Error(`there is no ${bench.parent}`);
  const [add, del]: [number[], number[]] = [[], []];
  for (let i = -WARM_UP; i < count; i++) {
    const start = performance.now();
    const index = kernelAdd(host, inside, namespace, parent);
    const made = performance.now();
    inside.do(deleteLink(index, "eth0"));
    if (i < 0) continue;
    add.push(made - start);
    del.push(performance.now() - made);
  }
  return { add, del };
}

/** The same with two processes of `ip -batch`, as a script would. */
async function byHand(bench: Bench, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await ip(["-batch", "-"], `link add link ${bench.parent} name eth0 netns ${NAMESPACE} type macvlan mode bridge\n`);
    await ip(
      ["-n", NAMESPACE, "-batch", "-"],
      `address add ${ADDRESS.ip}/${ADDRESS.prefix} brd + dev eth0\nlink set dev eth0 up\nroute add default via 10.93.0.1 dev eth0\n`,
    );
    times.push(performance.now() - start);
    await ip(["-n", NAMESPACE, "link", "delete", "dev", "eth0"]);
  }
  return times;
}

async function ip(args: readonly string[], stdin = ""): Promise<void> {
  const p = Bun.spawn(["ip", ...args], { stdin: new TextEncoder().encode(stdin), stdout: "ignore", stderr: "pipe" });
  const [said, exitCode] = await Promise.all([p.stderr.text(), p.exited]);
  if (exitCode !== 0) throw new Error(`ip ${args.join(" ")}: ${said}`);
}

/** How long a program of this runtime takes that is compiled as Berth is and ends at once, milliseconds. */
async function nothing(count: number): Promise<number[]> {
  const directory = mkdtempSync(`${tmpdir()}/berth-bench-`);
  try {
    writeFileSync(`${directory}/nothing.ts`, "process.exit(0);\n");
    compileFile(`${directory}/nothing.ts`, `${directory}/compiled`);
    const program = `${directory}/nothing`;
    writeFileSync(program, readFileSync(`${directory}/compiled`)); // in one go, as the build does
    chmodSync(program, 0o755);
    const times: number[] = [];
    for (let i = -WARM_UP; i < count; i++) {
      const start = performance.now();
      await Bun.spawn([program], { env: {}, stdout: "pipe", stderr: "pipe" }).exited;
      if (i >= 0) times.push(performance.now() - start);
    }
    return times;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function bounds(bench: Bench): Promise<Row[]> {
  const count = Math.min(30, bench.count.pairs);
  const kernel = kernelParts(bench, NAMESPACE, count);
  const hand = await byHand(bench, count);
  return [
    { name: "bound: the kernel's part of an ADD", unit: "ms", berth: kernel.add, peer: [] },
    { name: "bound: the kernel's part of a DEL", unit: "ms", berth: kernel.del, peer: [] },
    { name: "bound: a program of this runtime that ends at once", unit: "ms", berth: await nothing(count), peer: [] },
    { name: "by hand: two ip -batch, without IPAM", unit: "ms", berth: hand, peer: [] },
  ];
}

/** The bounds. */
export const boundSeries: readonly Series[] = [{ name: "bounds", run: bounds }];
