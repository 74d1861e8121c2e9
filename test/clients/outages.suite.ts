// Docker and its plugin, each killed, stopped or away while the other goes on: everything ends with the network working, or
// removed. What Docker does is the same for every kind.
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { until } from "../world.ts";
import { DockerHost, FOUR } from "./docker-host.ts";
import { reserved, run } from "./host.ts";

const kind = "macvtap";
let h: DockerHost;
beforeAll(async () => {
  h = await DockerHost.launch();
});
afterEach(async () => {
  await h.docker.recover();
});
afterAll(async () => {
  await h[Symbol.asyncDispose]();
});

test("dockerd is killed, and the container that restarts always is there again", async () => {
  h.createNetwork("lan", kind, ...FOUR);
  h.docker.container("web", "--network", "lan", "--restart", "always");
  h.docker.container("once", "--network", "lan");
  await h.docker.stopDaemon("SIGKILL");
  await h.docker.startDaemon();
  await until(
    "the container runs",
    () => h.docker.run("inspect", "-f", "{{.State.Running}}", "web") === "true",
    30_000,
  );
  h.prove("web", kind);
  h.docker.run("start", "once");
  h.prove("once", kind);
  h.nothingIsLeft();
});

test("--live-restore: dockerd stops and starts, the container goes on", async () => {
  await h.docker.stopDaemon();
  await h.docker.startDaemon("--live-restore");
  h.createNetwork("lan", kind, ...FOUR);
  h.docker.container("web", "--network", "lan");
  const pid = h.docker.run("inspect", "-f", "{{.State.Pid}}", "web");
  const { IPAddress } = h.attached("web");
  await h.docker.stopDaemon();
  h.w.answers(IPAddress);
  await h.docker.startDaemon("--live-restore");
  expect(h.docker.run("inspect", "-f", "{{.State.Pid}}", "web")).toBe(pid);
  h.prove("web", kind);
  h.docker.container("other", "--network", "lan");
  expect(h.attached("other").IPAddress).not.toBe(IPAddress);
  h.nothingIsLeft();
});

test("the plugin is killed under running containers, and started again", async () => {
  h.createNetwork("lan", kind, ...FOUR);
  h.docker.container("web", "--network", "lan");
  await h.docker.stopPlugin("SIGKILL");
  const { IPAddress } = h.attached("web");
  h.w.answers(IPAddress);
  h.docker.run("stop", "-t", "0", "web"); // nobody is told
  await h.docker.startPlugin();
  h.docker.run("start", "web");
  h.prove("web", kind);
  await h.docker.stopPlugin("SIGKILL");
  h.docker.run("rm", "-f", "web");
  await h.docker.startPlugin();
  await until("what the container had is given back", () => run(["berth", "ls", "--json"]).trim() === "[]");
  h.docker.container("web", "--network", "lan", "--ip", IPAddress);
  h.prove("web", kind);
  h.nothingIsLeft();
});

test("the driver is away while dockerd starts", async () => {
  h.createNetwork("lan", kind, ...FOUR);
  h.docker.container("web", "--network", "lan");
  await h.docker.stopDaemon();
  await h.docker.stopPlugin();
  await h.docker.startDaemon();
  expect((await h.docker.start("start", "web")).code).not.toBe(0);
  await h.docker.startPlugin();
  h.docker.run("start", "web");
  h.prove("web", kind);
  h.nothingIsLeft();
}, 400_000);

test("a network is removed while the driver is away", async () => {
  h.createNetwork("lan", kind, ...FOUR, "--aux-address", "printer=192.168.122.128");
  h.docker.container("web", "--network", "lan");
  h.docker.run("stop", "-t", "0", "web");
  await h.docker.stopPlugin("SIGKILL");
  h.docker.run("rm", "-f", "web");
  h.docker.run("network", "rm", "lan"); // Docker warns, and removes it
  await h.docker.startPlugin();
  await until("the network is forgotten", () => reserved().length === 0, 30_000);
  h.nothingIsLeft();
}, 400_000);
