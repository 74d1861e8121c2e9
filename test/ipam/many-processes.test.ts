import { beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { HostLocal } from "../../src/ipam/host-local.ts";
import { lockFile } from "../../src/kernel/locks.ts";
import { holder, ipsOf, network } from "./contract.ts";
import { freshDataDir, reservations, startAllocating } from "./state.ts";

let dataDir: string;
beforeEach(() => {
  dataDir = freshDataDir();
});

describe("many processes", () => {
  test("50 at once get 50 different addresses", async () => {
    const children = Array.from({ length: 50 }, (_, i) => startAllocating(dataDir, `c${i}`, 1));
    const answers = await Promise.all(children.map((child) => child.stdout.text()));
    expect(new Set(answers.map((a) => a.trim())).size).toBe(50);
    expect(answers).not.toContain("");
    expect(reservations(dataDir, network).size).toBe(50);
  }, 60_000);

  test("the lock is the standard plugin's: an allocation waits for who holds it", async () => {
    mkdirSync(`${dataDir}/${network}`, { recursive: true });
    const lock = lockFile(`${dataDir}/${network}/lock`);
    const child = startAllocating(dataDir, "waiting", 1);
    await Bun.sleep(300);
    expect(child.exitCode).toBeNull();
    expect(reservations(dataDir, network).size).toBe(0);
    lock[Symbol.dispose]();
    expect((await child.stdout.text()).trim()).toBe("10.0.0.2/16");
  });

  test("killed at any moment, they leave whole reservations and no lock", async () => {
    for (let round = 0; round < 4; round++) {
      const children = ["a", "b"].map((id) => startAllocating(dataDir, `${id}${round}`, 0));
      while (reservations(dataDir, network).size < 20 * (round + 1)) await Bun.sleep(1);
      for (const child of children) child.kill("SIGKILL");
      await Promise.all(children.map((child) => child.exited));
    }
    const contents = [...reservations(dataDir, network).values()];
    expect(contents.filter((text) => !/^[ab]\d-\d+\r\neth0$/u.test(text))).toEqual([]);
    expect(new Set(contents).size).toBe(contents.length);
    const next = ipsOf(
      await new HostLocal({ type: "host-local", subnet: "10.0.0.0/16", dataDir }, []).allocate(holder("after"), []),
    );
    expect(reservations(dataDir, network).get(next[0] ?? "")).toBe("after\r\neth0");
  });
});
