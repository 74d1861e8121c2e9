// What Docker was seen to send, sent to the plugin: every answer, and what becomes of the kernel.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { listRecords } from "../../src/attachment/record.ts";
import { HOST, type Json, until } from "../world.ts";
import { Dockerd, errorOf, type Recorded, recorded, textOf } from "./dockerd.ts";
import { PluginHost, SOCKET } from "./plugin.ts";

let w: PluginHost;
let d: Dockerd;
beforeEach(async () => {
  w = new PluginHost();
  await w.start();
  d = new Dockerd(w, SOCKET);
});
afterEach(async () => {
  await w.stop();
  w[Symbol.dispose]();
});

/** A recording as it would be with further options on its networks. */
function withOptions(messages: readonly Recorded[], options: Readonly<Record<string, string>>): Recorded[] {
  return messages.map((message) => {
    if (message.call !== "NetworkDriver.CreateNetwork") return message;
    const given = message.request["Options"] as Record<string, Json>;
    const generic = given["com.docker.network.generic"] as Record<string, Json>;
    const Options = { ...given, "com.docker.network.generic": { ...generic, ...options } };
    return { ...message, request: { ...message.request, Options } };
  });
}

/** The attachments are the containers' own by now, whole. */
async function delivered(): Promise<void> {
  await until("every link is in its container", () => listRecords(() => {}).every((r) => r.inTransit !== true));
}

/** Everything that is promised of a container, and of one that leaves. */
async function prove(id: string, hostAccess: boolean): Promise<void> {
  await delivered();
  const { namespace, name, addresses } = d.place(id);
  const record = listRecords(() => {}).find((r) => r.key.containerId === id);
  expect(record).toMatchObject({ key: { ifName: name }, plan: expect.any(Array) });
  for (const cidr of addresses) {
    const ip = cidr.replace(/\/.*/u, "");
    const six = ip.includes(":");
    w.ping("peer", ip);
    w.ping(namespace, six ? "fd77::10" : ip.replace(/\d+$/u, "10"));
    if (!hostAccess || !ip.includes("77")) continue;
    w.ping(HOST, ip);
    w.ping(namespace, six ? "fd77::5" : "10.77.0.5");
    if (!six) w.ping(namespace, "192.168.10.22"); // not in its subnet
  }
}

const names = [
  "life",
  "ipv6",
  "default-ipam",
  "null-ipam",
  "internal",
  "no-gateway",
  "no-gateway-service-off",
  "join-fails",
  "two-networks",
  "swarm-global",
  "daemon-killed",
  "driver-away",
  "live-restore",
];
/** Of recordings that end before the network is removed. */
const unfinished = new Set(["daemon-killed", "live-restore"]);

describe.each([
  ["macvlan", { kind: "macvlan" }],
  ["macvtap", { kind: "macvtap" }],
  ["macvlan with host access", { kind: "macvlan", host_access: "auto" }],
])("%s", (_, options) => {
  test.each(names)("%s", async (name) => {
    const messages = withOptions(recorded(name), options);
    const networks = new Set<string>();
    for (const message of messages) {
      const answer = await d.replay(message);
      expect({ call: message.call, status: answer.status, error: errorOf(answer) }).toEqual({
        call: message.call,
        status: 200,
        error: undefined,
      });
      const id = textOf(message.request["EndpointID"]);
      if (message.call.endsWith("CreateNetwork")) networks.add(textOf(message.request["NetworkID"]));
      if (message.call.endsWith("Join") && name !== "join-fails") await prove(id, "host_access" in options);
    }
    if (unfinished.has(name)) {
      const pool = messages.find((m) => m.call.endsWith("RequestPool"));
      expect(pool).toBeDefined();
      await d.replay({
        call: "IpamDriver.ReleaseAddress",
        request: { PoolID: pool?.answer?.["PoolID"] ?? "", Address: "10.77.0.1" },
      });
      for (const NetworkID of networks) await d.call("NetworkDriver.DeleteNetwork", { NetworkID });
    }
    w.nothingIsLeft();
  });
});
