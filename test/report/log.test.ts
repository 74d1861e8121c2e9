// What is written where BERTH_LOG asks for it, the id that binds it together, and what is kept of errors.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { keepError, lastErrors } from "../../src/attachment/last-errors.ts";
import { Failure } from "../../src/report/failure.ts";
import { plain } from "../../src/report/plain.ts";
import { redacted, withoutUser } from "../../src/report/redact.ts";
import { HOST, TestWorld } from "../world.ts";

let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  w.namespace("c");
  w.plug("lan", HOST, "eth1", "192.168.122.1/24");
  writeFileSync(
    "/run/ipam",
    `#!/bin/sh\nenv >/run/ipam-env-$CNI_COMMAND\necho '{"cniVersion":"1.0.0","ips":[{"address":"192.168.122.7/24"}]}'\n`,
  );
  chmodSync("/run/ipam", 0o755);
});
afterAll(() => w[Symbol.dispose]());
beforeEach(() => rmSync("/run/berth", { recursive: true, force: true }));

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const ID = "req-4bf92f35-77b3-4da6-a3ce-929d0e0e4736";
const config = { cniVersion: "1.0.0", name: "net", type: "macvlan", master: "eth1", ipam: { type: "ipam" } };

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly lines: readonly Record<string, unknown>[];
}

function run(args: readonly string[], env: Record<string, string>, stdin = ""): Ran {
  const r = Bun.spawnSync([process.execPath, `${import.meta.dir}/../../src/main.ts`, ...args], {
    env: { PATH: "/usr/bin:/bin", ...env },
    stdin: Buffer.from(stdin),
    stderr: "pipe",
  });
  const stderr = r.stderr.toString();
  const json = stderr.split("\n").filter((line) => line.startsWith("{"));
  return {
    code: r.exitCode,
    stdout: r.stdout.toString(),
    stderr,
    lines: json.map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

function cni(verb: string, env: Record<string, string> = {}, given: object = config): Ran {
  const call = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/run",
  };
  return run([], { ...call, ...env }, JSON.stringify(given));
}

function childTrace(verb: string): string | undefined {
  return /^TRACEPARENT=(.*)$/mu.exec(readFileSync(`/run/ipam-env-${verb}`, "utf8"))?.[1];
}

describe("BERTH_LOG", () => {
  test("without it nothing is written; stdout is the result alone with it too", () => {
    const silent = cni("ADD");
    expect([silent.code, silent.stderr]).toEqual([0, ""]);
    expect(cni("DEL").stderr).toBe("");
    const loud = cni("ADD", { BERTH_LOG: "debug" });
    expect(JSON.parse(loud.stdout) as object).toMatchObject({ cniVersion: "1.0.0" });
    expect(cni("DEL", { BERTH_LOG: "debug" }).stdout).toBe("");
  });

  test("debug: the call, each step, each program, the end; one id, that of TRACEPARENT", () => {
    const { lines } = cni("ADD", { BERTH_LOG: "debug", TRACEPARENT: `00-${TRACE}-00f067aa0ba902b7-01` });
    expect(lines.map((l) => l["event"])).toEqual(expect.arrayContaining(["call", "ran", "apply", "done"]));
    expect(lines.map((l) => l["event"]).at(-1)).toBe("done");
    expect(new Set(lines.map((l) => l["id"]))).toEqual(new Set([ID]));
    expect(lines.at(-1)).toMatchObject({
      level: "info",
      verb: "ADD",
      network: "net",
      containerId: "c1",
      ifName: "eth0",
    });
    for (const { time } of lines) expect(Date.parse(String(time))).not.toBeNaN();
    expect(childTrace("ADD")).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`, "u"));
    cni("DEL");
    expect(childTrace("DEL")).toBeUndefined(); // nobody asked
  });

  test("an id of its own where the caller tells none, or none that is one; the delegated plugin gets the same", () => {
    const ids = ["", "nonsense", `00-${"0".repeat(32)}-00f067aa0ba902b7-01`].map((TRACEPARENT) => {
      const { lines } = cni("ADD", { BERTH_LOG: "info", ...(TRACEPARENT === "" ? {} : { TRACEPARENT }) });
      cni("DEL");
      const id = String(lines[0]?.["id"]);
      expect(id).toMatch(/^req-[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/u);
      expect(childTrace("ADD")?.split("-")[1]).toBe(id.slice(4).replaceAll("-", ""));
      return id;
    });
    expect(new Set(ids).size).toBe(3);
  });

  test("info has no debug, error has failures only, an unknown level is none", () => {
    expect(cni("ADD", { BERTH_LOG: "info" }).lines.map((l) => l["event"])).toEqual(["done"]);
    expect(cni("CHECK", { BERTH_LOG: "error" }).stderr).toBe("");
    const { lines, code } = cni("ADD", { BERTH_LOG: "ERROR" });
    expect([code, lines]).toMatchObject([
      1,
      [{ level: "error", event: "failed", verb: "ADD", network: "net", code: 102 }],
    ]);
    expect(cni("ADD", { BERTH_LOG: "all" }).stderr).toBe("");
    cni("DEL");
  });

  test("a name with a line break forges no line", () => {
    const { stderr, lines } = cni("ADD", {
      BERTH_LOG: "error",
      CNI_CONTAINERID: 'x\n{"level":"info","event":"done"}\u001b[2J',
    });
    expect([lines.length, stderr.trim().split("\n").length, stderr.includes("\u001b")]).toEqual([1, 1, false]);
  });

  test("of a command", () => {
    const { lines, code } = run(["detach", "--network", "none", "--netns", "c"], { BERTH_LOG: "error" });
    expect([code, lines]).toMatchObject([1, [{ event: "failed", command: "detach" }]]);
  });
});

describe("the last errors", () => {
  test("a failed call is kept, for root alone; berth report has it", () => {
    cni("ADD", {}, { ...config, master: "none0" });
    run(["attach"], {});
    expect(lastErrors()).toMatchObject([
      { call: "CNI ADD", message: expect.stringContaining("none0") },
      { call: "berth attach", reason: "request" },
    ]);
    expect(statSync("/run/berth/errors").mode & 0o777).toBe(0o600);
    const { stdout } = run(["report", "--json"], {});
    expect(JSON.parse(stdout) as object).toMatchObject({ errors: [{ call: "CNI ADD" }, { call: "berth attach" }] });
  });

  test("however many there are, the files stay small and the last are there", () => {
    for (let i = 0; i < 3000; i++) keepError("CNI ADD", new Failure("config", `number ${i} ${"x".repeat(100)}`));
    const size = ["errors", "errors.old"].reduce((sum, name) => sum + statSync(`/run/berth/${name}`).size, 0);
    expect(size < 150_000).toBe(true);
    const all = lastErrors();
    expect(all.length).toBeGreaterThan(250);
    expect(all.at(-1)?.message).toStartWith("number 2999 ");
  });

  test("what cannot be kept or read troubles nobody; a link is not followed", () => {
    keepError("CNI ADD", new Failure("config", "first"));
    writeFileSync("/run/precious", "precious");
    rmSync("/run/berth/errors");
    symlinkSync("/run/precious", "/run/berth/errors");
    keepError("CNI ADD", new Failure("config", "second"));
    expect(readFileSync("/run/precious", "utf8")).toBe("precious");
    rmSync("/run/berth/errors");
    writeFileSync("/run/berth/errors", 'garbage\n{"message":"kept","call":"x"}\n{"mess');
    expect(lastErrors()).toMatchObject([{ message: "kept" }]);
  });
});

describe("berth report", () => {
  test("an attachment, what does not hold of it, its reservation, and what the kernel has of Berth's", () => {
    const own = { ...config, ipam: { type: "host-local", subnet: "192.168.122.0/24" }, hostAccess: "auto" };
    expect(cni("ADD", {}, own).code).toBe(0);
    const read = (): Record<string, never> => JSON.parse(run(["report", "--json"], {}).stdout) as Record<string, never>;
    expect(read()).toMatchObject({
      berth: { version: expect.any(String) },
      attachments: [{ attachment: "net/c1/eth0", faults: [], config: { master: "eth1" } }],
      reservations: { net: { "192.168.122.2": "c1 eth0" } },
      kernel: { routesOfBerth: [expect.stringContaining("192.168.122.2/32")], neighboursOfBerth: [expect.any(String)] },
    });
    w.ip("c", "link delete eth0");
    expect(read()).toMatchObject({
      attachments: [{ faults: expect.arrayContaining([expect.stringContaining("eth0")]) }],
    });
    const text = run(["report"], {}).stdout;
    for (const title of [
      "berth",
      "system",
      "networks",
      "attachments",
      "reservations",
      "kernel",
      "errors",
      "unreadable",
    ])
      expect(text).toContain(`== ${title}\n`);
    expect(cni("DEL", {}, own).code).toBe(0);
  });

  test("a record that is damaged is told, and the rest is there", () => {
    cni("ADD");
    writeFileSync("/run/berth/attachments/net:x:eth0.json", "garbage");
    const sections = JSON.parse(run(["report", "--json"], {}).stdout) as {
      attachments: unknown[];
      unreadable: unknown[];
    };
    expect([sections.attachments.length, sections.unreadable.length]).toEqual([1, 1]);
    rmSync("/run/berth/attachments/net:x:eth0.json");
    cni("DEL");
  });
});

test("redacted: values of keys that are named like secrets, at every depth, and users in URLs", () => {
  const given = {
    ipam: { type: "x", password: "p", apiKey: "k", nested: [{ client_secret: { a: 1 }, ok: "fine" }] },
    auth_token: "t",
    url: "https://user:pass@host/path",
    passwd: 1,
  };
  expect(redacted(given)).toEqual({
    ipam: {
      type: "x",
      password: "(removed)",
      apiKey: "(removed)",
      nested: [{ client_secret: "(removed)", ok: "fine" }],
    },
    auth_token: "(removed)",
    url: "https://(removed)@host/path",
    passwd: "(removed)",
  });
  expect(withoutUser("GET http://a:b@c/d and //e@f/g")).toBe("GET http://(removed)@c/d and //(removed)@f/g");
});

test.each(
  "pass dbPassword passwd userPwd passphrase client_secret SECRET accessToken credential credentials privateKey api_key api-key apiKey basicAuth cookies".split(
    " ",
  ),
)("a value called %s is removed", (key) => {
  expect(redacted({ [key]: "x" })).toEqual({ [key]: "(removed)" });
});

test.each(["name", "master", "mode", "passthru", "author", "keys"])("one called %s is not", (key) => {
  expect(redacted({ [key]: "x" })).toEqual({ [key]: "x" });
});

test("a sentence is on one line, and every sign of it is seen", () => {
  expect(plain("good text, übrigens: 日本 \u{1f600}")).toBe("good text, übrigens: 日本 \u{1f600}");
  expect(plain("a\nb\tc\u001b[2Jd\u202ee\0")).toBe(String.raw`a\nb\u0009c\u001b[2Jd\u202ee\u0000`);
  expect(plain("x".repeat(5000)).length).toBeLessThan(4100);
});
