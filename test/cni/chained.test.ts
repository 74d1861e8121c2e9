// What chained plugins do to an attachment, and CHECK's word on it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { TestWorld } from "../world.ts";
import { call } from "./call.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("tasks");
  w.namespace("c");
  w.plug("tasks", "", "eth1", "192.168.122.10/24");
});
afterAll(() => w[Symbol.dispose]());

test("routes that sbr takes into a table of its own are there; those that are nowhere are missed", async () => {
  const config = {
    cniVersion: "1.0.0",
    name: "net",
    type: "macvlan",
    master: "eth1",
    hostrouteif: "auto",
    ipam: { type: "host-local", subnet: "192.168.122.0/24", routes: [{ dst: "0.0.0.0/0" }, { dst: "10.0.0.0/8" }] },
  };
  expect((await call("ADD", config)).exitCode).toBe(0);
  const move = (route: string): void => {
    w.ip("c", `route add ${route} table 100 proto 98`);
    w.ip("c", `route delete ${route}`);
  };
  const main = w.ip("c", "-o route show proto 98").trim().split("\n");
  expect(main.length).toBe(3);
  for (const route of main) move(route.trim().replace(/ proto \S+/u, ""));
  expect(w.ip("c", "route show proto 98")).toBe("");
  expect((await call("CHECK", config)).text).toBe("");
  w.ip("c", "route delete 10.0.0.0/8 table 100");
  expect((await call("CHECK", config)).json).toMatchObject({
    code: 103,
    msg: expect.stringContaining("route 10.0.0.0/8"),
  });
  expect((await call("DEL", config)).text).toBe("");
});
