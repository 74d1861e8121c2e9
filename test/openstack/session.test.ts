import { beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { Credentials } from "../../src/openstack/credentials.ts";
import { Session } from "../../src/openstack/session.ts";
import { CloudServer, EXTENSIONS, failing, next, refusal, SECRET } from "./server.ts";

const TOKENS = "/run/berth/tokens";
const LOGIN = ["POST /auth/tokens", "GET /extensions"];

beforeEach(() => rmSync("/run/berth", { recursive: true, force: true }));

async function ask(cloud: CloudServer, over: Partial<Credentials> = {}): Promise<unknown> {
  const session = new Session(cloud.credentials(over));
  return await session.call({ method: "GET", path: "/networks", doing: "list the networks" });
}

/** The one file of tokens. */
function kept(): string {
  return `${TOKENS}/${readdirSync(TOKENS).find((f) => /^[\da-f]{32}$/u.test(f))}`;
}

describe("logging in", () => {
  test("by password, to a project", async () => {
    using cloud = new CloudServer();
    await ask(cloud);
    expect(cloud.calls).toEqual([...LOGIN, "GET /networks"]);
    expect(cloud.asked[0]?.body).toEqual({
      auth: {
        identity: {
          methods: ["password"],
          password: { user: { name: "ann", domain: { id: "default" }, password: SECRET } },
        },
        scope: { project: { id: "project" } },
      },
    });
  });

  test("by application credential, which has its project in itself", async () => {
    using cloud = new CloudServer();
    await ask(cloud, { proof: { method: "application_credential", id: "abc", secret: SECRET } });
    expect(cloud.asked[0]?.body).toEqual({
      auth: {
        identity: { methods: ["application_credential"], application_credential: { id: "abc", secret: SECRET } },
      },
    });
    await ask(cloud, {
      proof: { method: "application_credential", name: "berth", user: { id: "u", name: "ann" }, secret: SECRET },
    });
    expect(cloud.asked[3]?.body).toMatchObject({
      auth: { identity: { application_credential: { name: "berth", user: { id: "u" }, secret: SECRET } } },
    });
  });

  test("by token", async () => {
    using cloud = new CloudServer();
    await ask(cloud, { proof: { method: "token", token: SECRET } });
    expect(cloud.asked[0]?.body).toMatchObject({ auth: { identity: { methods: ["token"], token: { id: SECRET } } } });
  });

  test("refused: which credentials, and what to look at; never the secret", async () => {
    using cloud = new CloudServer();
    const proof = { method: "password", user: { id: "u" }, password: "wrong-secret" } as const;
    const failure = await failing(ask(cloud, { proof }));
    expect(failure).toMatchObject({ reason: "config", advice: expect.stringContaining("the password") });
    expect(failure.message).toBe(`log in to ${cloud.url}/v3 with a test: refused (HTTP 401)`);
    expect(cloud.calls).toEqual(["POST /auth/tokens"]);
  });

  test("to something that is not Keystone", async () => {
    using cloud = new CloudServer();
    cloud.troubles.push(next("POST", () => new Response("<html>", { status: 404 })));
    expect((await failing(ask(cloud))).advice).toContain("auth_url");
  });

  test("a token without a project", async () => {
    using cloud = new CloudServer();
    cloud.troubles.push(
      next("POST", () => {
        const headers = { "x-subject-token": "t" };
        return Response.json({ token: { expires_at: "2100-01-01T00:00:00Z" } }, { status: 201, headers });
      }),
    );
    expect((await failing(ask(cloud))).message).toContain("not for a project");
  });
});

describe("the catalog", () => {
  const choices: [Partial<Credentials>, string][] = [
    [{}, "/v2.0"],
    [{ interface: "internal" }, "/internal/v2.0"],
    [{ region: "two" }, "/v2.0"],
    [{ region: "one", interface: "internal" }, "/internal/v2.0"],
  ];
  test.each(choices)("%j", async (over, path) => {
    using cloud = new CloudServer();
    expect((await new Session(cloud.credentials(over)).grant()).endpoint).toBe(cloud.url + path);
  });

  test("what is not in it is named beside what is", async () => {
    using cloud = new CloudServer();
    const failure = await failing(ask(cloud, { region: "two", interface: "internal" }));
    expect(failure).toMatchObject({
      reason: "config",
      message: expect.stringContaining("no internal endpoint of the network service in region two"),
      advice: "The catalog has internal in one, public in one, public in two: look at region_name and interface.",
    });
  });
});

describe("the token on disk", () => {
  test("serves the next process, and is readable for this user alone", async () => {
    using cloud = new CloudServer();
    await ask(cloud);
    await ask(cloud);
    expect(cloud.calls).toEqual([...LOGIN, "GET /networks", "GET /networks"]);
    expect(statSync(kept()).mode & 0o777).toBe(0o600);
    expect(statSync(TOKENS).mode & 0o777).toBe(0o700);
    expect(kept() + readFileSync(kept(), "utf8")).not.toContain(SECRET);
    const grant = await new Session(cloud.credentials()).grant();
    expect(grant).toMatchObject({ projectId: "project", extensions: EXTENSIONS });
  });

  test("is of these credentials only", async () => {
    using cloud = new CloudServer();
    await ask(cloud);
    await ask(cloud, { project: { id: "another" } });
    await ask(cloud, { region: "two" });
    expect(cloud.calls.filter((c) => c === LOGIN[0]).length).toBe(3);
    // the same from another file
    await ask(cloud, { source: "another test" });
    expect(cloud.calls.filter((c) => c === LOGIN[0]).length).toBe(3);
  });

  test("is not used shortly before it expires", async () => {
    using cloud = new CloudServer();
    cloud.lifetimeMs = 100_000;
    await ask(cloud);
    cloud.lifetimeMs = 140_000;
    await ask(cloud);
    await ask(cloud);
    expect(cloud.calls.filter((c) => c === LOGIN[0]).length).toBe(2);
  });

  const spoilt: [string, (path: string) => void][] = [
    ["readable for others", (path) => chmodSync(path, 0o640)],
    ["no JSON", (path) => writeFileSync(path, "{")],
    ["another JSON", (path) => writeFileSync(path, '{"token": 7}')],
    [
      "a symbolic link",
      (path) => {
        renameSync(path, `${path}.elsewhere`);
        symlinkSync(`${path}.elsewhere`, path);
      },
    ],
    [
      "a directory",
      (path) => {
        rmSync(path);
        mkdirSync(path);
      },
    ],
  ];
  test.each(spoilt)("%s: as if there were none", async (_, spoil) => {
    using cloud = new CloudServer();
    await ask(cloud);
    spoil(kept());
    await ask(cloud);
    expect(cloud.calls).toEqual([...LOGIN, "GET /networks", ...LOGIN, "GET /networks"]);
  });

  test("another user's: as if there were none", async () => {
    using cloud = new CloudServer();
    await ask(cloud);
    try {
      chownSync(kept(), 1, 1);
    } catch {
      return expect(readFileSync("/proc/self/uid_map", "utf8").trim()).toMatch(/\s1$/u); // there is no other user here
    }
    await ask(cloud);
    expect(cloud.calls.filter((c) => c === LOGIN[0]).length).toBe(2);
  });

  test("where nothing can be written, each process logs in", async () => {
    using cloud = new CloudServer();
    mkdirSync("/run/berth");
    writeFileSync(TOKENS, "in the way");
    await ask(cloud);
    await ask(cloud);
    expect(cloud.calls.filter((c) => c === LOGIN[0]).length).toBe(2);
  });

  test("is not kept where what the cloud can do was not told", async () => {
    using cloud = new CloudServer();
    cloud.troubles.push(next("GET /extensions", () => refusal(500, "HTTPInternalServerError", "Request Failed")));
    expect(await failing(ask(cloud))).toMatchObject({ reason: "busy" });
    expect(existsSync(TOKENS) && readdirSync(TOKENS).filter((f) => !f.endsWith(".lock"))).toEqual([]);
  });
});

describe("a token that is no longer accepted", () => {
  test("is renewed, and the call is made again", async () => {
    using cloud = new CloudServer();
    await ask(cloud);
    cloud.tokens.clear();
    await ask(cloud);
    await ask(cloud);
    expect(cloud.calls.slice(3)).toEqual(["GET /networks", ...LOGIN, "GET /networks", "GET /networks"]);
  });

  test("while a session lasts", async () => {
    using cloud = new CloudServer();
    const session = new Session(cloud.credentials());
    const call = { method: "GET", path: "/networks", doing: "list" } as const;
    await session.call(call);
    cloud.tokens.clear();
    await Promise.all([session.call(call), session.call(call), session.call(call)]);
    expect(cloud.calls.filter((c) => c === LOGIN[0]).length).toBe(2);
  });

  test("what another process obtained meanwhile is used; where that is revoked too, a new one is obtained", async () => {
    using cloud = new CloudServer();
    const old = new Session(cloud.credentials());
    await old.grant();
    cloud.tokens.clear();
    await ask(cloud); // renews the token on disk
    const before = cloud.asked.length;
    await old.call({ method: "GET", path: "/networks", doing: "list" });
    expect(cloud.calls.slice(before)).toEqual(["GET /networks", "GET /networks"]);

    const second = new Session(cloud.credentials());
    await second.grant();
    cloud.tokens.clear();
    await ask(cloud);
    cloud.tokens.clear();
    const then = cloud.asked.length;
    await second.call({ method: "GET", path: "/networks", doing: "list" });
    expect(cloud.calls.slice(then)).toEqual(["GET /networks", "GET /networks", ...LOGIN, "GET /networks"]);
  });

  test("for good: the calls end", async () => {
    using cloud = new CloudServer();
    cloud.troubles.push(next("GET /networks", () => Response.json({ error: { message: "no" } }, { status: 401 }), 100));
    expect(await failing(ask(cloud))).toMatchObject({ reason: "config", message: "list the networks: no (HTTP 401)" });
    expect(cloud.calls.filter((c) => c === "GET /networks").length).toBe(3);
  });
});

test("of many that start at once, one logs in", async () => {
  using cloud = new CloudServer();
  cloud.troubles.push(
    next(
      "POST /auth/tokens",
      async (_, usual) => {
        await Bun.sleep(50); // Keystone takes its time over passwords
        return usual();
      },
      100,
    ),
  );
  await Promise.all(Array.from({ length: 20 }, async () => await ask(cloud)));
  expect(cloud.calls.filter((c) => c === LOGIN[0]).length).toBe(1);
  expect(cloud.calls.filter((c) => c === "GET /networks").length).toBe(20);
});
