// A secret stays where it was put: it is in no output, no error, no log, no file of Berth's, and in nobody's arguments.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { changeLink } from "../../src/kernel/links.ts";
import { byPassword, send, User } from "../openstack/contract/users.ts";
import { DoubleCloud } from "../openstack/double/cloud.ts";
import { HOST, TestWorld } from "../world.ts";

const CANARY = "canary-9f3b-secret";
const main = `${import.meta.dir}/../../src/main.ts`;

let w: TestWorld;
let cloud: DoubleCloud;
let vmPort: string;
let credential: string;
/** Request ids that Neutron was sent. */
const told = new Set<string>();
beforeAll(async () => {
  w = new TestWorld();
  w.netlink(HOST).do(changeLink("lo", { up: true }));
  cloud = await DoubleCloud.start();
  const answer = cloud.neutron.answer.bind(cloud.neutron);
  cloud.neutron.answer = (question) => {
    told.add(String(question.headers["x-openstack-request-id"]));
    return answer(question);
  };
  const login = await send("POST", `${cloud.authUrl}/auth/tokens`, {}, byPassword("demo", "demo", "demo"));
  const demo = new User(cloud.authUrl, login);
  const network = await demo.make("network", { name: "private" });
  await demo.make("subnet", { network_id: network.id, cidr: "192.168.0.0/24", ip_version: 4 });
  const port = await demo.make("port", { network_id: network.id, device_id: "vm", device_owner: "compute:nova" });
  vmPort = port.id;
  const made = await send(
    "POST",
    `${cloud.authUrl}/users/${login.body.token.user.id}/application_credentials`,
    { "x-auth-token": login.headers.get("x-subject-token") ?? "" },
    { application_credential: { name: "berth", secret: CANARY } },
  );
  credential = made.body.application_credential.id;
  w.lan("lan");
  w.namespace("c");
  w.plug("lan", HOST, "eth0", "192.168.0.5/24");
  w.ip(HOST, `link set eth0 address ${port.mac_address}`);
});
afterAll(async () => {
  await cloud[Symbol.asyncDispose]();
  w[Symbol.dispose]();
});
beforeEach(() => {
  rmSync("/run/berth", { recursive: true, force: true });
  mkdirSync("/run/etc", { recursive: true });
  writeFileSync("/run/etc/cloud.yaml", cloudYaml(), { mode: 0o600 });
  writeFileSync("/run/etc/10-lan.conflist", JSON.stringify({ cniVersion: "1.1.0", name: "lan", plugins: [config] }));
});

function cloudYaml(secret = CANARY, url = cloud.authUrl): string {
  return `auth_type: v3applicationcredential
auth:
  auth_url: ${url}
  application_credential_id: ${credential}
  application_credential_secret: ${secret}
`;
}

const config = {
  cniVersion: "1.1.0",
  name: "lan",
  type: "macvlan",
  master: "eth0",
  ipam: { type: "neutron", credentials: "/run/etc/cloud.yaml", waitReachable: 0 },
};

/** Runs Berth as loud as it can be: all that it says, and its environment's and arguments' parts. */
async function run(
  args: readonly string[],
  env: Record<string, string> = {},
  stdin = "",
): Promise<{ code: number; text: string }> {
  const child = Bun.spawn([process.execPath, main, ...args], {
    env: { PATH: "/usr/bin:/bin", BERTH_LOG: "debug", BERTH_TRACE: "1", BUN_CONFIG_VERBOSE_FETCH: "1", ...env },
    stdin: Buffer.from(stdin),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code: child.exitCode ?? -1, text: out + err };
}

async function cni(verb: string, given: object = config): Promise<{ code: number; text: string }> {
  const env = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/c",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/none",
  };
  return await run([], env, JSON.stringify(given));
}

/** The token that Berth has; it is allowed in its file only. */
function token(): string {
  const name = readdirSync("/run/berth/tokens").find((f) => /^[\da-f]{32}$/u.test(f));
  return (JSON.parse(readFileSync(`/run/berth/tokens/${name}`, "utf8")) as { token: string }).token;
}

function expectKept(texts: readonly string[]): void {
  for (const text of texts) expect([text.includes(CANARY), text]).toEqual([false, text]);
  for (const root of ["/run/berth", "/var/lib/berth", "/var/lib/cni"].filter((d) => existsSync(d))) {
    for (const file of readdirSync(root, { recursive: true, encoding: "utf8" })) {
      const path = `${root}/${file}`;
      expect([path, path.includes(CANARY), statSync(path).mode & 0o077]).toEqual([
        path,
        false,
        root === "/var/lib/cni" ? statSync(path).mode & 0o077 : 0,
      ]);
      if (statSync(path).isFile()) expect([path, readFileSync(path, "utf8").includes(CANARY)]).toEqual([path, false]);
    }
  }
}

describe("a cloud's secret and its token", () => {
  test("ADD, CHECK, every command, DEL: with BERTH_LOG=debug, and one id towards the cloud", async () => {
    told.clear();
    const conf = ["--conf-dir", "/run/etc", "--network", "lan"];
    const own = { ...config, ipam: { ...config.ipam, vmPort } };
    const texts: string[] = [];
    const preview = await run(["attach", ...conf, "--netns", "c", "--dry-run"]);
    expect([preview.code, preview.text]).toEqual([0, expect.stringContaining("openstack port create")]);
    const added = await cni("ADD", own);
    expect([added.code, added.text]).toEqual([0, expect.stringContaining("192.168.0.")]);
    const lines = added.text.split("\n").filter((l) => l.startsWith('{"time"'));
    const ids = new Set(lines.map((l) => (JSON.parse(l) as { id: string }).id));
    expect([ids.size, told.has([...ids][0] ?? "")]).toEqual([1, true]);
    texts.push(preview.text, added.text, (await cni("CHECK", own)).text);
    for (const command of ["ls", "report", "gc --dry-run", "status", "openstack show", "repair --dry-run"]) {
      const args = command.split(" ");
      for (const json of [[], ["--json"]]) {
        const needsConf = ["status", "report", "gc"].includes(args[0] ?? "");
        texts.push(
          (await run([...args, ...(needsConf ? ["--conf-dir", "/run/etc"] : []), ...json], { HOME: "/run/etc" })).text,
        );
      }
    }
    const secret = token();
    for (const text of texts) expect([text.includes(secret), text]).toEqual([false, text]);
    const records = readdirSync("/run/berth/attachments").map((f) =>
      readFileSync(`/run/berth/attachments/${f}`, "utf8"),
    );
    expect(records.some((r) => r.includes(secret))).toBe(false);
    const removed = await cni("DEL", own);
    expect([removed.code, removed.text.includes(secret)]).toEqual([0, false]);
    expectKept([...texts, removed.text]);
  });

  const wrong: readonly (readonly [string, () => string])[] = [
    ["a wrong secret", () => cloudYaml(`${CANARY}-wrong`)],
    [
      "YAML that is none, with the secret where it breaks",
      () => `${cloudYaml()}\n  - ${CANARY}: [${CANARY}\n\t${CANARY}`,
    ],
    ["a secret that is no text", () => cloudYaml(`{${CANARY}: 1}`)],
    ["a URL with the secret as its password", () => cloudYaml("x", cloud.authUrl.replace("//", `//user:${CANARY}@`))],
    ["a URL that is none, with it", () => cloudYaml("x", `ftp://user:${CANARY}@cloud/v3`)],
    ["nobody listens", () => cloudYaml(CANARY, `http://user:${CANARY}@127.0.0.1:1/v3`)],
  ];
  for (const [name, yaml] of wrong) {
    test(`${name}: it fails, and does not tell`, async () => {
      writeFileSync("/run/etc/cloud.yaml", yaml(), { mode: 0o600 });
      const failed = await cni("ADD");
      expect(failed.code).toBe(1);
      const report = await run(["report"]);
      expect(report.text).toContain("CNI ADD");
      expectKept([failed.text, report.text]);
    });
  }
});

describe("a secret in a configuration that is another plugin's", () => {
  test("it is not in a report, and the record is root's alone", async () => {
    writeFileSync(
      "/run/etc/ipam",
      '#!/bin/sh\necho \'{"cniVersion":"1.0.0","ips":[{"address":"192.168.0.77/24"}]}\'\n',
      { mode: 0o755 },
    );
    const given = { ...config, ipam: { type: "ipam", password: CANARY, api: { client_secret: CANARY } } };
    const env = {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/run/etc",
    };
    const added = await run([], env, JSON.stringify(given));
    expect(added.code).toBe(0);
    writeFileSync("/run/etc/10-lan.conflist", JSON.stringify({ cniVersion: "1.1.0", name: "lan", plugins: [given] }));
    const texts = [added.text];
    for (const args of [["report"], ["report", "--json"], ["ls"], ["repair", "--dry-run"], ["check"]])
      texts.push((await run([...args, ...(args[0] === "report" ? ["--conf-dir", "/run/etc"] : [])])).text);
    for (const text of texts) expect([text.includes(CANARY), text]).toEqual([false, text]);
    const path = "/run/berth/attachments/lan:c1:eth0.json";
    expect([statSync(path).mode & 0o777, statSync("/run/berth/attachments").mode & 0o777]).toEqual([0o600, 0o700]);
    expect((await run([], { ...env, CNI_COMMAND: "DEL" }, JSON.stringify(given))).code).toBe(0);
  });
});

test("a delegated IPAM plugin's arguments, which everybody on the host can read: none", async () => {
  writeFileSync(
    "/run/etc/ipam",
    '#!/bin/sh\ncat /proc/$$/cmdline >/run/etc/argv\necho \'{"cniVersion":"1.0.0","ips":[{"address":"192.168.0.77/24"}]}\'\n',
    { mode: 0o755 },
  );
  const given = JSON.stringify({ ...config, ipam: { type: "ipam", password: CANARY } });
  const call = { CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/c", CNI_IFNAME: "eth0", CNI_PATH: "/run/etc" };
  for (const verb of ["ADD", "DEL"]) {
    expect((await run([], { ...call, CNI_COMMAND: verb }, given)).code).toBe(0);
    expect(readFileSync("/run/etc/argv", "utf8").split("\0")).toEqual(["/bin/sh", "/run/etc/ipam", ""]);
  }
});

describe("a delegated IPAM plugin's environment", () => {
  test("what the protocol has, PATH, and TRACEPARENT where there is a trace: nothing else of the caller's", async () => {
    writeFileSync(
      "/run/etc/ipam",
      '#!/bin/sh\n/usr/bin/env -0 >/run/etc/env\necho \'{"cniVersion":"1.0.0","ips":[{"address":"192.168.0.77/24"}]}\'\n',
      { mode: 0o755 },
    );
    const given = { ...config, ipam: { type: "ipam" } };
    const call = {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c",
      CNI_IFNAME: "eth0",
      CNI_PATH: "/run/etc",
      CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAME=x",
      CNI_NETNS_OVERRIDE: "1",
    };
    const hostile = {
      OS_PASSWORD: CANARY,
      AWS_SECRET_ACCESS_KEY: CANARY,
      LD_LIBRARY_PATH: "/nowhere",
      BUN_OPTIONS: "",
      NODE_OPTIONS: "x",
      PYTHONPATH: "/run/etc",
      HTTP_PROXY: `http://u:${CANARY}@p`,
      BASH_ENV: "/run/etc/evil",
      IFS: "x",
      HOME: "/run/etc",
    };
    expect((await run([], { ...hostile, ...call, BERTH_LOG: "", BERTH_TRACE: "" }, JSON.stringify(given))).code).toBe(
      0,
    );
    const seen = readFileSync("/run/etc/env", "utf8")
      .split("\0")
      .filter((v) => v !== "");
    const shells = new Set(["PWD", "OLDPWD", "SHLVL", "_"]); // set by the shell that runs the plugin
    const names = seen.map((v) => v.slice(0, v.indexOf("="))).filter((n) => !shells.has(n));
    expect(names.toSorted()).toEqual([...Object.keys(call), "PATH"].toSorted());
    expect((await run([], { ...call, CNI_COMMAND: "DEL" }, JSON.stringify(given))).code).toBe(0);
  });
});
