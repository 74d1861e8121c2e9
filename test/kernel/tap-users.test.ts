import { expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { mount } from "../../src/kernel/libc.ts";
import { tapDevice, tapUsers } from "../../src/kernel/taps.ts";

test("a program that has the device open is found, and only as long as it has", () => {
  // a user namespace may not make device nodes: /dev/zero (1:5) plays the tap's
  mount("tmpfs", "/sys/class/net", "tmpfs", 0);
  mkdirSync("/sys/class/net/vm0/tap7", { recursive: true });
  writeFileSync("/sys/class/net/vm0/tap7/dev", "1:5\n");
  expect(tapDevice("vm0")).toEqual({ major: 1, minor: 5 });
  expect(tapUsers("vm0")).toEqual([]);
  const fd = openSync("/dev/zero", "r");
  const program = readFileSync("/proc/self/comm", "utf8").trim();
  expect(tapUsers("vm0")).toEqual([{ pid: process.pid, program }]);
  closeSync(fd);
  expect(tapUsers("vm0")).toEqual([]);
});
