// What Berth relies on of Keystone: logins, application credentials, tokens that are refused.
import { beforeAll, describe, expect, test } from "bun:test";
import { byPassword, DOMAIN, type Json, type Reply, send, type Stage, User } from "./users.ts";

function byApplicationCredential(credential: object, scope?: object): object {
  const identity = { methods: ["application_credential"], application_credential: credential };
  return { auth: { identity, ...(scope === undefined ? {} : { scope }) } };
}

/** Declares the tests. */
export function declareIdentity(stage: Stage): void {
  let authUrl: string;
  let demo: User;
  beforeAll(() => {
    ({ authUrl, demo } = stage());
  });
  const tokens = async (body: object): Promise<Reply> => await stage().tokens(body);
  const login = async (user: string): Promise<User> => await stage().login(user);

  describe("Keystone", () => {
    test("a token by password, with its project, its end and the catalog", async () => {
      const { status, headers, body } = await tokens(byPassword("demo", "demo", "demo"));
      expect(status).toBe(201);
      expect(headers.get("x-subject-token")?.length).toBeGreaterThan(30);
      expect(body.token).toMatchObject({
        methods: ["password"],
        user: { name: "demo", domain: { id: "default" } },
        project: { name: "demo", domain: { id: "default" } },
      });
      expect(Date.parse(body.token.expires_at)).toBeGreaterThan(Date.now() + 600_000);
      const [service, ...more] = (body.token.catalog as Json[]).filter((s) => s.type === "network");
      expect(more).toEqual([]);
      expect((service.endpoints as Json[]).map((e) => `${e.interface} ${e.region_id}`).toSorted()).toEqual([
        "admin RegionOne",
        "internal RegionOne",
        "public RegionOne",
      ]);
    });

    test("without a scope there is neither project nor catalog", async () => {
      const { status, body } = await tokens(byPassword("demo", "demo"));
      expect(status).toBe(201);
      expect(body.token).not.toHaveProperty("project");
      expect(body.token).not.toHaveProperty("catalog");
    });

    test.each([
      ["wrong password", byPassword("demo", "wrong", "demo")],
      ["unknown user", byPassword("nobody", "demo", "demo")],
      ["unknown project", byPassword("demo", "demo", "nowhere")],
      ["another's project", byPassword("demo", "demo", "other")],
    ])("%s: 401, and nothing about what was wrong", async (_, body) => {
      const { status, body: answer } = await tokens(body);
      expect({ status, answer }).toEqual({
        status: 401,
        answer: {
          error: {
            code: 401,
            message: "The request you have made requires authentication.",
            title: "Unauthorized",
          },
        },
      });
    });

    test("a request that is none: 400", async () => {
      const { status, body } = await tokens({});
      expect(status).toBe(400);
      expect(body.error).toMatchObject({ code: 400, message: expect.stringContaining("Expecting to find auth") });
    });

    test("a token by another token, which ends with that one", async () => {
      const identity = { methods: ["token"], token: { id: demo.token } };
      const { status, body } = await tokens({
        auth: { identity, scope: { project: { id: demo.projectId } } },
      });
      expect(status).toBe(201);
      expect(body.token.project).toMatchObject({ name: "demo" });
      expect(body.token.methods.toSorted()).toEqual(["password", "token"]); // Keystone has them in any order
      const wrong = await tokens({ auth: { identity: { methods: ["token"], token: { id: "none" } } } });
      expect(wrong.status).toBe(404);
    });

    test("application credentials: by id, by name and user, without a scope; gone is 404, a wrong secret 401", async () => {
      const credentialName = `contract-${crypto.randomUUID()}`;
      const made = await demo.keystone("POST", `/users/${demo.id}/application_credentials`, {
        application_credential: { name: credentialName, secret: "hush" },
      });
      expect(made.status).toBe(201);
      const { id } = made.body.application_credential;
      const byId = await tokens(byApplicationCredential({ id, secret: "hush" }));
      expect(byId.status).toBe(201);
      expect(byId.body.token).toMatchObject({
        methods: ["application_credential"],
        project: { id: demo.projectId },
      });
      expect((await new User(authUrl, byId).ask("GET", "/networks?fields=id")).status).toBe(200);
      const user = { id: demo.id };
      const byName = await tokens(byApplicationCredential({ name: credentialName, user, secret: "hush" }));
      expect(byName.status).toBe(201);
      const named = { name: "demo", domain: DOMAIN };
      const byUserName = await tokens(byApplicationCredential({ name: credentialName, user: named, secret: "hush" }));
      expect(byUserName.status).toBe(201);
      const wrong = await tokens(byApplicationCredential({ id, secret: "wrong" }));
      expect(wrong.status).toBe(401);
      const scoped = await tokens(byApplicationCredential({ id, secret: "hush" }, { project: { id: demo.projectId } }));
      expect(scoped.status).toBe(401);
      expect(scoped.body.error.message).toContain("cannot request a scope");
      const path = `/users/${demo.id}/application_credentials/${id}`;
      expect((await demo.keystone("DELETE", path)).status).toBe(204);
      const gone = await tokens(byApplicationCredential({ id, secret: "hush" }));
      expect(gone.status).toBe(404);
      expect(gone.body.error).toMatchObject({ title: "Not Found", message: expect.stringContaining("Credential") });
    });
  });

  describe("a token", () => {
    test.each([
      ["none", ""],
      ["no token at all", "nonsense"],
    ])("%s: Neutron answers 401 in Keystone's form", async (_, token) => {
      const headers: Record<string, string> = token === "" ? {} : { "x-auth-token": token };
      const { status, body } = await send("GET", `${demo.neutron}/networks`, headers);
      expect(status).toBe(401);
      expect(body).toEqual({
        error: { code: 401, title: "Unauthorized", message: "The request you have made requires authentication." },
      });
    });

    test("revoked before Neutron saw it: 401", async () => {
      const user = await login("demo");
      const headers = { "x-subject-token": user.token };
      expect((await demo.keystone("DELETE", "/auth/tokens", undefined, headers)).status).toBe(204);
      expect((await user.ask("GET", "/networks?fields=id")).status).toBe(401);
      expect((await demo.keystone("GET", "/auth/tokens", undefined, headers)).status).toBe(404);
    });

    test("revoked after Neutron saw it: it is still taken, as Neutron asks Keystone once in five minutes", async () => {
      const user = await login("demo");
      expect((await user.ask("GET", "/networks?fields=id")).status).toBe(200);
      const headers = { "x-subject-token": user.token };
      expect((await demo.keystone("DELETE", "/auth/tokens", undefined, headers)).status).toBe(204);
      expect((await user.ask("GET", "/networks?fields=id")).status).toBe(200);
    });
  });
}
