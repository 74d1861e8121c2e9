// Containers with Berth inside of a virtual machine that Berth runs: what the guest's NIC lets through, as Berth in the guest
// says it, and each of the ways that work, with Debian's kernel in QEMU.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { bootVm, type Vm, type VmOptions } from "../vm/vm.ts";
import { HOST, TestWorld } from "../world.ts";
import { images } from "./images.ts";

const main = `${import.meta.dir}/../../src/main.ts`;
const { whole, project } = images();
const PEER = ["192.168.122.22", "fd22::22"] as const;

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("tasks");
  w.namespace("peer");
  w.sysctl("peer", "net/ipv6/conf/default/accept_dad", "0");
  w.plug("tasks", HOST, "eth1");
  w.plug("tasks", "peer", "eth0", "192.168.122.22/24", "fd22::22/64");
});
afterAll(() => w[Symbol.dispose]());

/** What virtual machines are connected by: a network of the outer Berth without addresses, which are the guest's own here. */
function outerNetwork(name: string, mode: "bridge" | "passthru"): string {
  const file = `/run/${name}.conf`;
  const config = { cniVersion: "1.1.0", name, type: "berth", kind: "macvtap", mode, master: "eth1" };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

/** A guest whose NICs are on these networks of the outer Berth, which runs it. */
function runByBerth(...networks: string[]): VmOptions {
  const flags = networks.flatMap((file) => ["--config", file]);
  return {
    nics: networks.map((_, i) => {
      const leg = i === 0 ? "" : `${i + 1}`;
      return { mac: `{mac${leg}}`, descriptor: `{fd${leg}}` };
    }),
    through: (qemu) => [process.execPath, main, "vm", "run", ...flags, "--name", "vm1", "--", ...qemu],
  };
}

/** Boots a guest with the project in it, its NIC eth0 up and with addresses. */
async function boot(options: VmOptions): Promise<Vm> {
  const vm = await bootVm(whole, {
    ...options,
    memoryMb: 1024,
    disks: project.map((image, i) => ({ image, at: i === 0 ? "/project" : "/project/node_modules" })),
    modules: ["virtio_net", "macvlan", "ipvlan", "veth"],
  });
  await vm.must(`
    echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
    echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
    ip address add 192.168.122.5/24 dev eth0
    ip address add fd22::5/64 dev eth0
    ip link set dev eth0 up
    ip netns add c
    until ping -c 1 -W 1 ${PEER[0]}; do :; done`);
  return vm;
}

/** An inner network whose containers get the address with this last part. */
function network(kind: string, last: number, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    cniVersion: "1.1.0",
    name: `inner-${kind}`,
    type: "berth",
    kind,
    master: "eth0",
    ipam: {
      type: "static",
      addresses: [
        { address: `192.168.122.${last}/24`, gateway: PEER[0] },
        { address: `fd22::${last}/64`, gateway: PEER[1] },
      ],
    },
    ...more,
  };
}

const FILE = "/run/inner.conf";

/** Berth in the guest, with a network's configuration in its standard input and in a file. */
async function inner(vm: Vm, config: Record<string, unknown>, command: string): Promise<string> {
  const text = JSON.stringify(config).replaceAll("'", String.raw`'\''`);
  return await vm.must(`printf %s '${text}' >${FILE}; cd /project; ${command} <${FILE}`);
}

const BERTH = "node_modules/.bin/bun src/main.ts";

interface Status {
  readonly ready: boolean;
  readonly remarks: readonly string[];
}

async function status(vm: Vm, config: Record<string, unknown>, ...flags: string[]): Promise<Status> {
  const text = await inner(vm, config, `${BERTH} status --config ${FILE} --json ${flags.join(" ")}`);
  const [only] = JSON.parse(text) as Status[];
  if (only === undefined) throw new Error(text);
  return only;
}

/** Whether a container, as long as it is attached, reaches the LAN beyond the virtual machine by both families, and is reached. */
async function reaches(vm: Vm, config: Record<string, unknown>): Promise<boolean> {
  await inner(vm, config, `${BERTH} attach --config ${FILE} --netns c`);
  const answers: boolean[] = [];
  for (const ip of PEER) {
    const { exitCode } = await vm.run(`ip netns exec c ping -c 2 -W 2 ${ip}`);
    answers.push(exitCode === 0);
  }
  const { addresses } = config["ipam"] as { addresses: readonly { address: string }[] };
  for (const { address } of addresses) {
    const to = address.replace(/\/.*/u, "");
    answers.push(Bun.spawnSync(["ip", "netns", "exec", "peer", "ping", "-c", "2", "-W", "2", to]).exitCode === 0);
  }
  await inner(vm, config, `${BERTH} detach --netns c`);
  expect(await inner(vm, config, `${BERTH} ls --json`)).toBe("[]\n");
  expect(new Set(answers).size).toBe(1); // all, or none
  return answers.every(Boolean);
}

/** What is left on the outer host of a machine that has ended. */
function left(): string[] {
  const links = w.ipJson(HOST, "link show").flatMap(({ ifname }) => (typeof ifname === "string" ? [ifname] : []));
  return [...links.filter((name) => name.startsWith("tap-")), ...readdirSync("/run/berth/taps")];
}

describe("behind a macvtap in mode bridge", () => {
  test("an inner macvlan gets nothing, Berth in the guest says why and names the ways; ipvlan and a second NIC work", async () => {
    const vm = await boot(runByBerth(outerNetwork("first", "bridge"), outerNetwork("second", "bridge")));
    await using _ended = vm;
    const macvlan = network("macvlan", 90);
    expect(await reaches(vm, macvlan)).toBe(false);
    await vm.must("ip link set dev eth0 promisc on");
    expect(await reaches(vm, macvlan)).toBe(false);
    await vm.must("ip link set dev eth0 promisc off");
    expect(await status(vm, macvlan)).toMatchObject({ ready: true, remarks: [] });
    const { ready, remarks } = await status(vm, macvlan, "--probe");
    const mac = (await vm.must("cat /sys/class/net/eth0/address")).trim();
    expect(ready).toBe(true);
    expect(remarks).toHaveLength(1);
    for (const part of [
      `frames to other MACs than eth0's (${mac}) do not come in: ${PEER[0]} answered that one`,
      "kind ipvlan",
      "kind device",
      'mode "passthru"',
      "a tap in a bridge",
    ])
      expect(remarks[0]).toContain(part);
    expect((await status(vm, macvlan)).remarks).toEqual(remarks);
    // a runtime's STATUS call says it too
    const said = await inner(vm, macvlan, `CNI_COMMAND=STATUS CNI_PATH=/opt/cni/bin ${BERTH} 2>&1`);
    expect(said).toContain("do not come in");
    // the ways that are inside
    expect(await reaches(vm, network("ipvlan", 91))).toBe(true);
    expect((await status(vm, network("ipvlan", 91), "--probe")).remarks).toEqual([]);
    expect(await reaches(vm, network("macvlan", 92, { mode: "passthru" }))).toBe(true);
    const { master: _, ...withoutParent } = network("device", 93, { type: "host-device", device: "eth1" });
    expect(await reaches(vm, withoutParent)).toBe(true);
    expect(await vm.must("ls /sys/class/net/eth1/address")).toBe("/sys/class/net/eth1/address\n");
    // a guest of the guest gets the kernel's virtio back end, which this machine's own kernel may not have
    await vm.must("modprobe vhost_net");
    const run = `${BERTH} vm run --config ${FILE} --name deep --vhost --`;
    const links = await inner(vm, network("macvtap", 95), `${run} readlink /proc/self/fd/{vhostfd} /proc/self/fd/{fd}`);
    expect(links).toEndWith("/dev/vhost-net\n/run/berth/taps/inner-macvtap:deep:tap-deep\n");
    expect(await vm.end()).toBe(0);
    expect(left()).toEqual([]);
  });
});

/** An inner macvlan works, and a probe says so. */
async function letsThrough(vm: Vm): Promise<void> {
  const macvlan = network("macvlan", 94);
  expect(await reaches(vm, macvlan)).toBe(true);
  const { remarks } = await status(vm, macvlan, "--probe");
  expect(remarks).toEqual([
    expect.stringContaining(`frames to other MACs than eth0's come in: ${PEER[0]} answered one`),
  ]);
  expect((await status(vm, macvlan)).remarks).toEqual([]);
}

test("behind a macvtap in mode passthru, which makes its parent promiscuous, an inner macvlan works", async () => {
  await using vm = await boot(runByBerth(outerNetwork("whole", "passthru")));
  expect(w.ipJson(HOST, "-d link show dev eth1")[0]).toMatchObject({ promiscuity: 1 });
  await letsThrough(vm);
  expect(await vm.end()).toBe(0);
  expect(left()).toEqual([]);
  expect(w.ipJson(HOST, "-d link show dev eth1")[0]).toMatchObject({ promiscuity: 0 });
});

test("behind a tap in a bridge an inner macvlan works", async () => {
  w.ip(HOST, "link add br0 type bridge");
  w.ip(HOST, "tuntap add dev tap0 mode tap");
  for (const port of ["eth1", "tap0"]) w.ip(HOST, `link set dev ${port} master br0 up`);
  w.ip(HOST, "link set dev br0 up");
  try {
    await using vm = await boot({ nics: [{ mac: "02:00:00:00:00:31", tap: "tap0" }] });
    await letsThrough(vm);
  } finally {
    for (const link of ["tap0", "br0"]) w.deleteLink(HOST, link);
  }
});
