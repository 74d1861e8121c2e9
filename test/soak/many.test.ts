// Many calls at once, fewer than npm run test:soak makes.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync } from "node:fs";
import { attach } from "../../src/attachment/attach.ts";
import { delegateFor } from "../../src/attachment/allocation.ts";
import { detach } from "../../src/attachment/detach.ts";
import { keyFileName, type Key } from "../../src/attachment/key.ts";
import { readConfig } from "../../src/attachment/config-issues.ts";
import { executablePath } from "../executable.ts";
import { ManyHost } from "./host.ts";
import { addAgainstDel, addDuringGc, addDuringRelease, manyAtOnce } from "./many.ts";

const CONTAINERS = 40;

const executable = await executablePath(); // which may take longer than a hook may
let host: ManyHost;
beforeAll(() => {
  host = new ManyHost(executable);
  for (let i = 0; i < CONTAINERS; i++) host.container(`c${i}`);
});
afterAll(() => host[Symbol.dispose]());

/** Container ids whose attachments share a lock file of the 256. */
function sharing(): readonly [string, string] {
  const seen = new Map<number, string>();
  for (let i = 0; ; i++) {
    const id = `x${i}`;
    const lock = Bun.hash.xxHash32(keyFileName({ network: "one", containerId: id, ifName: "eth0" })) % 256;
    const other = seen.get(lock);
    if (other !== undefined) return [other, id];
    seen.set(lock, id);
  }
}

describe("many processes at once", () => {
  test("ADDs, and then DELs", async () => await manyAtOnce(host, CONTAINERS));
  test("ADD and DEL of the same attachment", async () => await addAgainstDel(host, 8));
  test("ADDs during GC", async () => await addDuringGc(host, 20));
  test("ADDs while the last boot's reservations are released", async () => await addDuringRelease(host, 20));
});

describe("several in one process", () => {
  test("two whose locks are one file: one awaits IPAM, and the other does not keep it from going on", async () => {
    const ids = sharing();
    // an IPAM plugin as a process of its own, which is awaited
    const bin = mkdtempSync("/run/ipam-");
    await Bun.write(
      `${bin}/slow`,
      `#!/bin/sh\nsleep 0.3\necho '{"cniVersion":"1.0.0","ips":[{"address":"10.77.9.'$(echo $CNI_CONTAINERID | cksum | cut -c1-2)'/16"}]}'\n`,
    );
    Bun.spawnSync(["chmod", "755", `${bin}/slow`]);
    const json = { cniVersion: "1.0.0", name: "one", type: "macvlan", master: "eth1", ipam: { type: "slow" } };
    const config = readConfig(json);
    const requests = ids.map((containerId, i) => {
      const key: Key = { network: "one", containerId, ifName: "eth0" };
      const netns = `/run/netns/c${i}`;
      const delegate = delegateFor(JSON.stringify(json), "1.0.0", key, netns);
      return { key, netns, config, delegate: { ...delegate, env: { ...delegate.env, CNI_PATH: bin } } };
    });
    const attached = await Promise.all(requests.map((r) => attach({ ...r, kind: "macvlan", mac: undefined, ips: [] })));
    expect(attached.map((a) => a.link?.name)).toEqual(["eth0", "eth0"]);
    await Promise.all(requests.map((r) => detach({ ...r, knownIps: [] })));
  });
});
