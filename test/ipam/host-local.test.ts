import { beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { HostLocal, type HostLocalConfig } from "../../src/ipam/host-local.ts";
import { readResolvConf } from "../../src/ipam/resolv-conf.ts";
import { bootId } from "../../src/kernel/namespaces.ts";
import { failureOf } from "../failing.ts";
import { holder, ipamContract, ipsOf, network } from "./contract.ts";
import { freshDataDir, reservations, sideFiles } from "./state.ts";

let dataDir: string;
beforeEach(() => {
  dataDir = freshDataDir();
});

function hostLocal(config: Partial<HostLocalConfig>, extra: { subnet: string }[][] = []): HostLocal {
  return new HostLocal({ type: "host-local", dataDir, ...config }, extra);
}

ipamContract("host-local", () => ({
  provider: hostLocal({ ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "2001:db8::/64" }]] }),
  wanted: "10.1.0.77/24",
  impossible: "10.9.0.1",
  reserves: true,
  previews: true,
  addresses: true,
  reserved: () => reservations(dataDir, network).size,
}));

/** Fills addresses as the standard plugin does: no side files. */
function fill(ips: readonly string[], content = "other\r\neth0"): void {
  mkdirSync(`${dataDir}/${network}`, { recursive: true });
  for (const ip of ips) writeFileSync(`${dataDir}/${network}/${ip}`, content);
}

const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => `10.0.${(from + i) >> 8}.${(from + i) & 0xff}`);

describe("which address", () => {
  test("one from each set, with its subnet's prefix length and gateway", async () => {
    const provider = hostLocal(
      { subnet: "10.0.0.0/24", gateway: "10.0.0.254", ranges: [[{ subnet: "2001:db8::/64" }]] },
      [[{ subnet: "10.9.0.0/16" }]],
    );
    expect((await provider.allocate(holder("a"), [])).ips).toEqual([
      { address: "10.9.0.2/16", gateway: "10.9.0.1" },
      { address: "10.0.0.1/24", gateway: "10.0.0.254" },
      { address: "2001:db8::2/64", gateway: "2001:db8::1" },
    ]);
    expect(readdirSync(`${dataDir}/${network}`).filter((f) => f.startsWith("last"))).toHaveLength(3);
  });

  test("a released one comes last: round robin, over the end and through the ranges of a set", async () => {
    const provider = hostLocal({
      ranges: [
        [
          { subnet: "10.0.0.0/29", rangeEnd: "10.0.0.3" },
          { subnet: "10.0.1.0/30", gateway: "10.0.1.2" },
        ],
      ],
    });
    const order: string[] = [];
    for (let i = 0; i < 7; i++) {
      order.push(...ipsOf(await provider.allocate(holder("a"), [])));
      await provider.release(holder("a"));
    }
    const round = ["10.0.0.2", "10.0.0.3", "10.0.1.1"];
    expect(order).toEqual([...round, ...round, "10.0.0.2"]);
  });

  test("one that was asked for is the last one for the next", async () => {
    const provider = hostLocal({ subnet: "10.0.0.0/24" });
    await provider.allocate(holder("a"), ["10.0.0.200"]);
    expect(ipsOf(await provider.allocate(holder("b"), []))).toEqual(["10.0.0.201"]);
  });

  test("the free one among many taken, whichever way it is found", async () => {
    // below and above the number of tries after which the directory is read
    for (const free of ["10.0.0.20", "10.0.0.250"]) {
      dataDir = freshDataDir();
      fill(numbered(1, 300).filter((ip) => ip !== free));
      const provider = hostLocal({ subnet: "10.0.0.0/16" });
      expect(ipsOf(await provider.preview(holder("a"), []))).toEqual([free]);
      expect(ipsOf(await provider.allocate(holder("a"), []))).toEqual([free]);
      expect(ipsOf(await provider.allocate(holder("b"), []))).toEqual([
        free === "10.0.0.20" ? "10.0.1.45" : "10.0.1.45",
      ]);
    }
  });

  test("one whose reservation a crash left without content, when there is no other", async () => {
    for (const blank of ["10.0.0.20", "10.0.0.250"]) {
      dataDir = freshDataDir();
      fill(numbered(2, 254));
      fill([blank], "");
      const provider = hostLocal({ subnet: "10.0.0.0/24" });
      await provider.status(network);
      expect(ipsOf(await provider.preview(holder("a"), []))).toEqual([blank]);
      expect(ipsOf(await provider.allocate(holder("a"), []))).toEqual([blank]);
      expect((await failureOf(provider.allocate(holder("b"), []))).reason).toBe("address");
    }
  });

  test("none: full, and every address that was reserved on the way is given back", async () => {
    const provider = hostLocal({ ranges: [[{ subnet: "10.0.0.0/24" }], [{ subnet: "10.1.0.0/30" }]] });
    fill(["10.1.0.2"]);
    const failure = await failureOf(provider.allocate(holder("a"), []));
    expect(failure.reason).toBe("address");
    expect(failure.message).toBe("find a free address in 10.1.0.1–10.1.0.2: all 1 are taken");
    expect([...reservations(dataDir, network).keys()]).toEqual(["10.1.0.2"]);
    expect(sideFiles(dataDir, network)).toEqual([]);
  });

  test("a failure leaves what the same holder had before", async () => {
    const provider = hostLocal({ subnet: "10.0.0.0/24" });
    await provider.allocate(holder("other"), ["10.0.0.9"]);
    const before = ipsOf(await provider.allocate(holder("a"), []));
    await failureOf(provider.allocate(holder("a"), ["10.0.0.9"]));
    await provider.check(holder("a"), before);
  });
});

describe("asked for", () => {
  const sets = { ranges: [[{ subnet: "10.0.0.0/24", rangeStart: "10.0.0.10" }], [{ subnet: "2001:db8::/64" }]] };
  const refusals: [string[], string][] = [
    [["10.0.1.1"], "10.0.1.1: it is in none of the ranges"],
    [["10.0.0.9"], "10.0.0.9: it is in none of the ranges"],
    [["10.0.0.1"], "10.0.0.1: it is the subnet's gateway"],
    [["2001:db8::1"], "2001:db8::1: it is the subnet's gateway"],
    [["10.0.0.11", "10.0.0.12"], "10.0.0.12: 10.0.0.11 was asked for from the same set"],
    [["2001:DB8::5", "10.0.0.255"], "10.0.0.255: it is in none of the ranges"],
  ];
  test.each(refusals)("%j is refused", async (ips, sentence) => {
    const failure = await failureOf(hostLocal(sets).allocate(holder("a"), ips));
    expect(failure.reason).toBe("address");
    expect(failure.message).toContain(sentence);
    expect(existsSync(`${dataDir}/${network}`)).toBe(false);
  });

  test("nonsense is the caller's mistake", async () => {
    expect((await failureOf(hostLocal(sets).allocate(holder("a"), ["10.0.0.011"]))).reason).toBe("request");
  });

  test("from each set, in any form; the prefix length is the subnet's", async () => {
    const { ips } = await hostLocal(sets).allocate(holder("a"), ["2001:DB8::5/128", "10.0.0.77", "10.0.0.77/8"]);
    expect(ips.map((lease) => lease.address)).toEqual(["10.0.0.77/24", "2001:db8::5/64"]);
  });

  test("taken by one who left only an id", async () => {
    fill(["10.0.0.50"], "4f5c");
    const failure = await failureOf(hostLocal(sets).allocate(holder("a"), ["10.0.0.50"]));
    expect(failure.message).toContain("10.0.0.50: container 4f5c has it");
  });
});

describe("status", () => {
  test("says how many addresses there are and how many are used", async () => {
    const provider = hostLocal({ ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "10.0.0.0/28" }]] });
    fill(numbered(2, 13));
    await provider.status(network);
    fill(numbered(14, 14));
    const failure = await failureOf(provider.status(network));
    expect(failure.reason).toBe("unavailable");
    expect(failure.message).toBe("find a free address in 10.0.0.1–10.0.0.14: of its 13 addresses 13 are used");
  });

  test("does not count what is nobody's: files outside the range, the gateway's, other files", async () => {
    const provider = hostLocal({ subnet: "10.0.0.0/28" });
    fill([...numbered(1, 13), ...numbered(15, 200), "notes"]);
    await provider.status(network);
  });

  test("does not count what the next allocation releases: reservations from before the last boot", async () => {
    const provider = hostLocal({ subnet: "10.0.0.0/30" });
    await provider.allocate(holder("a"), []);
    expect((await failureOf(provider.status(network))).reason).toBe("unavailable");
    renameSync(`${dataDir}/${network}/.berth/${bootId()}`, `${dataDir}/${network}/.berth/former`);
    await provider.status(network);
    expect(ipsOf(await provider.preview(holder("b"), []))).toEqual(["10.0.0.2"]);
    expect(ipsOf(await provider.allocate(holder("b"), []))).toEqual(["10.0.0.2"]);
  });
});

describe("collecting", () => {
  test("knows the old form, blank files, and what the standard plugin reserved", async () => {
    fill(["10.0.0.2"], "valid");
    fill(["10.0.0.3"], "valid\r\neth0");
    fill(["10.0.0.4"], "valid\r\neth1");
    fill(["10.0.0.5"], "gone");
    fill(["10.0.0.6"], "");
    const released = await hostLocal({ subnet: "10.0.0.0/24" }).collect(network, [holder("valid")]);
    expect([...released].toSorted()).toEqual(["10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    expect([...reservations(dataDir, network).keys()].toSorted()).toEqual(["10.0.0.2", "10.0.0.3"]);
  });

  test("a network that was never used is left alone", async () => {
    expect(await hostLocal({ subnet: "10.0.0.0/24" }).collect("other", [])).toEqual([]);
    expect(existsSync(`${dataDir}/other`)).toBe(false);
  });
});

describe("state", () => {
  test("is below /var/lib/cni/networks where the configuration does not say", async () => {
    for (const config of [{}, { dataDir: "" }]) {
      const provider = new HostLocal({ type: "host-local", subnet: "10.0.0.0/24", ...config }, []);
      const ips = ipsOf(await provider.allocate(holder("a"), []));
      expect([...reservations("/var/lib/cni/networks", network).keys()]).toEqual(ips);
      await provider.release(holder("a"), ips);
    }
  });

  test("that cannot be used is a failure which names the directory", async () => {
    writeFileSync(`${dataDir}/${network}`, "no directory");
    const provider = hostLocal({ subnet: "10.0.0.0/24" });
    for (const attempt of [
      provider.allocate(holder("a"), []),
      provider.release(holder("a")),
      provider.collect(network, []),
      provider.status(network),
    ]) {
      const failure = await failureOf(attempt);
      expect(failure.reason).toBe("io");
      expect(failure.message).toContain(`${dataDir}/${network}`);
      expect(failure.advice).toContain("dataDir");
    }
  });

  test("is not touched for names that come from others and are none", async () => {
    const provider = hostLocal({ subnet: "10.0.0.0/24" });
    for (const bad of [{ ...holder("a"), network: "../x" }, holder("a/b"), holder(".."), holder("a\nb")]) {
      expect((await failureOf(provider.allocate(bad, []))).reason).toBe("request");
      expect((await failureOf(provider.preview(bad, []))).reason).toBe("request");
      expect((await failureOf(provider.release(bad, ["10.0.0.2"]))).reason).toBe("request");
      expect((await failureOf(provider.check(bad, ["10.0.0.2"]))).reason).toBe("request");
    }
    expect((await failureOf(provider.collect("..", []))).reason).toBe("request");
    expect((await failureOf(provider.status("a/b"))).reason).toBe("request");
    expect(readdirSync(dataDir)).toEqual([]);
  });

  test("a hint that is no address names no file", async () => {
    const provider = hostLocal({ subnet: "10.0.0.0/24" });
    await provider.allocate(holder("a"), []);
    writeFileSync(`${dataDir}/outside`, "a\r\neth0");
    await provider.release(holder("a"), ["../outside", "10.0.0.2/24"]);
    expect(existsSync(`${dataDir}/outside`)).toBe(true);
    expect(reservations(dataDir, network).size).toBe(0);
  });
});

describe("what else is answered", () => {
  const file = `/run/resolv.conf`;

  test("routes and the settings of resolvConf", async () => {
    writeFileSync(file, "nameserver 192.0.2.53\nsearch lan.example\n");
    const routes = [{ dst: "0.0.0.0/0" }, { dst: "192.168.0.0/16", gw: "10.0.0.5", mtu: 1400 }];
    const allocation = await hostLocal({ subnet: "10.0.0.0/24", routes, resolvConf: file }).allocate(holder("a"), []);
    expect(allocation.routes).toEqual(routes);
    expect(allocation.dns).toEqual({ nameservers: ["192.0.2.53"], search: ["lan.example"] });
  });

  test("nothing is reserved where resolvConf cannot be read", async () => {
    const provider = hostLocal({ subnet: "10.0.0.0/24", resolvConf: "/run/missing" });
    const failure = await failureOf(provider.allocate(holder("a"), []));
    expect([failure.reason, failure.message.includes("/run/missing")]).toEqual(["io", true]);
    expect(reservations(dataDir, network).size).toBe(0);
  });

  test("resolv.conf is read as the standard plugin reads it", () => {
    writeFileSync(
      file,
      [
        "# comment",
        "; comment",
        "nameserver 192.0.2.1",
        "  nameserver\t2001:db8::53  ignored",
        "nameserver",
        "domain one.example",
        "domain two.example",
        "search a.example b.example",
        "search c.example",
        "options ndots:5 timeout:1",
        "sortlist 1.2.3.4",
      ].join("\n"),
    );
    expect(readResolvConf(file)).toEqual({
      nameservers: ["192.0.2.1", "2001:db8::53"],
      domain: "two.example",
      search: ["a.example", "b.example", "c.example"],
      options: ["ndots:5", "timeout:1"],
    });
  });
});
