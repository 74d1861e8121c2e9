import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ipToBytes } from "../../src/address/ip.ts";
import { macToBytes } from "../../src/address/mac.ts";
import { probeIpv4 } from "../../src/kernel/arp.ts";
import { probeIpv6 } from "../../src/kernel/ndisc.ts";
import { checksum } from "../../src/kernel/sockets.ts";
import { TestWorld, until } from "../world.ts";

// One liar on the LAN repeats a frame for as long as the probes run: what is malformed or about another address must not
// end the wait, what is well-formed must.
let w: TestWorld;
beforeAll(() => {
  w = new TestWorld();
  w.lan("lan");
  for (const name of ["a", "liar"]) {
    w.namespace(name);
    w.plug("lan", name, "eth0");
  }
});
afterAll(() => w[Symbol.dispose]());

const MAC = "02:00:00:00:00:66";

async function whileTold<T>(etherType: number, frame: Uint8Array, probe: () => T): Promise<T> {
  const modules = `${import.meta.dir}/../../src/kernel`;
  const script = `
    const { openIn, linkAddress } = await import(${JSON.stringify(`${modules}/sockets.ts`)});
    const { send } = await import(${JSON.stringify(`${modules}/libc.ts`)});
    const { openNamespace } = await import(${JSON.stringify(`${modules}/namespaces.ts`)});
    using liar = openNamespace("/run/netns/liar");
    const fd = openIn(liar, 17, 2, 0, 1000);
    const to = linkAddress(${w.link("liar", "eth0").index}, ${etherType}, new Uint8Array(6).fill(0xff));
    for (;;) { send(fd, Uint8Array.from(${JSON.stringify([...frame])}), to); await Bun.sleep(5); }`;
  const liar = Bun.spawn([process.execPath, "-e", script]);
  try {
    const received = (): number =>
      Number(w.run("a", ["sh", "-c", "grep eth0 /proc/net/dev | tr -s ' ' | cut -d' ' -f4"]));
    const before = received();
    await until("the liar is heard", () => received() > before + 20);
    return probe();
  } finally {
    liar.kill("SIGKILL");
    await liar.exited;
  }
}

/** An ARP reply (RFC 826): Ethernet, IPv4, their lengths; sender, target. */
function arpReply(change: (p: Uint8Array) => void = () => {}): Uint8Array {
  const p = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 2, ...macToBytes(MAC), 10, 9, 0, 7, ...new Uint8Array(10));
  change(p);
  return p;
}

const probe4 = (): string | undefined => probeIpv4(w.at("a"), w.link("a", "eth0"), "10.9.0.7", 300);

/** A neighbour advertisement (RFC 4861, 4.4) to all nodes. */
function advertisement(hopLimit: number, target: string, option: readonly number[]): Uint8Array {
  const [from, to] = [ipToBytes("fe80::66"), ipToBytes("ff02::1")];
  const message = Uint8Array.of(136, 0, 0, 0, 0x20, 0, 0, 0, ...ipToBytes(target), ...option);
  const sum = checksum(Uint8Array.of(...from, ...to, 0, 0, 0, message.length, 0, 0, 0, 58, ...message));
  message.set([sum >> 8, sum & 0xff], 2);
  return Uint8Array.of(0x60, 0, 0, 0, 0, message.length, 58, hopLimit, ...from, ...to, ...message);
}

const macOption = [2, 1, ...macToBytes(MAC)];
const probe6 = (): string | undefined => probeIpv6(w.at("a"), w.link("a", "eth0"), "fd00:9::7", 300);

describe("ARP", () => {
  test("a well-formed one names the holder", async () => {
    expect(await whileTold(0x0806, arpReply(), probe4)).toBe(MAC);
  });
  test("of another address", async () => {
    expect(
      await whileTold(
        0x0806,
        arpReply((p) => p.set([8], 17)),
        probe4,
      ),
    ).toBeUndefined();
  });
  test("of another protocol", async () => {
    expect(
      await whileTold(
        0x0806,
        arpReply((p) => p.set([9], 2)),
        probe4,
      ),
    ).toBeUndefined();
  });
  test("cut short", async () => {
    expect(await whileTold(0x0806, arpReply().slice(0, 18), probe4)).toBeUndefined();
  });
  test("our own, come back", async () => {
    const own = macToBytes(w.link("a", "eth0").mac ?? "");
    expect(
      await whileTold(
        0x0806,
        arpReply((p) => p.set(own, 8)),
        probe4,
      ),
    ).toBeUndefined();
  });
});

describe("neighbour advertisements", () => {
  test("a well-formed one names the holder", async () => {
    expect(await whileTold(0x86dd, advertisement(255, "fd00:9::7", macOption), probe6)).toBe(MAC);
  });
  test("from behind a router", async () => {
    expect(await whileTold(0x86dd, advertisement(64, "fd00:9::7", macOption), probe6)).toBeUndefined();
  });
  test("of another address", async () => {
    expect(await whileTold(0x86dd, advertisement(255, "fd00:9::8", macOption), probe6)).toBeUndefined();
  });
  test("with an option of no length", async () => {
    expect(await whileTold(0x86dd, advertisement(255, "fd00:9::7", [1, 0, 0, 0, 0, 0, 0, 0]), probe6)).toBeUndefined();
  });
});
