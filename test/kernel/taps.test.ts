import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync } from "node:fs";
import { describeTapUsers, tapDevice, usersOf } from "../../src/kernel/taps.ts";
import { TestWorld } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.namespace("c");
  w.plug("lan", "", "eth1");
  w.subInterface("eth1", "tap5", { kind: "macvtap", mode: "bridge" });
  w.ip("", "link add link eth1 name mt0 netns c type macvtap mode bridge");
});
afterAll(() => w[Symbol.dispose]());

describe("a macvtap's tap device", () => {
  test("is found in this namespace and in another, by the kernel's number", () => {
    const here = tapDevice("tap5");
    const there = tapDevice("mt0", w.at("c"));
    expect(here?.major).toBeGreaterThan(0);
    expect(there?.major).toBe(here?.major ?? 0);
    expect(there?.minor).not.toBe(here?.minor ?? 0);
    expect(`${there?.major}:${there?.minor}`).toBe(
      w.run("c", ["sh", "-c", "mount -t sysfs s /mnt && cat /mnt/class/net/mt0/tap*/dev; umount /mnt"]).trim(),
    );
  });

  test("is not found for other links, nor in the wrong namespace", () => {
    expect(tapDevice("eth1")).toBeUndefined();
    expect(tapDevice("mt0")).toBeUndefined();
    expect(tapDevice("tap5", w.at("c"))).toBeUndefined();
    expect(describeTapUsers("tap5")).toBeUndefined();
    expect(describeTapUsers("nothing", w.at("c"))).toBeUndefined();
  });

  test("leaves no descriptor and no mount behind", () => {
    const before = readFileSync("/proc/self/mounts", "utf8");
    const fd = openSync("/dev/null", "r");
    closeSync(fd);
    for (let i = 0; i < 50; i++) tapDevice("mt0", w.at("c"));
    const after = openSync("/dev/null", "r");
    closeSync(after);
    expect(after).toBe(fd);
    expect(readFileSync("/proc/self/mounts", "utf8")).toBe(before);
  });
});

test("a program that has a device open is found, and only as long as it has", () => {
  // a user namespace may not make device nodes: /dev/zero (1:5) plays the tap's
  const zero = { major: 1, minor: 5 };
  const own = (): unknown[] => usersOf(zero).filter((u) => u.pid === process.pid);
  expect(own()).toEqual([]);
  const fd = openSync("/dev/zero", "r");
  const program = readFileSync("/proc/self/comm", "utf8").trim();
  expect(own()).toEqual([{ pid: process.pid, program }]);
  closeSync(fd);
  expect(own()).toEqual([]);
});
