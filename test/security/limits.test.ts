// Input without measure: the real program refuses it, at once, in little memory.
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { until } from "../world.ts";
import { executablePath } from "../executable.ts";

let berth: string;
beforeAll(async () => {
  berth = await executablePath();
});

/** More than a start takes, and far less than what is sent, KiB. */
const MEMORY_KIB = 400 << 10;
const env = {
  PATH: "/usr/bin:/bin",
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/run/netns/none",
  CNI_IFNAME: "eth0",
};
const config = { cniVersion: "1.1.0", name: "lan", type: "macvlan", master: "none0" };
const deep = (depth: number): string => `${"[".repeat(depth)}1${"]".repeat(depth)}`;
const huge = `{"name":"lan","x":"${"a".repeat(100 << 20)}"}`;

async function add(stdin: string): Promise<{ code: number; json: Record<string, unknown>; memoryKib: number }> {
  const child = Bun.spawn([berth], { env, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  try {
    await child.stdin.write(stdin);
    await child.stdin.end();
  } catch {
    // it has ended before it was told everything: EPIPE
  }
  const text = await child.stdout.text();
  await child.exited;
  const memoryKib = (child.resourceUsage()?.maxRSS ?? 0) / 1024;
  return { code: child.exitCode ?? -1, json: JSON.parse(text) as Record<string, unknown>, memoryKib };
}

describe("stdin", () => {
  test("100 MB", async () => {
    const { code, json, memoryKib } = await add(huge);
    expect(json).toMatchObject({
      code: 5,
      msg: expect.stringContaining("EFBIG"),
      details: expect.stringContaining("16 MiB"),
    });
    expect([code, memoryKib < MEMORY_KIB, memoryKib > 0]).toEqual([1, true, true]);
  });

  test.each([
    ["10,000 lists in one another", deep(10_000)],
    ["1,000,000 of them", deep(1_000_000)],
    ["10,000 objects", `${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`],
    ["10,000 within a configuration", JSON.stringify(config).replace(/\}$/u, `,"x":${deep(10_000)}}`)],
    ["10,000 that never close", "[".repeat(10_000)],
  ])("%s", async (_, stdin) => {
    expect(await add(stdin)).toMatchObject({
      code: 1,
      json: { code: 6, msg: expect.stringContaining("in one another") },
    });
  });

  test("brackets within texts are no depth, and 400 lists are none either", async () => {
    const good = JSON.stringify({ ...config, x: `${"[".repeat(5000)}"\\`, y: JSON.parse(deep(400)) as unknown });
    expect((await add(good)).json).toMatchObject({ code: 8 }); // the namespace is not there
  });
});

describe("the Docker server", () => {
  const socket = "/run/docker/plugins/berth.sock";
  let server: Bun.Subprocess<"ignore", "pipe", "pipe">;
  beforeEach(async () => {
    rmSync("/run/docker", { recursive: true, force: true });
    server = Bun.spawn([berth, "docker", "--socket", socket], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: { PATH: "/usr/bin:/bin" },
    });
    await until("it listens", () => existsSync(socket));
  });
  afterEach(async () => {
    server.kill("SIGTERM");
    await server.exited;
  });

  async function post(path: string, body: string): Promise<{ status: number; text: string }> {
    const response = await fetch(`http://docker/${path}`, { method: "POST", body, unix: socket });
    return { status: response.status, text: await response.text() };
  }

  /** It is as it was: it answers, and has not grown. */
  async function isWell(): Promise<void> {
    expect((await post("Plugin.Activate", "{}")).text).toContain("NetworkDriver");
    const kib = Number(/VmRSS:\s+(\d+)/u.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]);
    expect(kib < MEMORY_KIB).toBe(true);
  }

  test("root alone may open its socket", () => {
    const { mode, uid } = statSync(socket);
    expect([mode & 0o777, uid]).toEqual([0o600, process.getuid?.() ?? -1]);
  });

  test("a body of 100 MB", async () => {
    const status = await post("NetworkDriver.CreateNetwork", huge).then(
      (r) => r.status,
      () => 413, // the connection ends while it is being sent
    );
    expect(status).toBe(413);
    await isWell();
  });

  test("10,000 lists in one another", async () => {
    const { status, text } = await post("NetworkDriver.CreateNetwork", deep(10_000));
    expect([status, text.includes("in one another")]).toEqual([400, true]);
    await isWell();
  });

  test("ids that lead elsewhere, and calls that are none", async () => {
    const ids = ["../../../../run/escaped", "a/b", "..", "a\0b", "a\nb", "x".repeat(300), "\u0430".repeat(5), ""];
    for (const id of ids) {
      for (const call of ["CreateNetwork", "DeleteNetwork", "CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]) {
        const body = { NetworkID: id, EndpointID: id, SandboxKey: "/x", Options: {}, IPv4Data: [], IPv6Data: [] };
        expect((await post(`NetworkDriver.${call}`, JSON.stringify(body))).status).toBe(400);
      }
    }
    for (const path of ["", "../etc/passwd", "NetworkDriver.", "constructor", "__proto__"])
      expect((await post(path, "{}")).status).toBe(404);
    expect(existsSync("/run/escaped") || existsSync("/run/escaped.json")).toBe(false);
    await isWell();
  });
});
