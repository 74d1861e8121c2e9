// Socket activation as systemd does it: the socket listens before the plugin is there, and after it has gone.
import { dlopen, FFIType, ptr } from "bun:ffi";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { inheritedSocket } from "../../src/docker/activation.ts";

const SOCKET = "/run/docker/plugins/berth.sock";
const root = new URL("../..", import.meta.url).pathname;
const AF_UNIX = 1;
const SOCK_STREAM = 1;

const { i32, u32, ptr: pointer } = FFIType;
const { symbols: c } = dlopen("libc.so.6", {
  socket: { args: [i32, i32, i32], returns: i32 },
  bind: { args: [i32, pointer, u32], returns: i32 },
  listen: { args: [i32, i32], returns: i32 },
  close: { args: [i32], returns: i32 },
});

const shipped = (name: string): string => readFileSync(`${root}packaging/${name}`, "utf8");

/** A listening socket's descriptor. */
function listenOn(path: string): number {
  const address = Buffer.from(`\u0001\0${path}\0`, "latin1"); // struct sockaddr_un
  const fd = c.socket(AF_UNIX, SOCK_STREAM, 0);
  expect(c.bind(fd, ptr(address), address.length)).toBe(0);
  expect(c.listen(fd, 16)).toBe(0);
  return fd;
}

let fd: number;
beforeAll(() => {
  mkdirSync("/run/docker/plugins", { recursive: true });
  fd = listenOn(SOCKET);
});
afterAll(() => c.close(fd));

function activate(): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  // systemd sets LISTEN_PID between fork and exec
  const script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"';
  return Bun.spawn(["sh", "-c", script, "sh", process.execPath, `${root}src/main.ts`, "docker"], {
    stdio: ["ignore", "pipe", "pipe", fd],
    env: { ...process.env, LISTEN_FDNAMES: "berth-docker.socket" },
  });
}

async function call(name: string, body: unknown = {}): Promise<unknown> {
  const response = await fetch(`http://plugin/${name}`, { unix: SOCKET, method: "POST", body: JSON.stringify(body) });
  return await response.json();
}

test("the call that the plugin is started for is answered, as are many at once; twice, by the same socket", async () => {
  for (let run = 0; run < 2; run++) {
    const first = call("Plugin.Activate");
    const plugin = activate();
    expect(await first).toEqual({ Implements: ["NetworkDriver", "IpamDriver"] });
    const many = await Promise.all(Array.from({ length: 40 }, () => call("NetworkDriver.GetCapabilities")));
    expect(new Set(many.map((m) => JSON.stringify(m))).size).toBe(1);
    const large = await call("NetworkDriver.CreateNetwork", { NetworkID: "a", IPv4Data: "x".repeat(300_000) });
    expect(large).toMatchObject({ Err: expect.stringContaining("IPv4Data") });
    plugin.kill("SIGTERM");
    expect({ code: await plugin.exited, said: await plugin.stderr.text() }).toMatchObject({ code: 0 });
    expect(statSync(SOCKET).isSocket()).toBe(true);
  }
});

test.each([
  ["another process's", { LISTEN_PID: "2", LISTEN_FDS: "1" }, undefined],
  ["none", { LISTEN_PID: "1", LISTEN_FDS: "0" }, undefined],
  ["not started so", {}, undefined],
  ["one", { LISTEN_PID: "1", LISTEN_FDS: "1", LISTEN_FDNAMES: "berth" }, 3],
])("%s", (_, env: NodeJS.ProcessEnv, descriptor) => {
  const copy = { ...env };
  expect(inheritedSocket(copy, 1)).toBe(descriptor);
  expect(copy).toEqual({}); // what the plugin starts is told of none
});

test("several sockets are refused, as one is expected", () => {
  expect(() => inheritedSocket({ LISTEN_PID: "1", LISTEN_FDS: "2" }, 1)).toThrow("there are 2");
});

test("what is shipped names the socket that the plugin listens on, which root alone may open", () => {
  expect(shipped("berth.spec").trim()).toBe(`unix://${SOCKET}`);
  expect(JSON.parse(shipped("berth.json"))).toEqual({ Name: "berth", Addr: `unix://${SOCKET}` });
  expect(shipped("berth-docker.socket")).toContain(`ListenStream=${SOCKET}\nSocketMode=0600\n`);
});
