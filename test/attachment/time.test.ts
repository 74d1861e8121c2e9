// What outlives what it should not, or changes under way: boots, clocks, the machine's identity.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { collectOrphans } from "../../src/attachment/collect.ts";
import { isOrphan, listRecords } from "../../src/attachment/record.ts";
import { repair } from "../../src/attachment/repair.ts";
import { HostLocal } from "../../src/ipam/host-local.ts";
import { setModified } from "../../src/kernel/files.ts";
import { mount, MS_BIND, unmount } from "../../src/kernel/libc.ts";
import { bootId } from "../../src/kernel/namespaces.ts";
import { call } from "../cni/call.ts";
import { failureOf } from "../failing.ts";
import { HOST, type Snapshot, TestWorld } from "../world.ts";

const BOOT_ID = "/proc/sys/kernel/random/boot_id";
const MACHINE_ID = "/etc/machine-id";
const STATE = "/var/lib/cni/networks/tasks";
const QUARANTINE = `${STATE}/.berth/quarantine`;

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl(HOST, "net/ipv6/conf/default/accept_dad", "0");
  for (const [lan, nic, net] of [
    ["lan1", "eth1", 77],
    ["lan2", "eth2", 78],
  ] as const) {
    w.lan(lan);
    w.plug(lan, HOST, nic, `10.${net}.0.5/24`);
  }
  for (const name of ["c", "d"]) w.namespace(name);
  before = w.snapshot(HOST);
});
beforeEach(() => {
  for (const state of ["/run/berth", "/var/lib/cni"]) rmSync(state, { recursive: true, force: true });
});
afterAll(() => w[Symbol.dispose]());

const config = {
  cniVersion: "1.1.0",
  name: "tasks",
  type: "macvlan",
  master: "eth1",
  hostrouteif: "auto",
  ipam: { type: "host-local", subnet: "10.77.0.0/24", rangeStart: "10.77.0.100", rangeEnd: "10.77.0.101" },
};

async function mustSucceed(verb: string, container: string, extra: object = {}): Promise<Record<string, unknown>> {
  const env = { CNI_CONTAINERID: container, CNI_NETNS: `/run/netns/${container}` };
  const reply = await call(verb, { ...config, ...extra }, env);
  expect(reply).toMatchObject({ exitCode: 0 });
  return reply.json;
}

/** Does something while a file has another content. */
async function whileIs(path: string, content: string, work: () => Promise<void>): Promise<void> {
  const other = `${mkdtempSync("/run/other-")}/content`;
  writeFileSync(other, content);
  mount(other, path, "", MS_BIND);
  try {
    await work();
  } finally {
    unmount(path);
  }
}

/** What a boot does to the kernel's part of an attachment. */
function forgetKernel(): void {
  w.deleteLink("c", "eth0");
  w.deleteLink(HOST, "berth-eth1");
}

const addresses = (answer: Record<string, unknown>): string[] =>
  (answer["ips"] as { address: string }[]).map((ip) => ip.address);
const accessMac = (parent: string): unknown => w.ipJson(HOST, `link show berth-${parent}`)[0]?.["address"];

describe("a /run that is kept over a boot", () => {
  test("a record of the last boot is nobody's, though the namespace's number is the same; what has its address now stays", async () => {
    await mustSucceed("ADD", "c");
    expect(listRecords(() => {}).map((r) => [r.boot, isOrphan(r)])).toEqual([[bootId(), false]]);
    await whileIs(BOOT_ID, "11111111-2222-3333-4444-555555555555\n", async () => {
      const [former] = listRecords(() => {});
      if (former === undefined) throw new Error("there is no record");
      expect(isOrphan(former)).toBe(true);
      expect(await failureOf(repair(former))).toMatchObject({ reason: "namespace" });
      // the kernel has nothing of it after a boot, and its address was given back: another has it
      forgetKernel();
      const answer = await mustSucceed("ADD", "d", { runtimeConfig: { ips: ["10.77.0.100"] } });
      expect(addresses(answer)).toEqual(["10.77.0.100/24"]);
      const now = w.snapshot(HOST);
      expect((await collectOrphans()).attachments.map((k) => k.containerId)).toEqual(["c"]);
      expect(w.snapshot(HOST)).toEqual(now);
      w.ping("d", "10.77.0.5");
      await mustSucceed("CHECK", "d", { prevResult: answer });
      await mustSucceed("DEL", "d");
    });
    expect(w.snapshot(HOST)).toEqual(before);
  });

  test("a container that comes back under its id is attached anew", async () => {
    await mustSucceed("ADD", "c");
    await whileIs(BOOT_ID, "11111111-2222-3333-4444-555555555555\n", async () => {
      forgetKernel();
      const answer = await mustSucceed("ADD", "c");
      await mustSucceed("CHECK", "c", { prevResult: answer });
      await mustSucceed("DEL", "c");
    });
    expect(w.snapshot(HOST)).toEqual(before);
  });
});

describe("the machine's identity", () => {
  test("two machines with one identity, or none, have different access links: their parents' MACs differ", async () => {
    for (const identity of ["0123456789abcdef0123456789abcdef\n", ""]) {
      await whileIs(MACHINE_ID, identity, async () => {
        // two parents of one name cannot be on one host: another name would be reason enough for another MAC
        await mustSucceed("ADD", "c");
        const first = accessMac("eth1");
        await mustSucceed("DEL", "c");
        const mac = w.link(HOST, "eth1").mac ?? "";
        w.ip(HOST, "link set eth1 address 02:00:00:00:00:77");
        await mustSucceed("ADD", "c");
        const second = accessMac("eth1");
        await mustSucceed("DEL", "c");
        w.ip(HOST, `link set eth1 address ${mac}`);
        await mustSucceed("ADD", "c");
        expect(accessMac("eth1")).toEqual(first); // and the same machine has the same one again
        await mustSucceed("DEL", "c");
        expect(first).toEqual(expect.stringMatching(/^[\da-f:]{17}$/u));
        expect(second).not.toEqual(first);
      });
    }
  });

  test("one that changes while there is an access link: later attachments use the link as it is", async () => {
    const answers = [await mustSucceed("ADD", "c")];
    const mac = accessMac("eth1");
    await whileIs(MACHINE_ID, "fedcba9876543210fedcba9876543210\n", async () => {
      answers.push(await mustSucceed("ADD", "d"));
    });
    expect(accessMac("eth1")).toEqual(mac);
    for (const [i, name] of ["c", "d"].entries()) {
      w.ping(name, "10.77.0.5");
      await mustSucceed("CHECK", name, { prevResult: answers[i] });
    }
    for (const name of ["c", "d"]) await mustSucceed("DEL", name);
    expect(w.snapshot(HOST)).toEqual(before);
  });
});

/** Puts an address into quarantine as conflict detection does. */
async function quarantined(): Promise<void> {
  const provider = new HostLocal({ type: "host-local", subnet: "10.77.0.0/24", rangeStart: "10.77.0.100" }, []);
  const holder = { network: "tasks", containerId: "x", ifName: "eth0" };
  await provider.allocate(holder, ["10.77.0.100"]);
  expect(await provider.quarantine(holder, "10.77.0.100", "another machine", 600)).toBe(true);
}
/** The address that a new attachment gets. */
async function got(): Promise<string[]> {
  const ips = addresses(await mustSucceed("ADD", "c"));
  await mustSucceed("DEL", "c");
  return ips;
}

describe("a clock that jumps", () => {
  test("an address in quarantine is not handed out before its time", async () => {
    await quarantined();
    expect(readFileSync(`${QUARANTINE}/10.77.0.100`, "utf8")).toBe("600");
    expect(await got()).toEqual(["10.77.0.101/24"]);
    expect(await got()).toEqual(["10.77.0.101/24"]);
  });

  test("forward: the quarantine is over", async () => {
    await quarantined();
    setModified(`${QUARANTINE}/10.77.0.100`, Date.now() - 50 * 365 * 86_400_000); // it was set in 1970
    expect([...(await got()), ...(await got())].toSorted()).toEqual(["10.77.0.100/24", "10.77.0.101/24"]);
  });

  test("back: it does not last for years", async () => {
    await quarantined();
    setModified(`${QUARANTINE}/10.77.0.100`, Date.now() + 50 * 365 * 86_400_000); // it is 1970 now
    expect([...(await got()), ...(await got())].toSorted()).toEqual(["10.77.0.100/24", "10.77.0.101/24"]);
  });
});
