import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type Credentials, findCredentials, type Surroundings } from "../../src/openstack/credentials.ts";
import { Failure } from "../../src/report/failure.ts";

let home: string;
beforeAll(() => {
  home = mkdtempSync("/run/clouds-");
  writeFileSync(
    `${home}/clouds.yaml`,
    `clouds:
  lab:
    auth: { auth_url: "https://lab:5000", username: ann, project_name: web, user_domain_name: Default, project_domain_id: default }
    region_name: one
    interface: internal
    cacert: /etc/ssl/lab.pem
  keyed:
    auth_type: v3applicationcredential
    auth: { auth_url: "https://keyed:5000/v3/", application_credential_id: abc }
  kerberos: { auth_type: v3kerberos, auth: { auth_url: "https://k" } }
  wrong: { auth: { auth_url: "lab:5000" } }
`,
  );
  writeFileSync(
    `${home}/secure.yaml`,
    `clouds:
  lab: { auth: { password: secret } }
  keyed: { auth: { application_credential_secret: hush } }
`,
  );
});
afterAll(() => rmSync(home, { recursive: true }));

function around(env: Record<string, string> = {}): Surroundings {
  return { env, directories: ["/nowhere", home] };
}

function failing(f: () => Credentials): Failure {
  try {
    f();
  } catch (e) {
    if (e instanceof Failure) return e;
    throw e;
  }
  throw new Error("it did not fail");
}

describe("clouds.yaml", () => {
  test("a named cloud, with what secure.yaml adds to it", () => {
    expect(findCredentials({ cloud: "lab" }, around())).toEqual({
      source: `${home}/clouds.yaml, cloud lab`,
      authUrl: "https://lab:5000/v3",
      proof: { method: "password", user: { name: "ann", domain: { name: "Default" } }, password: "secret" },
      project: { name: "web", domain: { id: "default" } },
      region: "one",
      interface: "internal",
      caFile: "/etc/ssl/lab.pem",
      verify: true,
    });
    expect(findCredentials({}, around({ OS_CLOUD: "keyed" })).proof).toEqual({
      method: "application_credential",
      id: "abc",
      secret: "hush",
    });
  });

  const refused: [string, Record<string, string>, Record<string, string>, string][] = [
    ["several and none named", {}, {}, "has the clouds lab, keyed, kerberos, wrong, and none was named"],
    ["one that is not there", { cloud: "moon" }, {}, "has lab, keyed, kerberos, wrong"],
    ["a login that is not known", { cloud: "kerberos" }, {}, "auth_type is v3kerberos"],
    ["an address that is none", { cloud: "wrong" }, {}, "auth_url is no http:// or https:// URL"],
    ["a variable that leads nowhere", { cloud: "lab" }, { OS_CLIENT_CONFIG_FILE: "/nowhere/c.yaml" }, ""],
  ];
  test.each(refused)("%s", (_, config, env, sentence) => {
    if (sentence === "") expect(findCredentials(config, around(env)).region).toBe("one"); // the next place has it
    else expect(failing(() => findCredentials(config, around(env))).message).toContain(sentence);
  });

  test("lines that were exchanged: the password is not told", () => {
    const env = { OS_AUTH_URL: "hunter2", OS_USERNAME: "ann", OS_PASSWORD: "http://cloud:5000", OS_PROJECT_ID: "1" };
    const failure = failing(() => findCredentials({}, { env, directories: [] }));
    expect(failure.message).toContain("auth_url is no http:// or https:// URL");
    expect(`${failure.message} ${failure.advice}`).not.toContain("hunter2");
  });

  test("no file anywhere", () => {
    const failure = failing(() => findCredentials({ cloud: "lab" }, { env: {}, directories: ["/nowhere"] }));
    expect(failure).toMatchObject({
      reason: "config",
      message: expect.stringContaining("there is no clouds.yaml in /nowhere"),
    });
  });
});

test("the environment, where it names Keystone and no cloud is named", () => {
  const env = {
    OS_AUTH_URL: "http://127.0.0.1:5000/v2.0",
    OS_USERNAME: "ann",
    OS_USER_DOMAIN_ID: "default",
    OS_PASSWORD: "p",
    OS_PROJECT_ID: "1234",
    OS_INSECURE: "true",
  };
  expect(findCredentials({}, around(env))).toMatchObject({
    authUrl: "http://127.0.0.1:5000/v3",
    proof: { method: "password", user: { name: "ann", domain: { id: "default" } } },
    project: { id: "1234" },
    interface: "public",
    verify: false,
  });
  expect(findCredentials({ cloud: "lab" }, around(env)).authUrl).toBe("https://lab:5000/v3");
});

test("a file of its own, refused where others may read it", () => {
  const path = `${home}/cred.yaml`;
  writeFileSync(path, 'auth_type: v3token\nauth: { auth_url: "https://t/v3", token: gAAA, project_id: p }\n');
  chmodSync(path, 0o644);
  expect(failing(() => findCredentials({ credentials: path }, around()))).toMatchObject({
    message: `use the credentials ${path}: everybody may read or write the file`,
    advice: `chmod 600 ${path}`,
  });
  chmodSync(path, 0o640);
  expect(findCredentials({ credentials: path }, around()).proof).toEqual({ method: "token", token: "gAAA" });
  expect(failing(() => findCredentials({ credentials: "/none" }, around())).message).toContain("there is no such file");
});
