// Berth beside the standard plugins of containernetworking-plugins: they judge.
import { beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { HostLocal, type HostLocalConfig } from "../../src/ipam/host-local.ts";
import type { Lease } from "../../src/ipam/provider.ts";
import { Static } from "../../src/ipam/static.ts";
import { bootId } from "../../src/kernel/namespaces.ts";
import { failureOf } from "../failing.ts";
import { holder, ipsOf, network } from "./contract.ts";
import { freshDataDir, modeOf, reservations, sideFiles, startAllocating } from "./state.ts";

const PLUGINS = "/usr/lib/cni";
const missing = !existsSync(`${PLUGINS}/host-local`);
const title = `(skipped without ${PLUGINS}/host-local, Debian package containernetworking-plugins)`;

let dataDir: string;
beforeEach(() => {
  dataDir = freshDataDir();
});

type Verb = "ADD" | "DEL" | "CHECK";
/** What a standard plugin answers; `code` and `msg` where it fails. */
interface Answer {
  readonly ips?: readonly Lease[];
  readonly dns?: unknown;
  readonly code?: number;
  readonly msg?: string;
}

interface Asked {
  readonly ifName?: string;
  readonly args?: string;
  readonly cni?: readonly string[];
  readonly runtime?: readonly string[];
  readonly ipRanges?: readonly unknown[];
}

function request(verb: Verb, ipam: object, id: string, asked: Asked): { env: Record<string, string>; stdin: string } {
  return {
    env: {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: id,
      CNI_IFNAME: asked.ifName ?? "eth0",
      CNI_NETNS: "/x",
      CNI_PATH: PLUGINS,
      CNI_ARGS: asked.args ?? "",
    },
    stdin: JSON.stringify({
      cniVersion: "1.0.0",
      name: network,
      type: "macvlan",
      ipam,
      args: { cni: { ips: asked.cni ?? [] } },
      runtimeConfig: { ips: asked.runtime ?? [], ipRanges: asked.ipRanges ?? [] },
      ...(verb === "CHECK" ? { prevResult: { cniVersion: "1.0.0", ips: [] } } : {}),
    }),
  };
}

/** Runs a standard plugin. */
async function standard(verb: Verb, ipam: { type: string }, id: string, asked: Asked = {}): Promise<Answer> {
  const { env, stdin } = request(verb, ipam, id, asked);
  const child = Bun.spawn([`${PLUGINS}/${ipam.type}`], { env, stdin: Buffer.from(stdin), stderr: "inherit" });
  const text = await child.stdout.text();
  await child.exited;
  return text.trim() === "" ? {} : (JSON.parse(text) as Answer);
}

function hostLocal(config: Partial<HostLocalConfig>, in_ = dataDir): HostLocalConfig {
  return { type: "host-local", dataDir: in_, ...config };
}

const berth = (config: HostLocalConfig): HostLocal => new HostLocal(config, []);
const subnet = "10.1.0.0/24";

describe.skipIf(missing)(`one state for Berth and the standard plugin ${title}`, () => {
  test("it releases what Berth reserved, the side file included", async () => {
    const config = hostLocal({ ranges: [[{ subnet }], [{ subnet: "2001:db8::/64" }]] });
    await berth(config).allocate(holder("a"), []);
    await berth(config).allocate(holder("b"), []);
    expect(await standard("DEL", config, "a")).toEqual({});
    expect([...reservations(dataDir, network).values()]).toEqual(["b\r\neth0", "b\r\neth0"]);
    expect(sideFiles(dataDir, network).toSorted()).toEqual(["10.1.0.3", "2001:db8::3"]);
    expect(readdirSync(`${dataDir}/${network}/.berth`)).toEqual([bootId()]);
    expect(ipsOf(await berth(config).allocate(holder("a"), ["10.1.0.2"]))[0]).toBe("10.1.0.2");
  });

  test("Berth releases what it reserved, found by looking and by hint", async () => {
    const config = hostLocal({ subnet });
    for (const hint of [undefined, ["10.1.0.3"]]) {
      expect((await standard("ADD", config, "a")).ips).toHaveLength(1);
      expect(await berth(config).release(holder("a"), hint)).toHaveLength(1);
      expect(reservations(dataDir, network).size).toBe(0);
    }
  });

  test("it finds what Berth reserved, and no longer what Berth released", async () => {
    const config = hostLocal({ subnet });
    await berth(config).allocate(holder("a"), []);
    expect(await standard("CHECK", config, "a")).toEqual({});
    await berth(config).release(holder("a"), ["10.1.0.2"]);
    expect((await standard("CHECK", config, "a")).msg).toContain("Failed to find address");
  });

  test("each goes on where the other stopped, and neither gives what the other gave", async () => {
    const config = hostLocal({ subnet });
    const given: string[] = [];
    for (let i = 0; i < 6; i++) {
      given.push(...ipsOf({ routes: [], dns: {}, ips: (await standard("ADD", config, `s${i}`)).ips ?? [] }));
      given.push(...ipsOf(await berth(config).allocate(holder(`b${i}`), [])));
    }
    expect(given).toEqual(Array.from({ length: 12 }, (_, i) => `10.1.0.${i + 2}`));
    expect((await standard("ADD", config, "x", { cni: [given[1] ?? ""] })).msg).toContain("not available");
    const failure = await failureOf(berth(config).allocate(holder("x"), [given[0] ?? ""]));
    expect(failure.message).toBe("give the address 10.1.0.2: container s0 (eth0) has it");
  });

  test("both at once take turns", async () => {
    const config = hostLocal({ subnet: "10.0.0.0/16" });
    const ours = Array.from({ length: 10 }, (_, i) => startAllocating(dataDir, `b${i}`, 5));
    const theirs = Array.from({ length: 40 }, (_, i) => standard("ADD", config, `s${i}`));
    const answers = await Promise.all(theirs);
    await Promise.all(ours.map((child) => child.exited));
    expect(answers.flatMap((a) => a.ips ?? [])).toHaveLength(40);
    const state = reservations(dataDir, network);
    expect([state.size, new Set(state.values()).size]).toEqual([90, 90]);
  });

  test("Berth takes over an empty reservation, for which the standard plugin has no use", async () => {
    const config = hostLocal({ subnet: "10.1.0.0/30" });
    await standard("ADD", config, "a");
    writeFileSync(`${dataDir}/${network}/10.1.0.2`, "");
    expect((await standard("ADD", config, "b")).msg).toContain("no IP addresses available");
    expect(ipsOf(await berth(config).allocate(holder("b"), []))).toEqual(["10.1.0.2"]);
  });

  test("a reboot releases Berth's reservations and none of the standard plugin's", async () => {
    const config = hostLocal({ subnet });
    await standard("ADD", config, "s");
    await berth(config).allocate(holder("b"), []);
    renameSync(`${dataDir}/${network}/.berth/${bootId()}`, `${dataDir}/${network}/.berth/former`);
    await berth(config).allocate(holder("n"), []);
    expect([...reservations(dataDir, network).values()].toSorted()).toEqual(["n\r\neth0", "s\r\neth0"]);
  });

  test("directories have the modes of the standard plugin's", async () => {
    const theirs = freshDataDir();
    await standard("ADD", hostLocal({ subnet }, theirs), "a");
    await berth(hostLocal({ subnet })).allocate(holder("a"), []);
    expect(modeOf(`${dataDir}/${network}`)).toBe(modeOf(`${theirs}/${network}`));
    expect(statSync(`${theirs}/${network}/lock`).isFile()).toBe(true);
  });
});

/** An address around the subnet that is tried, or none. */
function near(low: number, high: number): fc.Arbitrary<string | undefined> {
  return fc.option(
    fc.integer({ min: low, max: high }).map((n) => `10.0.0.${n}`),
    { nil: undefined },
  );
}

/** The addresses, or that there were none. */
async function outcome(answer: Promise<{ readonly ips?: readonly Lease[] }>): Promise<readonly Lease[] | "refused"> {
  try {
    const { ips } = await answer;
    return ips === undefined
      ? "refused"
      : ips.map(({ address, gateway }) => (gateway ? { address, gateway } : { address }));
  } catch {
    return "refused";
  }
}

describe.skipIf(missing)(`Berth answers what the standard plugin answers ${title}`, () => {
  const ranges = [
    [
      { subnet: "10.1.0.0/29", rangeEnd: "10.1.0.3" },
      { subnet: "10.2.0.0/29", rangeStart: "10.2.0.4", gateway: "10.2.0.5" },
    ],
    [{ subnet: "2001:db8::/125" }],
  ];
  const ip = fc.constantFrom(
    "10.1.0.1",
    "10.1.0.2",
    "10.1.0.3",
    "10.1.0.4",
    "10.2.0.5",
    "10.2.0.6",
    "2001:db8::1",
    "2001:db8::7",
    "9.9.9.9",
  );
  const step = fc.record({
    release: fc.boolean(),
    id: fc.constantFrom("a", "b", "c", "d", "e"),
    ips: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, fc.array(ip, { maxLength: 2 })),
  });

  test("for any sequence of ADD and DEL", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 15 }), async (steps) => {
        const [ours, theirs] = [hostLocal({ ranges }, freshDataDir()), hostLocal({ ranges }, freshDataDir())];
        const held = new Set<string>();
        for (const { release, id, ips } of steps) {
          if (release) {
            await berth(ours).release(holder(id));
            await standard("DEL", theirs, id);
            held.delete(id);
          } else if (!held.has(id)) {
            // a second ADD of one holder is refused by Berth's record, not by its IPAM
            const ourAnswer = await outcome(berth(ours).allocate(holder(id), ips));
            expect(ourAnswer).toEqual(await outcome(standard("ADD", theirs, id, { cni: ips })));
            // a refusal comes before Berth takes an address, and after the standard plugin did: they go on differently
            if (ourAnswer === "refused") return;
            held.add(id);
          }
          expect(reservations(ours.dataDir ?? "", network)).toEqual(reservations(theirs.dataDir ?? "", network));
        }
      }),
      { numRuns: 25 },
    );
  }, 60_000);

  test("for any range: the same addresses, or both refuse", async () => {
    const config = fc.record({
      subnet: fc.constantFrom("10.0.0.8/29", "10.0.0.8/30", "10.0.0.9/29", "10.0.0.8/31", "10.0.0.8"),
      rangeStart: near(7, 16),
      rangeEnd: near(7, 16),
      gateway: near(8, 11),
    });
    await fc.assert(
      fc.asyncProperty(config, async ({ subnet: s, rangeStart, rangeEnd, gateway }) => {
        const range = {
          subnet: s,
          ...(rangeStart === undefined ? {} : { rangeStart }),
          ...(rangeEnd === undefined ? {} : { rangeEnd }),
          ...(gateway === undefined ? {} : { gateway }),
        };
        // the standard plugin takes a start after the default end, and then gives addresses of other subnets
        if (rangeStart !== undefined && rangeEnd === undefined && /\.(15|16)$|^10\.0\.0\.11$/u.test(rangeStart)) return;
        const [ours, theirs] = [hostLocal(range, freshDataDir()), hostLocal(range, freshDataDir())];
        for (const id of ["a", "b"]) {
          const make = async () => await berth(ours).allocate(holder(id), []);
          expect(await outcome(make())).toEqual(await outcome(standard("ADD", theirs, id)));
        }
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  test("for resolvConf", async () => {
    const resolvConf = "/run/peer-resolv.conf";
    writeFileSync(
      resolvConf,
      "#x\nnameserver 192.0.2.1 y\nnameserver\n domain d # e\nsearch a b\nsearch c\noptions x:1 y\n",
    );
    const theirs = await standard("ADD", hostLocal({ subnet, resolvConf }, freshDataDir()), "a");
    expect((await berth(hostLocal({ subnet, resolvConf })).allocate(holder("a"), [])).dns).toEqual(
      theirs.dns as object,
    );
  });

  test("for static, wherever addresses are asked for", async () => {
    const address = fc.constantFrom("10.0.0.6/24", "10.9.0.6/16", "2001:db8::6/64", "10.0.0.7");
    const some = fc.array(address, { maxLength: 2 });
    const gateways = fc.subarray(["10.0.0.254", "2001:db8::1"]);
    await fc.assert(
      fc.asyncProperty(some, some, some, gateways, async (fromArgs, cni, runtime, gateway) => {
        const args = [
          ...(fromArgs.length > 0 ? [`IP=${fromArgs.join(",")}`] : []),
          ...(gateway.length > 0 && fromArgs.length > 0 ? [`GATEWAY=${gateway.join(",")}`] : []),
        ].join(";");
        const config = { type: "static", addresses: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }] } as const;
        const asked = { args: `IgnoreUnknown=1${args === "" ? "" : `;${args}`}`, cni, runtime };
        const { env, stdin } = request("ADD", config, "a", asked);
        const provider = new Static(config, { stdin, env, cniVersion: "1.0.0" });
        const ours = outcome(provider.allocate(holder("a"), [...new Set([...fromArgs, ...cni, ...runtime])]));
        expect(await ours).toEqual(await outcome(standard("ADD", config, "a", asked)));
      }),
      { numRuns: 150 },
    );
  }, 60_000);
});
