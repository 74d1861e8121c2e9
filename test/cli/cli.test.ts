import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { distance, nearest } from "../../src/cli/spelling.ts";
import fc from "fast-check";
import { ping } from "../../src/kernel/icmp.ts";
import { changeLink } from "../../src/kernel/links.ts";
import { TestWorld } from "../world.ts";

const main = `${import.meta.dir}/../../src/main.ts`;
const examples = `${import.meta.dir}/../../examples`;

let w: TestWorld;
let directory: string;
beforeAll(() => {
  w = new TestWorld();
  w.sysctl("", "net/ipv6/conf/default/accept_dad", "0");
  w.lan("office");
  w.lan("tasks");
  w.namespace("web");
  w.plug("office", "", "eth0", "192.168.10.22/24");
  w.plug("tasks", "", "eth1");
});
beforeEach(() => {
  for (const state of ["/var/lib/cni", "/run/berth"]) rmSync(state, { recursive: true, force: true });
  directory = mkdtempSync("/run/conf-");
  writeFileSync(`${directory}/10-tasks.conflist`, readFileSync(`${examples}/host-access-auto.conflist`));
});
afterAll(() => w[Symbol.dispose]());

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function berth(...argv: string[]): Outcome {
  const r = Bun.spawnSync([process.execPath, main, ...argv], {
    argv0: "berth",
    env: { PATH: process.env["PATH"] ?? "", TERM: "dumb" },
  });
  return { code: r.exitCode, out: r.stdout.toString(), err: r.stderr.toString() };
}

const onTasks = (): string[] => ["--network", "tasks", "--conf-dir", directory];
const json = (o: Outcome): unknown => JSON.parse(o.out);

describe("help and wrong usage", () => {
  const commands = [
    "attach",
    "detach",
    "ls",
    "check",
    "repair",
    "gc",
    "status",
    "install",
    "network ls",
    "network check",
    "lab routing",
    "version",
  ];
  test.each(commands)("berth %s --help", (command) => {
    const { code, out } = berth(...command.split(" "), "--help");
    expect(code).toBe(0);
    expect(out).toContain(`berth ${command}`);
  });

  test("no arguments: the help; an unknown flag: exit status 2 and what was meant", () => {
    expect(berth().out).toContain("attach a namespace to a network");
    expect(berth("ls", "--jso")).toMatchObject({ code: 2, err: expect.stringContaining("--json") });
    expect(berth("nothing").code).toBe(2);
    expect(berth("attach", "--ip", "x")).toMatchObject({ code: 2, err: expect.stringContaining("x is no IP address") });
    expect(berth("attach", "--pid", "0")).toMatchObject({
      code: 2,
      err: expect.stringContaining("0 is no process id"),
    });
  });

  test("version", () => {
    expect(berth("version").out).toMatch(/^berth \d+\.\d+\.\d+\n$/u);
    expect(json(berth("version", "--json"))).toMatchObject({ version: expect.any(String) });
  });
});

describe("the life of an attachment", () => {
  test("attach, ls, check, detach", () => {
    const attached = berth(
      "attach",
      ...onTasks(),
      "--netns",
      "web",
      "--ip",
      "192.168.122.150",
      "--mac",
      "02:00:00:00:00:09",
    );
    expect(attached).toMatchObject({
      code: 0,
      err: expect.stringContaining("no host access by IPv6: the host has no"),
    });
    expect(attached.out).toBe(
      "attached tasks/web/eth0: macvlan on eth1, 192.168.122.150/24, fd22::2/64, MAC 02:00:00:00:00:09, MTU 1500\n",
    );
    expect(ping(undefined, "192.168.122.150")).toMatchObject({ ok: true });
    expect(berth("ls").out).toMatch(
      /^NETWORK .*\ntasks +web +eth0 +macvlan +eth1 +192\.168\.122\.150\/24,fd22::2\/64 +\/run\/netns\/web +attached/u,
    );
    expect(json(berth("ls", "--json"))).toMatchObject([
      { network: "tasks", containerId: "web", ifName: "eth0", state: "attached" },
    ]);
    const checked = berth("check");
    expect(checked).toMatchObject({ code: 0, err: "" });
    expect(checked.out).toMatch(/^ok {4}tasks\/web\/eth0\n {6}no host access by IPv6: [^\n]+\n$/u);
    w.ip("", "route del 192.168.122.150/32");
    expect(berth("check", "--netns", "web")).toMatchObject({
      code: 1,
      out: expect.stringContaining("route 192.168.122.150/32 dev berth-eth1: is not there"),
    });
    expect(json(berth("check", "--json"))).toMatchObject([{ ok: false, error: { code: 103 } }]);
    expect(berth("detach", "--netns", "web")).toEqual({ code: 0, out: "detached tasks/web/eth0\n", err: "" });
    expect(berth("ls").out).toBe("no attachments\n");
  });

  test("by process id, with answers for machines", async () => {
    const sleeper = Bun.spawn(["ip", "netns", "exec", "web", "sleep", "60"]);
    try {
      await Bun.sleep(200);
      const answer = json(berth("attach", ...onTasks(), "--pid", `${sleeper.pid}`, "--ifname", "lan0", "--json"));
      expect(answer).toMatchObject({
        key: { network: "tasks", containerId: `pid-${sleeper.pid}`, ifName: "lan0" },
        kind: "macvlan",
        mtu: 1500,
      });
      expect(json(berth("detach", "--pid", `${sleeper.pid}`, "--json"))).toMatchObject({
        detached: [{ ifName: "lan0" }],
      });
    } finally {
      sleeper.kill();
      await sleeper.exited;
    }
  });

  test("--dry-run prints commands that build it, and changes nothing", () => {
    const before = w.snapshot("");
    const { out, code } = berth("attach", ...onTasks(), "--netns", "web", "--dry-run");
    expect(code).toBe(0);
    expect(w.snapshot("")).toEqual(before);
    expect(berth("ls").out).toBe("no attachments\n");
    // sysctl is procps', which a small system may lack; what it sets is not what is looked at here
    const script = Bun.which("sysctl") === null ? out.replaceAll(/^(.* )?sysctl .*$/gmu, "") : out;
    w.run(["sh", "-e", "-c", script]);
    expect(ping(undefined, "192.168.122.128")).toMatchObject({ ok: true });
    expect(ping(w.at("web"), "192.168.10.22")).toMatchObject({ ok: true });
    w.ip("web", "link del eth0");
    w.ip("", "link del berth-eth1");
    expect(json(berth("attach", ...onTasks(), "--netns", "web", "--dry-run", "--json"))).toMatchObject({
      commands: expect.any(Array),
      plan: expect.any(Array),
    });
  });

  test("detach --dry-run prints what would be undone", () => {
    berth("attach", ...onTasks(), "--netns", "web");
    const { out } = berth("detach", "--netns", "web", "--dry-run");
    expect(out).toContain("ip -n web link delete dev eth0");
    expect(out).toContain("ip -4 route delete 192.168.122.128/32 dev berth-eth1");
    expect(berth("check").code).toBe(0);
    berth("detach", "--netns", "web");
  });

  test("repair mends what was damaged; --dry-run only says so", () => {
    berth("attach", ...onTasks(), "--netns", "web");
    expect(berth("repair").out).toBe("good    tasks/web/eth0\n");
    w.ip("", "route del 192.168.122.128/32");
    const dry = berth("repair", "--dry-run");
    expect(dry.out).toBe(
      "would mend tasks/web/eth0: route 192.168.122.128/32 dev berth-eth1: is not there\n    ip -4 route add 192.168.122.128/32 dev berth-eth1 scope link proto 98 src 192.168.10.22\n",
    );
    expect(berth("check").code).toBe(1);
    expect(json(berth("repair", "--netns", "web", "--json"))).toMatchObject([
      { found: [expect.stringContaining("route")] },
    ]);
    expect(berth("check").code).toBe(0);
    w.ip("web", "link set eth0 type macvlan mode vepa");
    expect(berth("repair")).toMatchObject({
      code: 1,
      out: expect.stringContaining("mode is vepa, planned was bridge"),
    });
    expect(berth("repair", "--id", "never").code).toBe(1);
    berth("detach", "--netns", "web");
  });

  test("gc detaches what has lost its namespace", () => {
    w.namespace("gone");
    berth("attach", ...onTasks(), "--netns", "gone");
    expect(berth("gc").out).toBe("nothing to collect\n");
    w.removeNamespace("gone");
    expect(berth("ls").out).toContain("namespace gone");
    const listed = berth("gc", "--dry-run").out;
    expect(listed).toContain("# tasks/gone/eth0\n");
    expect(listed).toContain("route delete 192.168.122.128/32");
    expect(json(berth("gc", "--json"))).toEqual({
      collected: [{ network: "tasks", containerId: "gone", ifName: "eth0" }],
      cloud: [],
      removed: [],
      strays: [],
      unrecorded: [],
      errors: [],
    });
    expect(w.ip("", "route show proto 98")).toBe("");
    expect(() => w.link("", "berth-eth1")).toThrow();
  });

  test("what goes wrong is said on stderr, with what to do, and as JSON where that was asked for", () => {
    expect(berth("attach", ...onTasks())).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringContaining("neither --netns nor --pid is given"),
    });
    expect(berth("attach", "--network", "x", "--conf-dir", directory, "--netns", "web").err).toContain(
      "There are tasks.",
    );
    expect(berth("attach", "--netns", "web").err).toContain("neither --network nor --config is given");
    expect(berth("attach", ...onTasks(), "--netns", "nothing").err).toContain(
      "open the network namespace /run/netns/nothing",
    );
    expect(json(berth("attach", ...onTasks(), "--netns", "nothing", "--json"))).toMatchObject({ error: { code: 8 } });
    expect(berth("detach", "--id", "never").err).toContain("there is no record of such an attachment");
    expect(berth("detach", ...onTasks(), "--id", "never").code).toBe(0);
    expect(berth("check", "--id", "never").code).toBe(1);
    expect(berth("attach", "--config", `${directory}/none.conf`, "--netns", "web").err).toContain("none.conf");
  });
});

describe("networks", () => {
  test("ls and status", () => {
    expect(berth("network", "ls", "--conf-dir", directory).out).toMatch(/tasks +macvlan +eth1 +host-local +auto/u);
    expect(berth("status", "--conf-dir", directory)).toEqual({ code: 0, out: "ready     tasks\n", err: "" });
    expect(json(berth("status", "--conf-dir", directory, "--json"))).toEqual([
      { network: "tasks", ready: true, remarks: [] },
    ]);
    writeFileSync(
      `${directory}/20-broken.conf`,
      JSON.stringify({ cniVersion: "1.0.0", name: "b", type: "macvlan", master: "nothing" }),
    );
    writeFileSync(`${directory}/30-garbage.conf`, "{");
    writeFileSync(`${directory}/40-other.conf`, JSON.stringify({ name: "other", type: "bridge" }));
    const both = berth("status", "--conf-dir", directory);
    expect(both.code).toBe(1);
    expect(both.out).toContain("not ready serve network b: find the parent, nothing: there is no such link");
    expect(both.err).toContain("30-garbage.conf");
    expect(berth("network", "ls", "--conf-dir", "/nowhere").out).toBe("no network in /nowhere is Berth's\n");
  });

  test("check names file, path, value, what is allowed, and the key that was meant", () => {
    const file = `${directory}/x.conf`;
    const check = (config: unknown): Outcome => {
      writeFileSync(file, JSON.stringify(config));
      return berth("network", "check", file);
    };
    const good = { cniVersion: "1.0.0", name: "n", type: "macvlan", master: "eth1" };
    expect(check(good)).toEqual({ code: 0, out: `${file}: good\n`, err: "" });
    expect(check({ ...good, mode: "brigde" })).toMatchObject({
      code: 1,
      out: expect.stringMatching(/x\.conf: mode is "brigde": it must be .*"bridge"/u),
    });
    expect(check({ ...good, hostrouteIf: "auto" }).out).toBe(
      `${file}: hostrouteIf is no key of a known plugin; hostrouteif may be meant\n`,
    );
    expect(check({ ...good, zzz: 1 })).toEqual({ code: 0, out: `${file}: zzz is no key of a known plugin\n`, err: "" });
    expect(
      check({ ...good, ipam: { type: "host-local", ranges: [[{ subnet: "10.0.0.0/24" }, { subnet: "10.0.0.0/99" }]] } })
        .out,
    ).toContain('ipam.ranges[0][1].subnet is "10.0.0.0/99": it must be an address, a slash, a prefix length');
    expect(check({ ...good, type: "vlan" }).out).toContain("vlanId is missing");
    expect(check({ ...good, ipam: { type: "host-local", subnet: "10.0.0.1/24" } })).toMatchObject({
      code: 1,
      out: expect.stringContaining("host bits"),
    });
    expect(berth("network", "check", `${examples}/host-access-auto.conflist`).out).toContain("plugins[0]: good");
    expect(berth("network", "check", `${directory}/none.conf`).code).toBe(1);
    expect(json(berth("network", "check", "--json", file))).toMatchObject([{ file, conflicts: [expect.any(String)] }]);
  });
});

describe("install", () => {
  test("links the executable under each name, keeps foreign files unless forced", () => {
    const bin = `${directory}/bin`;
    mkdirSync(bin);
    writeFileSync(`${bin}/macvlan`, "#!/bin/sh\necho another plugin\n", { mode: 0o755 });
    const elsewhere = ["--conf-dir", `${directory}/net.d`, "--iproute2-dir", `${directory}/iproute2`];
    const install = (...argv: string[]): Outcome => berth("install", "--bin-dir", bin, ...elsewhere, ...argv);
    const refused = install();
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining(`${bin}/macvlan is another program`) });
    expect(install("--types", "macvtap,vlan", "--dry-run").out).toContain(`${bin}/macvtap\n`);
    expect(existsSync(`${bin}/macvtap`)).toBe(false);
    expect(install("--types", "macvtap,vlan")).toMatchObject({ code: 0, err: "" });
    expect(statSync(`${bin}/vlan`).ino).toBe(statSync(`${bin}/macvtap`).ino); // copied to this file system once
    expect(statSync(`${bin}/vlan`).mode & 0o111).not.toBe(0);
    expect(readFileSync(`${bin}/macvlan`, "utf8")).toContain("another plugin");
    expect(install("--types", "macvlan", "--force").code).toBe(0);
    expect(statSync(`${bin}/macvlan`).size).toBe(statSync(process.execPath).size);
    writeFileSync(`${bin}/berth`, '#!/bin/sh\n[ "$1" = version ] && echo berth 0.0.1\n', { mode: 0o755 });
    expect(install("--types", "berth")).toMatchObject({ code: 0, err: "" }); // another version is replaced
    expect(statSync(`${bin}/berth`).size).toBe(statSync(process.execPath).size);
    expect(berth("install", "--types", "bridge")).toMatchObject({
      code: 2,
      err: expect.stringContaining("bridge is no plugin of Berth's"),
    });
  });

  test("an example that works and is read by no runtime, and a name for ip; what was edited is kept", () => {
    const [conf, iproute2] = [`${directory}/net.d`, `${directory}/iproute2`];
    const argv = ["install", "--types", ","]; // none: the plugins are the other test's subject
    const install = (...more: string[]): Outcome =>
      berth(...argv, "--conf-dir", conf, "--iproute2-dir", iproute2, ...more);
    expect(install("--dry-run").out).toContain("98 berth");
    expect(existsSync(conf)).toBe(false);
    expect(install()).toMatchObject({ code: 0, err: "" });
    expect(readFileSync(`${iproute2}/rt_protos.d/berth.conf`, "utf8")).toBe("98 berth\n");
    expect(berth("network", "check", `${conf}/berth.conflist.example`)).toMatchObject({
      code: 0,
      out: expect.stringContaining("good"),
    });
    expect(berth("network", "ls", "--conf-dir", conf).out).toContain("no network");
    writeFileSync(`${conf}/berth.conflist.example`, "mine");
    expect(json(install("--json"))).toMatchObject({ files: [{ how: "kept" }, { how: "written" }] });
    expect(readFileSync(`${conf}/berth.conflist.example`, "utf8")).toBe("mine");
    expect(install("--force").code).toBe(0);
    expect(readFileSync(`${conf}/berth.conflist.example`, "utf8")).toContain('"plugins"');
    writeFileSync(`${directory}/file`, "");
    expect(berth(...argv, "--conf-dir", `${directory}/file`)).toMatchObject({
      code: 1,
      err: expect.stringContaining(`write ${directory}/file/berth.conflist.example`),
    });
  });

  test("ip knows the protocol by the installed name", () => {
    // where iproute2 looks: /etc/iproute2, which this test's own file stands in for
    const [upper, work] = [`${directory}/upper`, `${directory}/work`];
    const script =
      `mount -t tmpfs tmpfs /etc/iproute2 && "$0" "$1" install --bin-dir ${upper} --conf-dir ${work} --types vlan &&` +
      " ip route add 203.0.113.0/24 dev eth1 proto berth && ip route show proto 98 && ip route del 203.0.113.0/24";
    w.netlink("").do(changeLink("eth1", { up: true }));
    expect(w.run(["unshare", "--mount", "sh", "-c", script, process.execPath, main])).toContain("203.0.113.0/24");
  });
});

test("distances between words, against a naive oracle", () => {
  const naive = (a: string, b: string): number => {
    if (a === "" || b === "") return a.length + b.length;
    const [s, t] = [a.slice(1), b.slice(1)];
    return Math.min(naive(s, b) + 1, naive(a, t) + 1, naive(s, t) + (a[0] === b[0] ? 0 : 1));
  };
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 5 });
  fc.assert(fc.property(word, word, (a, b) => expect(distance(a, b)).toBe(naive(a, b))));
  expect(nearest("mastr", ["master", "mode", "mtu"])).toBe("master");
  expect(nearest("nothing", ["master", "mode", "mtu"])).toBeUndefined();
});
