import { beforeEach, describe, expect, spyOn, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Delegated } from "../../src/ipam/delegated.ts";
import { failureOf } from "../failing.ts";
import { holder, ipamContract } from "./contract.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync("/run/delegated-");
  mkdirSync(`${dir}/bin`);
});

const RESULT = '{"ips":[{"address":"10.0.0.5/24","gateway":"10.0.0.1"}],"routes":[{"dst":"0.0.0.0/0"}]}';

/** Installs a plugin: a shell script that notes its commands, environment and stdin, then does `body`. */
function plugin(body: string, name = "lease"): void {
  const path = `${dir}/bin/${name}`;
  writeFileSync(
    path,
    `#!/bin/sh
echo "$CNI_COMMAND" >> ${dir}/commands
env > ${dir}/env.$CNI_COMMAND
cat > ${dir}/stdin.$CNI_COMMAND
${body}
`,
  );
  chmodSync(path, 0o755);
}

const commands = (): string[] =>
  existsSync(`${dir}/commands`) ? readFileSync(`${dir}/commands`, "utf8").trim().split("\n") : [];
const stdinOf = (verb: string): unknown => JSON.parse(readFileSync(`${dir}/stdin.${verb}`, "utf8"));
/** What a shell adds by itself. */
const ofShell = new Set(["PWD", "OLDPWD", "SHLVL", "_"]);
const envOf = (verb: string): Record<string, string> =>
  Object.fromEntries(
    readFileSync(`${dir}/env.${verb}`, "utf8")
      .trim()
      .split("\n")
      .map((line): [string, string] => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)])
      .filter(([name]) => !ofShell.has(name)),
  );

interface Asked {
  readonly cniVersion?: string;
  readonly config?: Record<string, unknown>;
  readonly env?: Record<string, string | undefined>;
  readonly type?: string;
}

function delegated({ cniVersion = "1.1.0", config = {}, env = {}, type = "lease" }: Asked = {}): Delegated {
  return new Delegated(type, {
    stdin: JSON.stringify({ cniVersion, name: "lan", type: "macvlan", ipam: { type }, ...config }),
    cniVersion,
    env: {
      CNI_COMMAND: "ADD",
      CNI_PATH: `${dir}/empty:${dir}/bin`,
      PATH: process.env["PATH"],
      CNI_NETNS: "/x",
      ...env,
    },
  });
}

// a plugin with reservations of its own: a file an address, from 10.0.0.2 on, and one that may be asked for
const KEEPING = `
state=\${0%/bin/*}/state; mkdir -p $state; cd $state
me="$CNI_CONTAINERID/$CNI_IFNAME"
case $CNI_COMMAND in
ADD)
  want=$(sed -n 's/.*"ips":\\["\\([0-9.]*\\).*/\\1/p' $state/../stdin.ADD)
  for ip in $want $([ -n "$want" ] || seq -f 10.0.0.%g 2 20); do
    if [ ! -e $ip ]; then echo $me > $ip; echo "{\\"ips\\":[{\\"address\\":\\"$ip/24\\"}]}"; exit 0; fi
    held=$(tr / ' ' < $ip)
  done
  echo "{\\"code\\":101,\\"msg\\":\\"$want is held by $held\\"}"; exit 1;;
DEL) for f in *; do [ -e $f ] && [ "$(cat $f)" = "$me" ] && rm $f; done; exit 0;;
CHECK) grep -qsx "$me" * || { echo '{"code":100,"msg":"not found"}'; exit 1; };;
GC)
  for f in *; do
    [ -e $f ] || continue
    id=$(cut -d/ -f1 $f); ifname=$(cut -d/ -f2 $f)
    grep -q "{\\"containerID\\":\\"$id\\",\\"ifname\\":\\"$ifname\\"}" ../stdin.GC || rm $f
  done;;
esac
`;

ipamContract("a delegated plugin", () => {
  plugin(`[ $CNI_COMMAND = ADD ] && echo '${RESULT}'; exit 0`);
  return {
    provider: delegated(),
    wanted: "10.0.0.5/24",
    impossible: "10.0.0.6",
    reserves: false,
    previews: false,
    addresses: true,
    // the last word must be DEL
    reserved: () => commands().reduce((n, verb) => (verb === "ADD" ? 1 : verb === "DEL" ? 0 : n), 0),
  };
});

/** The addresses that it has reserved. */
function files(): string[] {
  return readdirSync(`${dir}/state`).toSorted();
}

describe("a plugin that keeps reservations", () => {
  beforeEach(() => plugin(KEEPING));

  test("is asked for an address where the conventions have it, and releases, checks and collects", async () => {
    const provider = delegated({ config: { runtimeConfig: { mac: "02:00:00:00:00:01" }, args: { cni: { x: 1 } } } });
    await provider.allocate(holder("a"), ["10.0.0.9/24"]);
    expect(stdinOf("ADD")).toMatchObject({
      name: "lan",
      runtimeConfig: { ips: ["10.0.0.9/24"], mac: "02:00:00:00:00:01" },
      args: { cni: { ips: ["10.0.0.9/24"], x: 1 } },
    });
    await provider.allocate(holder("b"), []);
    await provider.allocate(holder("a", "eth1"), []);
    expect(files()).toEqual(["10.0.0.2", "10.0.0.3", "10.0.0.9"]);
    await provider.check(holder("a"));
    await provider.collect("lan", [holder("a"), holder("b")]);
    expect(files()).toEqual(["10.0.0.2", "10.0.0.9"]);
    await provider.release(holder("b"));
    expect(files()).toEqual(["10.0.0.9"]);
    expect((await failureOf(provider.check(holder("b")))).code).toBe(100);
  });
});

describe("the call", () => {
  beforeEach(() => plugin(`[ $CNI_COMMAND = ADD ] && echo '${RESULT}'; exit 0`));

  test("has the whole configuration on stdin and the call's CNI variables and PATH, and nothing else", async () => {
    process.env["BERTH_SECRET"] = "x";
    const provider = delegated({
      config: { prevResult: { ips: [] }, master: "eth0" },
      env: { CNI_ARGS: "A=1", CNI_NETNS_OVERRIDE: "1", SECRET: "x" },
    });
    await provider.allocate(holder("a", "eth7"), []);
    await provider.release(holder("a", "eth7"));
    delete process.env["BERTH_SECRET"];
    for (const verb of ["ADD", "DEL"]) {
      expect(stdinOf(verb)).toEqual({
        cniVersion: "1.1.0",
        name: "lan",
        type: "macvlan",
        ipam: { type: "lease" },
        prevResult: { ips: [] },
        master: "eth0",
      });
      expect(envOf(verb)).toEqual({
        CNI_COMMAND: verb,
        CNI_CONTAINERID: "a",
        CNI_IFNAME: "eth7",
        CNI_NETNS: "/x",
        CNI_ARGS: "A=1",
        CNI_PATH: `${dir}/empty:${dir}/bin`,
        CNI_NETNS_OVERRIDE: "1",
        PATH: process.env["PATH"] ?? "",
      });
    }
  });

  test("is left as it came where it asks for the address itself", async () => {
    for (const asked of [
      { env: { CNI_ARGS: "IP=10.0.0.5" } },
      { config: { args: { cni: { ips: ["10.0.0.5/24"] } } } },
      { config: { runtimeConfig: { ips: ["10.0.0.5/24"] } } },
    ]) {
      await delegated(asked).allocate(holder("a"), ["10.0.0.5"]);
      expect(stdinOf("ADD")).toEqual({
        cniVersion: "1.1.0",
        name: "lan",
        type: "macvlan",
        ipam: { type: "lease" },
        ...asked.config,
      });
    }
  });

  test("of GC names the attachments to spare, whatever the configuration named", async () => {
    const provider = delegated({ config: { "cni.dev/valid-attachments": [{ containerID: "z", ifname: "eth0" }] } });
    await provider.collect("lan", [holder("a"), holder("b", "eth1")]);
    expect(stdinOf("GC")).toMatchObject({
      "cni.dev/valid-attachments": [
        { containerID: "a", ifname: "eth0" },
        { containerID: "b", ifname: "eth1" },
      ],
    });
  });

  const passedOn: [string, string[]][] = [
    ["0.1.0", ["DEL"]],
    ["0.3.1", ["DEL"]],
    ["0.4.0", ["CHECK", "DEL"]],
    ["1.0.0", ["CHECK", "DEL"]],
    ["1.1.0", ["CHECK", "DEL", "GC", "STATUS"]],
  ];
  test.each(passedOn)("for version %s may be %j", async (cniVersion, verbs) => {
    const provider = delegated({ cniVersion });
    await provider.check(holder("a"));
    await provider.release(holder("a"));
    await provider.collect("lan", []);
    await provider.status();
    expect(commands()).toEqual(verbs);
  });

  test("may be larger than a pipe, and a plugin need not read it", async () => {
    const config = { pad: "x".repeat(300_000) };
    await delegated({ config }).allocate(holder("a"), []);
    expect(stdinOf("ADD")).toMatchObject(config);
    writeFileSync(`${dir}/bin/lease`, `#!/bin/sh\nexec <&-\necho '${RESULT}'\n`);
    expect((await delegated({ config }).allocate(holder("a"), [])).ips).toHaveLength(1);
  });

  test("passes on what the plugin writes to stderr", async () => {
    plugin(`echo "lease renewed" >&2; echo '${RESULT}'`);
    const seen = spyOn(console, "error").mockImplementation(() => undefined);
    await delegated().allocate(holder("a"), []);
    expect(seen.mock.calls).toEqual([["lease renewed"]]);
    seen.mockRestore();
  });
});

/** The failure of ADD, what the plugin writes to stderr left out. */
async function quietly(asked: Asked = {}): ReturnType<typeof failureOf> {
  const seen = spyOn(console, "error").mockImplementation(() => undefined);
  const failure = await failureOf(delegated(asked).allocate(holder("a"), []));
  seen.mockRestore();
  expect(failure.reason).toBe("delegate");
  return failure;
}

describe("a failure", () => {
  test("of the plugin keeps its code, sentence and details, and is followed by DEL", async () => {
    plugin(
      `[ $CNI_COMMAND = DEL ] || echo '{"cniVersion":"1.1.0","code":11,"msg":"try later","details":"no server"}'; exit 1`,
    );
    const failure = await quietly();
    expect([failure.code, failure.advice]).toEqual([11, "no server"]);
    expect(failure.message).toContain("lease ADD: try later");
    expect(commands()).toEqual(["ADD", "DEL"]);
  });

  test("without an error object says how it ended, and what it wrote", async () => {
    plugin("echo oops; echo panic >&2; exit 3");
    const failure = await quietly();
    expect(failure.message).toEndWith("lease ADD: it ended with status 3: panic; oops");
    expect(failure.code).toBeUndefined();
  });

  test("by a signal names it", async () => {
    plugin("kill -SEGV $$");
    expect((await quietly()).message).toEndWith("lease ADD: it was ended by SIGSEGV and said nothing");
  });

  test("by writing without end, to either output, it is ended itself", async () => {
    for (const to of ["", ">&2"]) {
      plugin(`[ "$CNI_COMMAND" = DEL ] || exec yes ${to}`);
      expect((await quietly()).message).toContain("lease ADD: it wrote more than 16 MiB");
    }
  });

  test("to start names the file", async () => {
    writeFileSync(`${dir}/bin/lease`, "#!/no/such/interpreter\n");
    chmodSync(`${dir}/bin/lease`, 0o755);
    expect((await quietly()).message).toContain(`${dir}/bin/lease`);
  });

  const unreadable: [answer: string, sentence: string][] = [
    ["", "it is empty"],
    ["leased 10.0.0.5", "it is no JSON object: leased 10.0.0.5"],
    ["[]", "it is no JSON object: []"],
    ["{}", "it has no address"],
    ['{"ips":[{"address":"10.0.0.5"}]}', 'the address "10.0.0.5"'],
    ['{"ips":[{"address":"10.0.0.5/24","gateway":"router"}]}', 'the gateway "router"'],
    ['{"ips":[{"address":"10.0.0.5/24"}],"routes":[{"dst":"default"}]}', 'the route to "default"'],
    ['{"ips":[{"address":"10.0.0.5/24"}],"routes":[{"dst":"10.0.0.0/8","gw":"fe80::1"}]}', 'the next hop "fe80::1"'],
  ];
  test.each(unreadable)("to answer: %s", async (answer, sentence) => {
    plugin(`echo '${answer}'`);
    expect((await quietly()).message).toContain(sentence);
    expect(commands()).toEqual(["ADD", "DEL"]);
  });

  test("to find it names the directories that were searched", async () => {
    const failure = await quietly({ type: "missing" });
    expect(failure.message).toContain(`${dir}/empty, ${dir}/bin (CNI_PATH)`);
    expect((await quietly({ env: { CNI_PATH: "" } })).message).toContain("CNI_PATH is empty");
    expect((await failureOf(delegated({ type: "missing", cniVersion: "0.4.0" }).status())).message).toContain(
      "missing",
    );
  });

  test("to find it where there is only a directory or a file that is not executable", async () => {
    mkdirSync(`${dir}/empty/lease`, { recursive: true });
    writeFileSync(`${dir}/bin/lease`, "");
    expect((await quietly()).message).toContain("no such executable");
  });

  test.each(["", ".", "..", "../lease", "/bin/true", "a\0b"])("for the type %j, which is no file name", (type) => {
    expect(() => delegated({ type })).toThrow("it is no file name");
  });
});
