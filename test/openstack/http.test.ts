import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { Http, type Request } from "../../src/openstack/http.ts";
import { certificate, key } from "./certificate.ts";
import { CloudServer, failing, next, silence, type Trouble } from "./server.ts";

const trusting = { verify: true };

function request(cloud: CloudServer, over: Partial<Request> = {}): Request {
  return { method: "GET", url: `${cloud.url}/v2.0/ports`, doing: "list", repeatable: true, ...over };
}

const away: [string, Trouble][] = [
  ["a connection that ends", () => silence()],
  ["502", () => new Response("bad gateway", { status: 502 })],
  ["503", () => new Response("", { status: 503 })],
  ["504", () => new Response("", { status: 504 })],
];

describe("where the service is away", () => {
  test.each(away)("%s: what is repeatable is tried again", async (_, trouble) => {
    using cloud = new CloudServer();
    cloud.troubles.push(next("GET", trouble, 2));
    expect((await new Http(trusting).send(request(cloud))).status).toBe(401);
    expect(cloud.asked.length).toBe(3);
  });

  test.each(away)("%s: what is not repeatable is asked once", async (_, trouble) => {
    using cloud = new CloudServer();
    cloud.troubles.push(trouble);
    const answer = new Http(trusting).send(request(cloud, { method: "POST", repeatable: false, body: {} }));
    await answer.catch(() => {});
    expect(cloud.asked.length).toBe(1);
  });

  test("four tries are all", async () => {
    using cloud = new CloudServer();
    cloud.troubles.push(() => silence());
    const failure = await failing(new Http(trusting).send(request(cloud)));
    expect(failure).toMatchObject({
      reason: "busy",
      message: `list: GET ${cloud.url}/v2.0/ports: ECONNRESET: The socket connection was closed unexpectedly`,
    });
    expect(cloud.asked.length).toBe(4);
  });

  test.each([500, 501, 400, 404, 409])("%d is an answer: it is not asked again", async (status) => {
    using cloud = new CloudServer();
    cloud.troubles.push(() => new Response("", { status }));
    expect((await new Http(trusting).send(request(cloud))).status).toBe(status);
    expect(cloud.asked.length).toBe(1);
  });

  test("nobody listens", async () => {
    const cloud = new CloudServer();
    const gone = request(cloud, { repeatable: false });
    cloud[Symbol.dispose]();
    expect(await failing(new Http(trusting).send(gone))).toMatchObject({
      reason: "busy",
      message: expect.stringContaining("Unable to connect"),
      advice: expect.stringContaining("reaches the cloud's API"),
    });
  });

  test("an answer that does not come in time", async () => {
    using cloud = new CloudServer();
    cloud.troubles.push(async () => {
      await Bun.sleep(500);
      return undefined;
    });
    const failure = await failing(new Http(trusting, 50).send(request(cloud, { repeatable: false })));
    expect(failure).toMatchObject({ reason: "busy", message: expect.stringContaining("no answer within 50 ms") });
  });
});

test("a redirection is not followed: the token would go along", async () => {
  using other = new CloudServer();
  using cloud = new CloudServer();
  cloud.troubles.push(() => Response.redirect(`${other.url}/v2.0/ports`));
  await new Http(trusting).send(request(cloud, { repeatable: false })).catch(() => {});
  expect(other.asked).toEqual([]);
});

test("an answer: status, request id, JSON or none", async () => {
  using cloud = new CloudServer();
  const headers = { "x-openstack-request-id": "req-1" };
  cloud.troubles.push(next("GET", () => Response.json({ a: 1 }, { headers })));
  cloud.troubles.push(next("GET", () => new Response("<html>", { status: 400 })));
  const http = new Http(trusting);
  expect(await http.send(request(cloud))).toMatchObject({ status: 200, json: { a: 1 }, requestId: "req-1" });
  const html = await http.send(request(cloud));
  expect([html.status, html.json, html.requestId]).toEqual([400, undefined, undefined]);
  expect(cloud.asked[0]?.headers.get("user-agent")).toMatch(/^berth\//u);
});

describe("certificates", () => {
  test("one that nobody vouches for is refused, at once, and cacert is the advice", async () => {
    using cloud = new CloudServer({ cert: certificate, key });
    expect(await failing(new Http(trusting).send(request(cloud)))).toMatchObject({
      reason: "config",
      message: expect.stringContaining("DEPTH_ZERO_SELF_SIGNED_CERT"),
      advice: expect.stringContaining("cacert"),
    });
    expect(cloud.asked).toEqual([]);
  });

  test("one of the CA file is accepted, but not for another name", async () => {
    using cloud = new CloudServer({ cert: certificate, key });
    writeFileSync("/run/ca.pem", certificate);
    const http = new Http({ verify: true, caFile: "/run/ca.pem" });
    expect((await http.send(request(cloud))).status).toBe(401);
    const url = `${cloud.url.replace("127.0.0.1", "localhost")}/v2.0/ports`;
    expect(await failing(http.send({ ...request(cloud), url }))).toMatchObject({
      reason: "config",
      advice: expect.stringContaining("for another name"),
    });
  });

  test("whatever variables of the runtime say: a certificate is verified, and no request printed", async () => {
    using cloud = new CloudServer({ cert: certificate, key });
    using plain = new CloudServer();
    const script = `
      const { Http } = await import(${JSON.stringify(`${import.meta.dir}/../../src/openstack/http.ts`)});
      for (const url of ${JSON.stringify([cloud.url, plain.url])}) {
        const request = { method: "GET", url, doing: "ask", repeatable: false, headers: { "x-auth-token": "canary" } };
        console.log(await new Http({ verify: true }).send(request).then((a) => a.status, (e) => e.reason));
      }`;
    const child = Bun.spawn([process.execPath, "-e", script], {
      env: { PATH: "/usr/bin:/bin", NODE_TLS_REJECT_UNAUTHORIZED: "0", BUN_CONFIG_VERBOSE_FETCH: "curl" },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect([out, err.includes("canary"), cloud.asked.length]).toEqual(["config\n401\n", false, 0]);
    expect(plain.asked[0]?.headers.get("x-auth-token")).toBe("canary");
  });

  test("verify: false accepts any", async () => {
    using cloud = new CloudServer({ cert: certificate, key });
    expect((await new Http({ verify: false }).send(request(cloud))).status).toBe(401);
  });

  test("a CA file that is not there", () => {
    expect(() => new Http({ verify: true, caFile: "/none.pem" })).toThrow("read the certificates /none.pem");
  });
});
