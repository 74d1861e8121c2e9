import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Qmp, type QmpEvent } from "../../src/vm/qmp.ts";
import { failureOf } from "../failing.ts";
import { until } from "../world.ts";
import { Monitor } from "./monitor.ts";

let sockets = 0;
async function both(): Promise<{ monitor: Monitor; qmp: Qmp; events: QmpEvent[]; [Symbol.dispose]: () => void }> {
  const monitor = new Monitor(`/run/monitor-${++sockets}`);
  const events: QmpEvent[] = [];
  const qmp = await Qmp.connect(monitor.path, (event) => events.push(event));
  return {
    monitor,
    qmp,
    events,
    [Symbol.dispose]: () => {
      qmp[Symbol.dispose]();
      monitor[Symbol.dispose]();
    },
  };
}

describe("a monitor", () => {
  test("is asked for its capabilities and for migration's events; answers find their questions", async () => {
    using c = await both();
    expect(c.monitor.asked).toEqual(["qmp_capabilities", "migrate-set-capabilities"]);
    expect(await Promise.all([c.qmp.execute("query-status"), c.qmp.execute("other")])).toEqual([
      { running: false, status: "?" },
      {},
    ]);
    expect((await failureOf(c.qmp.execute("refused"))).message).toBe(
      `have QEMU carry out refused by ${c.monitor.path}: it does not want to`,
    );
  });

  test("tells events, however the bytes come", async () => {
    using c = await both();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: "grapheme" }), { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(), { maxLength: 5 }),
        async (names, cuts) => {
          c.events.length = 0;
          const bytes = Buffer.from(names.map((event) => `${JSON.stringify({ event, data: { event } })}\r\n`).join(""));
          const places = [0, ...cuts.map((n) => n % bytes.length).toSorted((a, b) => a - b), bytes.length];
          for (const [i, at] of places.entries()) {
            c.monitor.send(bytes.subarray(places[i - 1] ?? 0, at));
            if (i % 2 === 1) await Bun.sleep(0);
          }
          await until("all have come", () => c.events.length === names.length);
          expect(c.events).toEqual(names.map((event) => ({ event, data: { event } })));
        },
      ),
      { numRuns: 30 },
    );
  });

  test("that ends, or is none, fails what was asked", async () => {
    const c = await both();
    c.monitor.send("no JSON\n");
    expect((await failureOf(c.qmp.execute("query-status"))).message).toMatch(/no JSON|closed/u);
    await c.qmp.ended;
    c[Symbol.dispose]();
    expect(await failureOf(Qmp.connect("/run/nobody", () => {}))).toMatchObject({ reason: "unavailable" });
    const ending = await both();
    const answer = failureOf(ending.qmp.execute("query-status"));
    ending.monitor[Symbol.dispose]();
    await ending.qmp.ended;
    expect(await Promise.race([answer, Bun.sleep(2000)])).toBeDefined();
    ending[Symbol.dispose]();
  });
});
