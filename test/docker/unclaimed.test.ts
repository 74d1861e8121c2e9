// An address that Docker was given and never made an endpoint of: it is given back when it is old, whatever the clock says.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { Grant } from "../../src/docker/state.ts";
import { bootId } from "../../src/kernel/namespaces.ts";
import { Dockerd, textOf } from "./dockerd.ts";
import { PluginHost, SOCKET } from "./plugin.ts";

const GRANTS = "/var/lib/berth/docker/grants";
const RESERVATION = "/var/lib/cni/networks/docker-10.77.0.0-24/10.77.0.2";
const YEAR_MS = 365 * 86_400_000;
const OLD_S = 601;

let w: PluginHost;
beforeEach(async () => {
  w = new PluginHost();
  await w.start();
  const d = new Dockerd(w, SOCKET);
  const pool = await d.send("IpamDriver.RequestPool", { Pool: "10.77.0.0/24" });
  const PoolID = textOf(pool.body["PoolID"]);
  const { body } = await d.send("IpamDriver.RequestAddress", { PoolID, Address: "", Options: {} });
  expect(body["Address"]).toBe("10.77.0.2/24");
  await w.stop();
});
afterEach(async () => {
  await w.stop();
  w[Symbol.dispose]();
});

/** Changes what is kept of the address, and starts the plugin once more: is the address still reserved? */
async function stays(change: (grant: Grant) => Grant): Promise<boolean> {
  const [name = ""] = readdirSync(GRANTS);
  const grant = JSON.parse(readFileSync(`${GRANTS}/${name}`, "utf8")) as Grant;
  writeFileSync(`${GRANTS}/${name}`, JSON.stringify(change(grant)));
  await w.start();
  await w.stop();
  const kept = existsSync(RESERVATION);
  expect(readdirSync(GRANTS)).toHaveLength(kept ? 1 : 0);
  return kept;
}

function age({ since, ...grant }: Grant, seconds: number): Grant {
  if (since === undefined) throw new Error("the grant does not say when it was made");
  return { ...grant, since: { ...since, seconds: since.seconds - seconds } };
}

/** As it was written before it said more than a clock's time. */
function byTheClock(grant: Grant, seconds: number): Grant {
  const { since: _, ...former } = grant;
  return { ...former, made: Date.now() - seconds * 1000 };
}

describe("an address that nobody claimed", () => {
  test("stays while it is young, though the clock is set a year ahead, or back", async () => {
    for (const ms of [YEAR_MS, -YEAR_MS]) {
      expect(await stays((grant) => ({ ...grant, made: grant.made - ms }))).toBe(true);
    }
  });

  test("is given back when it is old, though the clock is set back a year", async () => {
    expect(await stays((grant) => ({ ...age(grant, OLD_S), made: grant.made + YEAR_MS }))).toBe(false);
  });

  test("is given back after a boot: who asked for it is gone", async () => {
    expect(bootId()).toHaveLength(36);
    expect(await stays((grant) => ({ ...grant, since: { boot: "another", seconds: 1 } }))).toBe(false);
  });

  test("of an earlier Berth, which only knew the clock, is as old as that says", async () => {
    expect(await stays((grant) => byTheClock(grant, OLD_S - 60))).toBe(true);
    expect(await stays((grant) => byTheClock(grant, OLD_S))).toBe(false);
  });
});
