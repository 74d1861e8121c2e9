import { afterEach, beforeEach, expect, test } from "bun:test";
import { deleteLink, findLink, listLinks, newSubInterface } from "../../src/kernel/links.ts";
import { Netlink } from "../../src/kernel/netlink.ts";
import { TestWorld } from "../world.ts";

const COUNT = 80;
let w: TestWorld;

beforeEach(() => {
  w = new TestWorld();
  w.lan("office");
  w.plug("office", "", "eth1");
});
afterEach(() => w[Symbol.dispose]());

test("links in many namespaces are deleted while one waits, and each refusal is its own", () => {
  using host = new Netlink();
  const parent = findLink(host, "eth1");
  const sockets = Array.from({ length: COUNT }, (_, i) => {
    w.namespace(`n${i}`);
    return w.netlink(`n${i}`);
  });
  const requests = sockets.map((nl, i) => {
    const detail = { kind: "macvlan", mode: "bridge" } as const;
    const namespaceFd = w.at(`n${i}`)?.fd ?? -1;
    host.do(
      newSubInterface({ name: "eth0", parentIndex: parent?.index ?? 0, parentName: "eth1", detail, namespaceFd }),
    );
    const index = i === 7 ? 9999 : (findLink(nl, "eth0")?.index ?? 0);
    return { nl, request: deleteLink(index, "eth0") };
  });
  const one = performance.now();
  sockets[7]?.batch([deleteLink(findLink(sockets[7], "eth0")?.index ?? 0, "eth0")]);
  const alone = performance.now() - one;
  const start = performance.now();
  const errors = Netlink.together(requests);
  const together = performance.now() - start;
  expect(errors.map((e) => e?.message ?? "")).toEqual(
    requests.map((_, i) => (i === 7 ? "delete link eth0: no such device (ENODEV)" : "")),
  );
  // gre0 and its like are in every namespace where their module is loaded
  for (const nl of sockets) expect(listLinks(nl).filter((l) => l.name.startsWith("eth"))).toEqual([]);
  console.log(`deleting one: ${alone.toFixed(1)} ms; ${COUNT - 1} more, together: ${together.toFixed(1)} ms`);
});
