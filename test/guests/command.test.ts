import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { AttachmentRecord } from "../../src/attachment/record.ts";
import { Failure } from "../../src/report/failure.ts";
import { libvirtXml } from "../../src/vm/libvirt.ts";
import { fillIn } from "../../src/vm/run.ts";
import { exportState, readState } from "../../src/vm/state.ts";

function record(network: string, ip: string, mac: string, mtu: number): AttachmentRecord {
  return {
    version: 1,
    key: { network, containerId: "vm1", ifName: `tap-${network}` },
    kind: "macvtap",
    netns: "/proc/self/ns/net",
    netnsInode: 1,
    parent: "eth1",
    created: "2026-01-01T00:00:00.000Z",
    config: JSON.stringify({ name: network, type: "berth", kind: "macvtap", mode: "vepa" }),
    cniPath: "",
    guest: { mac, mtu, steps: [] },
    allocation: { ips: [{ address: `${ip}/24` }, { address: "fd22::7/64" }], routes: [], dns: {} },
    plan: [],
  };
}

const tasks = record("tasks", "192.168.122.7", "02:00:00:00:00:07", 1462);
const office = record("office", "192.168.10.7", "02:00:00:00:00:08", 1500);

function failure(f: () => unknown): Failure {
  try {
    f();
  } catch (e) {
    if (e instanceof Failure) return e;
    throw e;
  }
  throw new Error("it did not fail");
}

describe("a command's placeholders", () => {
  test("of one NIC, of several queues, of the kernel's back end", () => {
    const words = ["q", "fd={fd},mac={mac},mtu={mtu}", "{ip} {ips}", "{ifname}", "{unknown} {fd", "${fd}"];
    expect(fillIn(words, [tasks], { queues: 1, vhost: false })).toEqual([
      "q",
      "fd=3,mac=02:00:00:00:00:07,mtu=1462",
      "192.168.122.7 192.168.122.7,fd22::7",
      "tap-tasks",
      "{unknown} {fd",
      "$3",
    ]);
    expect(fillIn(["{fds} {vhostfds} {vhostfd}"], [tasks], { queues: 3, vhost: true })).toEqual(["3:4:5 6:7:8 6"]);
  });

  test("of several NICs: descriptors follow each other", () => {
    const words = ["{fds} {mac} {vhostfds}", "{fds2} {mac2} {mtu2} {vhostfds2}"];
    expect(fillIn(words, [tasks, office], { queues: 2, vhost: true })).toEqual([
      "3:4 02:00:00:00:00:07 5:6",
      "7:8 02:00:00:00:00:08 1500 9:10",
    ]);
  });

  test("what is missing, or of no NIC, is refused and said", () => {
    const plain = { queues: 1, vhost: false };
    expect(failure(() => fillIn(["true"], [tasks], plain)).message).toContain("neither {fd} nor {fds}");
    expect(failure(() => fillIn(["{fd}"], [tasks, office], plain)).message).toContain("neither {fd2} nor {fds2}");
    expect(failure(() => fillIn(["{fd}{fd2}"], [tasks], plain)).advice).toContain("--network");
    expect(failure(() => fillIn(["{fd}{vhostfd}"], [tasks], plain)).advice).toBe("Give --vhost.");
  });
});

describe("libvirt's <interface>", () => {
  test("opens Berth's macvtap, or makes its own where that was left to it", () => {
    expect(libvirtXml(tasks)).toBe(
      [
        "<interface type='ethernet'>",
        "  <mac address='02:00:00:00:00:07'/>",
        "  <target dev='tap-tasks' managed='no'/>",
        "  <model type='virtio'/>",
        "  <mtu size='1462'/>",
        "</interface>",
      ].join("\n"),
    );
    const foreign = {
      ...tasks,
      parent: "it's <&>",
      guest: { mac: "02:00:00:00:00:07", mtu: 1462, steps: [], foreignLink: true },
    } as const;
    expect(libvirtXml(foreign)).toBe(
      [
        "<interface type='direct' trustGuestRxFilters='yes'>",
        "  <mac address='02:00:00:00:00:07'/>",
        "  <source dev='it&apos;s &lt;&amp;&gt;' mode='vepa'/>",
        "  <target dev='tap-tasks'/>",
        "  <model type='virtio'/>",
        "</interface>",
      ].join("\n"),
    );
    const { guest: _, ...container } = tasks;
    expect(failure(() => libvirtXml(container)).reason).toBe("request");
  });
});

describe("what a machine takes along", () => {
  test("is read as it was written; anything else is refused with a reason", () => {
    const state = exportState(tasks);
    writeFileSync("/run/state.json", JSON.stringify(state));
    expect(readState("/run/state.json")).toEqual(state);
    for (const text of [
      "",
      "{",
      "[]",
      "{}",
      '{"form":"another"}',
      JSON.stringify({ ...state, key: {} }),
      JSON.stringify({ ...state, config: {} }),
    ]) {
      writeFileSync("/run/state.json", text);
      expect(failure(() => readState("/run/state.json"))).toMatchObject({ reason: "decode" });
    }
    expect(failure(() => readState("/run/nothing.json")).reason).toBe("io");
    const { guest: _, ...container } = tasks;
    expect(failure(() => exportState(container)).reason).toBe("request");
  });
});
