// A double of the Mesos agent against dist/berth: Mesos is in no distribution.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { ClientHost, kinds, run } from "./host.ts";
import { makeRootfs, SERVER } from "./image.ts";
import { type Launched, MesosAgent } from "./mesos-agent.ts";
import { forgetReservations, installPlugins, pluginOf, type Plugin } from "./networks.ts";
import { runPage } from "./page.ts";

const CONFIGS = "/etc/mesos/cni";
/** A nested container's id, as the agent writes it. */
const NESTED = "5baff64c-d028-47ba-864e-a5ee679fc069.child-1";
const TASK = ["chroot", "/run/rootfs", ...SERVER];

let w: ClientHost;
// the agent leaves out a network whose IPAM type has no program, though Berth needs none for host-local
const agent = new MesosAgent("/opt/cni/bin:/usr/lib/cni", CONFIGS);

beforeAll(() => {
  installPlugins();
  makeRootfs("/run/rootfs");
  w = new ClientHost();
});
beforeEach(() => {
  rmSync(CONFIGS, { recursive: true, force: true });
  mkdirSync(CONFIGS, { recursive: true });
});
afterEach(async () => {
  for (const id of agent.containers()) await agent.cleanup(id);
});
afterAll(() => w[Symbol.dispose]());

/** A file of one plugin, which is the only form that the agent reads. */
function writeConfig(name: string, plugin: Plugin): void {
  forgetReservations(name);
  writeFileSync(`${CONFIGS}/${name}.conf`, JSON.stringify({ name, ...plugin }));
}

function prove(kind: (typeof kinds)[number], task: Launched, mac?: string): void {
  const [first] = task.answers;
  const addresses = [first?.ip4?.ip, first?.ip6?.ip].filter((ip) => ip !== undefined);
  writeFileSync("/run/rootfs/etc/resolv.conf", task.resolvConf);
  w.prove({
    netns: task.netns,
    kind,
    addresses,
    ...(mac === undefined ? {} : { mac }),
    nameservers: ["192.168.122.1"],
    inside: (script) => run(["nsenter", `--net=${task.netns}`, "chroot", "/run/rootfs", "/bin/sh", "-c", script]),
  });
}

describe.each(kinds)("%s", (kind) => {
  const plugin = (varied: Partial<Parameters<typeof pluginOf>[0]> = {}): Plugin => pluginOf({ kind, ...varied });
  const second = { range: { rangeStart: "192.168.122.200", rangeEnd: "192.168.122.210" } };

  test.each([{}, { cniVersion: "0.1.0" }, { cniVersion: "0.2.0" }])(
    "%j: a task, its addresses as the agent reads them",
    async (version) => {
      writeConfig("lan", { ...plugin(), ...version });
      const task = await agent.launch(NESTED, [{ name: "lan" }], TASK);
      expect(task.answers[0]?.ip4?.ip).toBe("192.168.122.128/24");
      expect(task.answers[0]?.ip6?.ip).toMatch(/^fd22::/u);
      expect(task.hosts).toBe(`192.168.122.128 ${NESTED}\n`);
      prove(kind, task);
      await agent.cleanup(NESTED);
      w.nothingIsLeft();
    },
  );

  test("two networks at the same time; what the task asks for by address and labels", async () => {
    writeConfig("lan", plugin({ ipv4Only: true }));
    writeConfig("second", plugin(second));
    const labels = {
      labels: [
        { key: "berth.mac", value: "02:00:5e:10:00:07" },
        { key: "app", value: "web" },
      ],
    };
    const infos = [
      { name: "lan", ip_addresses: [{ protocol: "IPv4", ip_address: "192.168.122.177" }], labels },
      {
        name: "second",
        ip_addresses: [{ protocol: "IPv4" }],
        labels: { labels: [{ key: "berth.ip", value: "192.168.122.205" }] },
      },
    ] as const;
    const task = await agent.launch(NESTED, infos, TASK);
    expect(task.answers).toMatchObject([{ ip4: { ip: "192.168.122.177/24" } }, { ip4: { ip: "192.168.122.205/24" } }]);
    prove(kind, task, "02:00:5e:10:00:07");
    w.answers("192.168.122.205");
    await agent.cleanup(NESTED);
    w.nothingIsLeft();
  });

  test("one of two networks has no address: the launch fails with Berth's words, and cleanup leaves nothing", async () => {
    writeConfig("lan", plugin({ ipv4Only: true }));
    writeConfig("second", plugin(second));
    const infos = [{ name: "lan" }, { name: "second", labels: { labels: [{ key: "berth.ip", value: "10.9.9.9" }] } }];
    const failure = await agent.launch(NESTED, infos, TASK).then(() => "", String);
    expect(failure).toContain("10.9.9.9");
    await agent.cleanup(NESTED);
    w.nothingIsLeft();
  });

  test("after a reboot DEL comes without CNI_NETNS, and again", async () => {
    writeConfig("lan", plugin());
    prove(kind, await agent.launch(NESTED, [{ name: "lan" }], TASK));
    await agent.reboot(NESTED);
    await agent.cleanup(NESTED);
    w.nothingIsLeft();
  });

  test("ten tasks at the same time", async () => {
    writeConfig("lan", plugin({ ipv4Only: true }));
    const ids = Array.from({ length: 10 }, (_, i) => `task-${i}`);
    const tasks = await Promise.all(ids.map(async (id) => await agent.launch(id, [{ name: "lan" }], TASK)));
    const ips = tasks.map((t) => t.answers[0]?.ip4?.ip ?? "");
    expect(new Set(ips).size).toBe(10);
    for (const ip of ips) w.answers(ip);
    await Promise.all(ids.map(async (id) => await agent.cleanup(id)));
    w.nothingIsLeft();
  });
});

test("which files the agent takes", () => {
  writeConfig("lan", pluginOf({ kind: "macvtap" }));
  writeFileSync(`${CONFIGS}/list.conflist`, JSON.stringify({ name: "list", plugins: [pluginOf({ kind: "macvtap" })] }));
  writeConfig("unknown", { ...pluginOf({ kind: "macvtap" }), type: "nowhere" });
  expect([...agent.networks().keys()]).toEqual(["lan"]);
  expect([...new MesosAgent("/opt/cni/bin", CONFIGS).networks().keys()]).toEqual([]);
});

test("the page's commands, from nothing to a ping and back", () => {
  runPage("mesos");
  w.nothingIsLeft();
  expect(readdirSync("/run/netns")).not.toContain("task");
});
