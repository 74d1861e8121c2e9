import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, existsSync, mkdirSync, readdirSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { lockFile } from "../../src/kernel/locks.ts";
import {
  bootId,
  findNamespace,
  mountNamespace,
  namedNamespacePath,
  openNamespace,
  processNamespacePath,
} from "../../src/kernel/namespaces.ts";
import { OwnSysctls } from "../../src/kernel/own-sysctls.ts";
import { readSysctl, writeSysctl } from "../../src/kernel/sysctls.ts";
import { TestWorld } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.namespace("c");
});
afterAll(() => w[Symbol.dispose]());

const descriptors = (): number => readdirSync("/proc/self/fd").length;
const own = (): string => readlinkSync("/proc/thread-self/ns/net");

describe("namespaces", () => {
  test("by name and by path it is the one that ip knows", () => {
    using c = openNamespace(namedNamespacePath("c"));
    expect(w.run(["ip", "netns", "exec", "c", "readlink", "/proc/self/ns/net"]).trim()).toBe(`net:[${c.inode}]`);
    expect(c.run(own)).toBe(`net:[${c.inode}]`);
  });

  test("by process id", async () => {
    const sleeper = Bun.spawn(["ip", "netns", "exec", "c", "sleep", "30"]);
    try {
      await Bun.sleep(200);
      using byPid = openNamespace(processNamespacePath(sleeper.pid));
      using byName = openNamespace(namedNamespacePath("c"));
      expect(byPid.inode).toBe(byName.inode);
    } finally {
      sleeper.kill();
      await sleeper.exited;
    }
  });

  test("the thread comes back, also when the code inside throws", () => {
    const home = own();
    expect(() =>
      w.within("c", () => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(own()).toBe(home);
  });

  test("a socket stays in the namespace that it was opened in", () => {
    w.ip("c", "link add only-here type bridge");
    expect(w.link("c", "only-here").kind).toBe("bridge");
    expect(() => w.link("", "only-here")).toThrow();
  });

  test("a mount namespace shows other directories in their places to who enters it, and to nobody else", () => {
    mkdirSync("/run/places/elsewhere", { recursive: true });
    mkdirSync("/run/places/here");
    writeFileSync("/run/places/elsewhere/file", "from elsewhere");
    const home = readlinkSync("/proc/thread-self/ns/mnt");
    const fd = mountNamespace([["/run/places/elsewhere", "/run/places/here"]]);
    expect(readlinkSync("/proc/thread-self/ns/mnt")).toBe(home);
    expect(existsSync("/run/places/here/file")).toBe(false);
    const seen = w.run(["nsenter", `--mount=/proc/${process.pid}/fd/${fd}`, "--", "cat", "/run/places/here/file"]);
    expect(seen).toBe("from elsewhere");
    expect(() => mountNamespace([["/run/places/none", "/run/places/here"]])).toThrow("mount /run/places/none");
    expect(readlinkSync("/proc/thread-self/ns/mnt")).toBe(home);
    closeSync(fd);
  });

  test("nothing there, a plain file, a stale mount point: no namespace", () => {
    writeFileSync("/run/netns/stale", "");
    for (const path of ["/run/netns/none", "/run/netns/stale", "/run/netns/stale/x", "/proc/999999/ns/net"]) {
      expect(findNamespace(path)).toBeUndefined();
      expect(() => openNamespace(path)).toThrow(`open the network namespace ${path}: there is no network namespace`);
    }
    expect(findNamespace("/proc/self/ns/mnt")).toBeUndefined();
  });

  test("the boot has an identity", () => {
    expect(bootId()).toMatch(/^[\da-f-]{36}$/u);
  });
});

describe("sysctls", () => {
  test("those of the thread's namespace, dots in interface names included", () => {
    w.ip("c", "link add br.7 type bridge");
    w.sysctl("c", "net/ipv4/conf/br.7/arp_notify", "1");
    expect(w.within("c", () => readSysctl("net/ipv4/conf/br.7/arp_notify"))).toBe("1");
    expect(readSysctl("net/ipv4/conf/br.7/arp_notify")).toBeUndefined();
    expect(() => writeSysctl("net/ipv4/conf/nothing/arp_notify", "1")).toThrow(
      "set sysctl net/ipv4/conf/nothing/arp_notify to 1: ENOENT",
    );
    expect(() => writeSysctl("net/ipv4/conf/lo/arp_notify", "x")).toThrow("EINVAL");
  });

  test("those of many namespaces in an instance of procfs of one's own, each its namespace's", () => {
    const key = "net/ipv4/conf/lo/arp_notify";
    const names = Array.from({ length: 40 }, (_, i) => `many-${i}`);
    for (const name of names) w.namespace(name);
    const before = descriptors();
    {
      using sysctls = new OwnSysctls();
      for (const [i, name] of names.entries()) {
        sysctls.next();
        w.within(name, () => writeSysctl(key, i % 3 === 0 ? "1" : "0"));
        expect(() => writeSysctl("net/ipv4/conf/nothing/arp_notify", "1")).toThrow("ENOENT");
      }
      expect(descriptors()).toBe(before + 1);
    }
    expect(descriptors()).toBe(before);
    const found = names.map((name) => w.within(name, () => readSysctl(key)));
    expect(found).toEqual(names.map((_, i) => (i % 3 === 0 ? "1" : "0")));
    expect(readSysctl(key)).toBe("0");
  });
});

describe("locks", () => {
  test("another process waits until it is released", async () => {
    mkdirSync("/run/l", { recursive: true });
    const lock = lockFile("/run/l/lock");
    const other = Bun.spawn(["flock", "/run/l/lock", "touch", "/run/l/got"]);
    await Bun.sleep(150);
    expect(existsSync("/run/l/got")).toBe(false);
    lock[Symbol.dispose]();
    await other.exited;
    expect(existsSync("/run/l/got")).toBe(true);
  });

  test("a symbolic link is not followed", () => {
    symlinkSync("/run/l/elsewhere", "/run/l/link");
    expect(() => lockFile("/run/l/link")).toThrow("/run/l/link");
    expect(existsSync("/run/l/elsewhere")).toBe(false);
  });
});
