// The record comes first: whoever is killed while IPAM is asked leaves what tells that something may be reserved.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { collectOrphans } from "../../src/attachment/collect.ts";
import { listRecords } from "../../src/attachment/record.ts";
import { HOST, type Snapshot, TestWorld, until } from "../world.ts";

const BIN = "/run/ipam";
const CALLS = `${BIN}/calls`;
const config = {
  cniVersion: "1.1.0",
  name: "tasks",
  type: "macvlan",
  master: "eth1",
  hostAccess: "auto",
  ipam: { type: "slow" },
};

let w: TestWorld;
let before: Snapshot;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.plug("lan", HOST, "eth1", "10.77.0.5/24");
  before = w.snapshot(HOST);
  mkdirSync(BIN);
  // it says that it was asked, and answers an ADD only when it may
  const script = `#!/bin/sh
cat >/dev/null
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME" >>${CALLS}
[ "$CNI_COMMAND" = ADD ] || exit 0
while [ ! -e ${BIN}/answer ]; do sleep 0.05; done
echo '{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.100/24"}]}'
`;
  writeFileSync(`${BIN}/slow`, script, { mode: 0o755 });
});
afterAll(() => w[Symbol.dispose]());

const calls = (): string[] => (existsSync(CALLS) ? readFileSync(CALLS, "utf8").trim().split("\n") : []);

test("killed while IPAM is asked: berth gc asks it to take everything back when the container is gone", async () => {
  w.namespace("c");
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/../../src/main.ts`], {
    env: {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c",
      CNI_IFNAME: "eth0",
      CNI_PATH: BIN,
      PATH: process.env["PATH"],
    },
    stdin: new Blob([JSON.stringify(config)]),
    stdout: "ignore",
    stderr: "ignore",
  });
  await until("IPAM is asked", () => calls().length > 0);
  child.kill("SIGKILL");
  await child.exited;
  writeFileSync(`${BIN}/answer`, ""); // which nobody hears
  expect(listRecords(() => {}).map((r) => [r.key.containerId, r.plan, r.allocation])).toEqual([["c1", [], undefined]]);
  w.removeNamespace("c");
  expect((await collectOrphans()).attachments.map((k) => k.containerId)).toEqual(["c1"]);
  expect(calls()).toEqual(["ADD c1 eth0", "DEL c1 eth0"]);
  expect(listRecords(() => {})).toEqual([]);
  expect(w.snapshot(HOST)).toEqual(before);
});
