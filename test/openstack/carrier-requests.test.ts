import { beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { bundleForEngine } from "../../scripts/bundle.ts";
import { compileFile } from "../../scripts/compile.ts";
import { startOf, together } from "../../scripts/elf.ts";
import { engineRefused, engineWith } from "../../scripts/engine.ts";

const refused = await engineRefused();
const PROBE = "/run/carrier/probe";

beforeAll(async () => {
  Bun.spawnSync(["ip", "link", "set", "lo", "up"]);
  if (refused !== undefined) return;
  mkdirSync("/run/carrier", { recursive: true });
  compileFile(`${import.meta.dir}/carrier-main.ts`, PROBE);
  const runtime = readFileSync(PROBE);
  const modules = await bundleForEngine(`${import.meta.dir}/carrier-program.ts`);
  writeFileSync(PROBE, together(runtime, await engineWith(modules, startOf(runtime))));
  chmodSync(PROBE, 0o755);
}, 120_000);

/** One of three is answered when all three are there, one when another was asked, one never. */
async function asked(command: readonly string[]): Promise<{ status: number; answers: unknown }> {
  const three = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  const never = Promise.withResolvers<void>();
  let arrived = 0;
  using server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const path = new URL(request.url).pathname;
      if (path === "/echo") return new Response(request.body);
      if (path === "/silent") await never.promise;
      if (path === "/waits") await opened.promise;
      if (path === "/opens") opened.resolve();
      if (/^\/[abc]$/u.test(path)) {
        if (++arrived === 3) three.resolve();
        await three.promise;
      }
      return Response.json({ path });
    },
  });
  const env = { PATH: "/usr/bin:/bin", CNI_COMMAND: "PROBE", PROBED: server.url.origin };
  const child = Bun.spawn([...command], { env, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const [text, status] = await Promise.all([child.stdout.text(), child.exited]);
  never.resolve();
  return { status, answers: JSON.parse(text.replaceAll(server.url.origin, "http://cloud")) as unknown };
}

describe.skipIf(refused !== undefined)(`by the engine (where one can be built: ${refused ?? "here"})`, () => {
  test("several requests at once, pauses meanwhile, none in time, long ones: as by the runtime", async () => {
    const byEngine = await asked([PROBE]);
    expect(byEngine).toEqual(await asked([process.execPath, `${import.meta.dir}/carrier-probe.ts`]));
    const text = "é\u{1F600}\uD800".repeat(700_000);
    expect(byEngine.status).toBe(7);
    expect((byEngine.answers as unknown[]).slice(0, 4)).toEqual([
      [200, { path: "/waits" }],
      ["/a", "/b", "/c"].map((path) => [200, { path }]),
      ["busy", "/silent: GET http://cloud/silent: no answer within 300 ms"],
      [200, { path: "/opens" }],
    ]);
    expect((byEngine.answers as unknown[])[4]).toEqual([200, { text }]);
  });
});
